// One line of a log as it is shown, and as text.
import { h, setText } from '../core/dom.js';
import { nodes } from '../core/store.js';
import { bytes, clockTime, fullTime, instant } from '../core/format.js';

// Plain output, the usual case, needs no word.
const sourceWords = { stderr: 'err', supervisor: 'agent', gap: 'gap', page: '' };

/** Whether the next line of the source is written over this one, as a progress bar does. */
export const isOverwritten = (line) => line.text?.endsWith('\r') ?? false;

/** The lines that no later one of them was written over. */
export function standing(lines) {
  const newest = new Map(lines.map((line, index) => [line.source, index]));
  return lines.filter((line, index) => !isOverwritten(line) || newest.get(line.source) === index);
}

export function lineElement(line) {
  const at = instant(line.at);
  const { text, kind } = content(line);
  const time = h('span', { class: 'log-time', text: Number.isNaN(at) ? '' : clockTime(at), title: Number.isNaN(at) ? null : fullTime(at) });
  const source = line.source ?? 'stdout';
  const words = h('span', { class: 'log-text' });
  const element = h('div', { class: 'log-line', 'data-source': source, 'data-kind': kind }, time,
    h('span', { class: 'log-source', text: sourceWords[source] ?? '' }), words);
  const whole = text + (line.truncated ? ' … (line cut)' : '');
  const plain = whole.toLowerCase();
  /** Shows where `wanted` (lower case) stands; returns whether it does. */
  element.find = (wanted) => {
    const place = wanted ? plain.indexOf(wanted) : -1;
    if (place < 0) setText(words, whole);
    else words.replaceChildren(...marked(whole, plain, wanted));
    return place >= 0;
  };
  element.find('');
  return element;
}

function marked(text, plain, wanted) {
  const parts = [];
  let from = 0;
  // Lower case may have another length in a few scripts; then nothing is marked rather than the wrong place.
  if (plain.length !== text.length) return [text];
  for (let at = plain.indexOf(wanted); at >= 0; at = plain.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), h('mark', { text: text.slice(at, at + wanted.length) }));
    from = at + wanted.length;
  }
  return [...parts, text.slice(from)];
}

/** The line as it goes into a file. */
export function plainText(line) {
  const at = instant(line.at);
  return `${Number.isNaN(at) ? '' : new Date(at).toISOString()} ${line.source ?? 'stdout'} ${content(line).text}`;
}

function content(line) {
  if (line.source === 'supervisor') return eventContent(line.text);
  if (line.source === 'gap') return { text: readable(line.text), kind: 'gap' };
  if (line.source === 'page') return { text: line.text, kind: 'gap' };
  return { text: readable(line.text) };
}

/** What the agent notes in a log are events as JSON; one that this page does not know is shown as it is. */
function eventContent(text) {
  let event = null;
  try { event = JSON.parse(text); } catch { /* Shown as it is. */ }
  switch (event?.event) {
    case 'started': return { text: `Bot started, process ${event.pid}`, kind: 'event' };
    case 'exited': return { text: readable(exitText(event)), kind: 'event' };
    case 'gap': return { text: `${event.dropped_records} lines (${bytes(event.dropped_bytes)}) could not be stored and are missing here`, kind: 'gap' };
    case 'line_cut': return { text: `${bytes(event.dropped_bytes)} of a line that was too long were dropped`, kind: 'gap' };
    case 'rotated_away': return { text: `${bytes(event.missing_bytes)} of this log are gone; newer lines took their place`, kind: 'gap' };
    case 'elsewhere': return { text: readable(`A part of this log lies on ${nodes.get(event.node_id)?.name ?? 'another node'}, which cannot be asked now: ${event.reason}`), kind: 'gap' };
    default: return { text: readable(text), kind: 'event' };
  }
}

function exitText(event) {
  if (event.launch_error) return `Bot could not be started: ${event.launch_error}`;
  if (event.memory_kills) return 'Bot was ended because it used more memory than it may';
  if (event.lost) return 'Bot ended while nobody watched; how is not known';
  const how = event.signal ? `signal ${event.signal}` : `exit code ${event.code ?? 0}`;
  return `Bot ended, ${how}${event.requested ? ' (asked for)' : ''}`;
}

// Colours and cursor moves for terminals, and other control characters but the tab.
const readable = (text) => String(text ?? '').replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '').replace(/\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g, '').replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '');
