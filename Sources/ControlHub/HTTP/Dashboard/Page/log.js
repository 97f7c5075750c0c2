// A bot's log as it is written. Scrolling up or Pause holds it still; lines that come meanwhile wait.
import { h, setAttribute, setText, show } from './dom.js';
import { bytes, clockTime, fullTime, instant } from './format.js';
import { get } from './api.js';
import { parse } from './live.js';
import { problem } from './parts.js';

/** More lines than these are dropped from the top; the node keeps the whole log. */
const maximumLines = 3000;
const tailLines = 200;

export function logPanel(container, { path, signal }) {
  const state = h('span', { class: 'muted', role: 'status', text: 'Connecting…' });
  const pause = h('button', { type: 'button', text: 'Pause' });
  const wrap = h('input', { type: 'checkbox', id: 'log-wrap', checked: true });
  const lines = h('div', { class: 'log-lines wrapped' });
  const nothing = h('p', { class: 'muted log-empty', text: 'No lines yet. What the bot writes to its output appears here.' });
  nothing.hidden = true;
  const scroller = h('div', { class: 'scroller log', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': 'Log' }, nothing, lines);
  const waitingLines = h('button', { type: 'button', class: 'to-end' });
  waitingLines.hidden = true;
  const failure = problem();
  container.append(h('section', { class: 'card chat' },
    h('div', { class: 'chat-bar' }, state, h('span', { class: 'spacer' }),
      h('span', { class: 'check' }, wrap, h('label', { for: 'log-wrap', text: 'Wrap lines' })), pause),
    failure, h('div', { class: 'scroll-frame' }, scroller, waitingLines)));
  wrap.addEventListener('change', () => lines.classList.toggle('wrapped', wrap.checked));

  let following = true;
  let isConnected = false;
  let held = [];
  let missed = 0;
  let lastOffset = -1;
  let nextOffset = null;
  let queue = [];
  let frame = null;
  let ownScroll = false;

  const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 24;

  function setFollowing(value) {
    following = value;
    setText(pause, following ? 'Pause' : 'Follow');
    setAttribute(pause, 'aria-pressed', following ? 'false' : 'true');
    if (isConnected) tellState();
    if (following) {
      queue = queue.concat(held);
      held = [];
      flush();
      ownScroll = true;
      scroller.scrollTop = scroller.scrollHeight;
    }
    tellHeld();
  }

  function tellState() {
    if (!isConnected) setText(state, 'Interrupted, trying again…');
    else setText(state, following ? 'Following' : 'Paused');
    // Without a connection nobody knows whether there are lines.
    show(nothing, isConnected && lines.childElementCount === 0);
  }

  function tellHeld() {
    const count = held.length + missed;
    setText(waitingLines, count === 1 ? '1 new line ↓' : `${count} new lines ↓`);
    show(waitingLines, !following && count > 0);
  }

  pause.addEventListener('click', () => setFollowing(!following));
  waitingLines.addEventListener('click', () => setFollowing(true));
  scroller.addEventListener('scroll', () => {
    if (ownScroll) {
      ownScroll = false;
      return;
    }
    if (following && !atEnd()) setFollowing(false);
    else if (!following && atEnd() && held.length > 0) setFollowing(true);
  });

  function take(line) {
    // After an interruption the stream starts again with lines that are on show already.
    if (Number.isFinite(line.offset)) {
      if (line.offset <= lastOffset) return;
      lastOffset = line.offset;
    }
    if (following) {
      queue.push(line);
      frame ??= setTimeout(flush, 50);
      return;
    }
    held.push(line);
    if (held.length > maximumLines) {
      held.shift();
      missed += 1;
    }
    tellHeld();
  }

  function flush() {
    clearTimeout(frame);
    frame = null;
    if (queue.length === 0) return;
    if (missed > 0) {
      queue.unshift({ source: 'page', text: `… ${missed} lines came while this was paused and are not shown` });
      missed = 0;
    }
    lines.append(...queue.slice(-maximumLines).map(lineElement));
    queue = [];
    while (lines.childElementCount > maximumLines) lines.firstChild.remove();
    show(nothing, false);
    if (following) {
      ownScroll = scroller.scrollTop + scroller.clientHeight < scroller.scrollHeight - 1;
      scroller.scrollTop = scroller.scrollHeight;
    }
  }

  let source = null;
  let retryDelay = 1000;
  let retryTimer = null;
  function connect() {
    const start = nextOffset === null ? `tail=${tailLines}` : `offset=${nextOffset}`;
    source = new EventSource(`${path}/logs?follow=true&${start}`);
    source.addEventListener('open', () => {
      retryDelay = 1000;
      isConnected = true;
      tellState();
      failure.set(null);
    });
    const receive = (event) => {
      const data = parse(event.data);
      for (const line of data.lines ?? []) take(line);
      nextOffset = data.next_offset ?? nextOffset;
    };
    source.addEventListener('message', receive);
    source.addEventListener('error', async () => {
      if (signal.aborted) return;
      isConnected = false;
      tellState();
      if (source.readyState !== EventSource.CLOSED) return;
      // The stream does not tell why it was refused; a plain request does.
      try { await get(`${path}/logs?tail=1`, { signal }); } catch (error) { if (!signal.aborted) failure.set(error); }
      if (signal.aborted) return;
      retryTimer = setTimeout(connect, retryDelay);
      retryDelay = Math.min(retryDelay * 2, 15000);
    });
  }
  connect();
  // A browser has few connections for one server; a tab nobody looks at gives this one back.
  document.addEventListener('visibilitychange', () => {
    source.close();
    clearTimeout(retryTimer);
    if (!document.hidden) connect();
  }, { signal });
  signal.addEventListener('abort', () => {
    source.close();
    clearTimeout(retryTimer);
    clearTimeout(frame);
  });
}

// Plain output, the usual case, needs no word.
const sourceWords = { stderr: 'err', supervisor: 'agent' };

function lineElement(line) {
  const at = instant(line.at);
  const time = h('span', { class: 'log-time', text: Number.isNaN(at) ? '' : clockTime(at), title: Number.isNaN(at) ? null : fullTime(at) });
  const source = line.source ?? 'stdout';
  return h('div', { class: 'log-line', 'data-source': source }, time,
    h('span', { class: 'log-source', text: sourceWords[source] ?? '' }),
    h('span', { class: 'log-text', text: textOf(line) + (line.truncated ? ' … (line cut)' : '') }));
}

function textOf(line) {
  return line.source === 'supervisor' ? eventText(line.text) : readable(line.text);
}

/** What the agent notes in a log are events as JSON; one that this page does not know is shown as it is. */
function eventText(text) {
  let event = null;
  try { event = JSON.parse(text); } catch { /* Shown as it is. */ }
  switch (event?.event) {
    case 'started': return `Bot started, process ${event.pid}`;
    case 'exited': return readable(exitText(event));
    case 'gap': return `${event.dropped_records} lines (${bytes(event.dropped_bytes)}) could not be stored`;
    case 'line_cut': return `${bytes(event.dropped_bytes)} of a line that was too long were dropped`;
    case 'rotated_away': return `${bytes(event.missing_bytes)} of this log are gone; newer lines took their place`;
    default: return readable(text);
  }
}

function exitText(event) {
  if (event.launch_error) return `Bot could not be started: ${event.launch_error}`;
  if (event.lost) return 'Bot ended while nobody watched; how is not known';
  const how = event.signal ? `signal ${event.signal}` : `exit code ${event.code ?? 0}`;
  return `Bot ended, ${how}${event.requested ? ' (asked for)' : ''}`;
}

// Colours and cursor moves for terminals, and other control characters but the tab.
const readable = (text) => text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '').replace(/\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g, '').replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '');
