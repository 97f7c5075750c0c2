// A bot's log as it is written. Scrolling up or Pause holds it still; lines that come meanwhile wait.
import { get } from '../core/api.js';
import { busy } from '../core/dialog.js';
import { h, setAttribute, setText, show } from '../core/dom.js';
import { bots } from '../core/store.js';
import { problem } from '../parts/pieces.js';
import { isOverwritten, lineElement, plainText, standing } from './log-line.js';
import { followLog } from './log-stream.js';

/** More lines than these are dropped from the top; the node keeps the whole log. */
const maximumLines = 5000;
const firstLines = 200;
const mostLines = 10000;

export function logPanel(container, { id, path, signal }) {
  const state = h('span', { class: 'quiet', role: 'status', text: 'Connecting…' });
  const pause = h('button', { type: 'button', class: 'slim', text: 'Pause' });
  const search = h('input', { type: 'search', class: 'slim', placeholder: 'Find in the log', 'aria-label': 'Find in the log', autocomplete: 'off', spellcheck: 'false' });
  const found = h('span', { class: 'caption', role: 'status' });
  const only = h('input', { type: 'checkbox', id: 'log-only' });
  const wrap = h('input', { type: 'checkbox', id: 'log-wrap', checked: true });
  const from = h('input', { type: 'datetime-local', class: 'slim', id: 'log-from', step: '1' });
  const download = h('button', { type: 'button', class: 'slim', text: 'Download', title: `The last ${mostLines.toLocaleString()} lines, or those from the time given` });
  const earlier = h('button', { type: 'button', class: 'slim earlier', text: 'Show earlier lines' });
  const lines = h('div', { class: 'log-lines wrapped' });
  const nothing = h('p', { class: 'quiet log-empty', text: 'No lines yet. What the bot writes to its output appears here.' });
  nothing.hidden = true;
  const scroller = h('div', { class: 'scroller log', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': 'Log' }, earlier, nothing, lines);
  const waitingLines = h('button', { type: 'button', class: 'slim to-end' });
  waitingLines.hidden = true;
  const failure = problem();
  container.append(h('section', { class: 'card chat', 'aria-label': 'Log of the bot' },
    h('div', { class: 'panel-bar log-bar' }, search, found, h('span', { class: 'check' }, only, h('label', { for: 'log-only', text: 'Only matches' })),
      h('span', { class: 'check' }, wrap, h('label', { for: 'log-wrap', text: 'Wrap' })),
      h('label', { class: 'check log-from' }, h('span', { text: 'From' }), from), h('span', { class: 'spacer' }), state, pause, download),
    failure, h('div', { class: 'scroll-frame' }, scroller, waitingLines)));

  let following = true, isConnected = false;
  let held = [], missed = 0;
  let queue = [], frame = null, ownScroll = false;
  let tail = firstLines, endStream = null;
  // By source: the newest line, where the next one is written over it.
  const overwritable = new Map();

  const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 24;
  const toEnd = () => {
    ownScroll = scroller.scrollTop + scroller.clientHeight < scroller.scrollHeight - 1;
    scroller.scrollTop = scroller.scrollHeight;
  };

  function setFollowing(value) {
    following = value;
    setText(pause, following ? 'Pause' : 'Follow');
    setAttribute(pause, 'aria-pressed', following ? 'false' : 'true');
    if (isConnected) tellState();
    if (following) {
      queue = queue.concat(held);
      held = [];
      flush();
      toEnd();
    }
    tellHeld();
  }

  function tellState() {
    if (!isConnected) setText(state, 'Interrupted, trying again…');
    else setText(state, following ? 'Following' : 'Paused');
    // Without a connection nobody knows whether there are lines.
    show(nothing, isConnected && lines.childElementCount === 0);
    show(earlier, lines.childElementCount >= Math.min(tail, maximumLines) && tail < mostLines && !from.value);
  }

  function tellHeld() {
    const count = held.length + missed;
    setText(waitingLines, count === 1 ? '1 new line ↓' : `${count} new lines ↓`);
    show(waitingLines, !following && count > 0);
  }

  function take(line) {
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
  }

  function flush() {
    clearTimeout(frame);
    frame = null;
    if (queue.length === 0) return;
    if (missed > 0) {
      queue.unshift({ source: 'page', text: `… ${missed} lines came while this was paused and are not shown` });
      missed = 0;
    }
    const fresh = standing(queue.slice(-maximumLines)).map((line) => Object.assign(lineElement(line), { line }));
    queue = [];
    for (const element of fresh) {
      matchLine(element);
      overwritable.get(element.line.source)?.remove();
      if (isOverwritten(element.line)) overwritable.set(element.line.source, element);
      else overwritable.delete(element.line.source);
    }
    lines.append(...fresh);
    while (lines.childElementCount > maximumLines) lines.firstChild.remove();
    tellState();
    tellFound();
    if (following) toEnd();
  }

  pause.addEventListener('click', () => setFollowing(!following));
  waitingLines.addEventListener('click', () => setFollowing(true));
  wrap.addEventListener('change', () => lines.classList.toggle('wrapped', wrap.checked));
  scroller.addEventListener('scroll', () => {
    if (ownScroll) {
      ownScroll = false;
      return;
    }
    if (following && !atEnd()) setFollowing(false);
    else if (!following && atEnd() && held.length > 0) setFollowing(true);
  });

  // Finding
  const wanted = () => search.value.trim().toLowerCase();
  function matchLine(element) {
    const isMatch = element.find(wanted());
    element.classList.toggle('match', isMatch);
    element.hidden = only.checked && Boolean(wanted()) && !isMatch;
  }
  function tellFound() {
    const count = wanted() ? lines.querySelectorAll('.match').length : 0;
    setText(found, wanted() ? `${count} of ${lines.childElementCount} lines` : '');
  }
  function rematch() {
    for (const element of lines.children) matchLine(element);
    tellFound();
    if (following && !wanted()) toEnd();
  }
  search.addEventListener('input', rematch);
  only.addEventListener('change', rematch);
  search.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    const matches = [...lines.querySelectorAll('.match')];
    if (matches.length === 0) return;
    // Enter goes back in time, as one looks for what happened; with Shift forward.
    const current = matches.findIndex((element) => element.classList.contains('current'));
    const next = event.shiftKey ? (current + 1) % matches.length : ((current < 0 ? matches.length : current) - 1 + matches.length) % matches.length;
    matches[current]?.classList.remove('current');
    matches[next].classList.add('current');
    if (following) setFollowing(false);
    matches[next].scrollIntoView({ block: 'center' });
    setText(found, `${next + 1} of ${matches.length} matches`);
  });

  // Where the log begins
  function sinceQuery() {
    const since = from.value ? new Date(from.value) : null;
    return since && !Number.isNaN(+since) ? `&since=${encodeURIComponent(since.toISOString())}` : '';
  }
  function begin() {
    endStream?.();
    for (const list of [queue, held]) list.length = 0;
    missed = 0;
    overwritable.clear();
    lines.replaceChildren();
    isConnected = false;
    const start = `tail=${sinceQuery() ? mostLines : tail}${sinceQuery()}`;
    endStream = followLog({
      path, start, signal,
      onLines: (fresh) => {
        fresh.forEach(take);
        tellHeld();
      },
      onState: (value) => {
        isConnected = value === 'live';
        tellState();
        if (value instanceof Error) failure.set(value);
        else if (isConnected) failure.set(null);
      },
    });
  }
  earlier.addEventListener('click', () => {
    tail = Math.min(tail * 5, mostLines);
    begin();
  });
  from.addEventListener('change', begin);

  download.addEventListener('click', () => busy(download, failure, async () => {
    const answer = await get(`${path}/logs?tail=${mostLines}${sinceQuery()}`, { signal });
    const text = standing(answer.lines ?? []).map(plainText).join('\n');
    const url = URL.createObjectURL(new Blob([`${text}\n`], { type: 'text/plain' }));
    h('a', { href: url, download: `${bots.get(id)?.name ?? 'bot'}.log` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }));

  signal.addEventListener('abort', () => clearTimeout(frame));
  begin();
  tellState();
  setText(state, 'Connecting…');
}
