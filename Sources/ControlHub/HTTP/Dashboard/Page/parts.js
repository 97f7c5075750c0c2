// Pieces that several views share.
import { h, setAttribute, setChildren, setText, show } from './dom.js';
import { bytes, percent, timeElement } from './format.js';

const words = {
  online: ['Online', 'ok'], degraded: ['Degraded', 'warn'], offline: ['Offline', 'bad'], never_seen: ['Never seen', 'idle'],
  stopped: ['Stopped', 'idle'], starting: ['Starting', 'busy'], ready: ['Ready', 'ok'], stopping: ['Stopping', 'busy'],
  backoff: ['Restarting soon', 'warn'], failed: ['Failed', 'bad'], unknown: ['Unknown', 'idle'],
  up: ['Connected', 'ok'], down: ['Not connected', 'bad'], never: ['Not connected yet', 'idle'],
  ok: ['OK', 'ok'], running: ['Running', 'ok'], silent: ['Silent', 'bad'], revoked: ['Revoked', 'bad'], idle: ['Idle', 'idle'],
};

export const word = (state) => words[state]?.[0] ?? sentence(state ?? 'unknown');

function sentence(name) {
  const text = String(name).replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A state as a shape, a colour and a word, so that none of them is needed to tell. */
export function badge() {
  const element = h('span', { class: 'badge' });
  element.set = (state) => {
    setText(element, word(state));
    setAttribute(element, 'data-tone', words[state]?.[1] ?? 'idle');
  };
  return element;
}

/** A state with its reason and how long it has lasted. */
export function stateLine() {
  const state = badge();
  const since = timeElement('for');
  const lasting = h('span', { class: 'muted lasting' }, 'for ', since);
  const reason = h('span', { class: 'reason' });
  const element = h('span', { class: 'state-line' }, state, ' ', lasting, ' ', reason);
  element.set = (name, why, at) => {
    state.set(name);
    since.set(at);
    show(lasting, Boolean(at));
    setText(reason, why ?? '');
    show(reason, Boolean(why));
  };
  return element;
}

/** A share of something as a bar under its figure. */
export function meter(label) {
  const fill = h('span', { class: 'meter-fill' });
  const figure = h('span', { class: 'meter-figure' });
  const detail = h('span', { class: 'meter-detail' });
  const element = h('div', { class: 'meter' },
    h('span', { class: 'meter-label', text: label }), figure,
    h('span', { class: 'meter-bar', 'aria-hidden': 'true' }, fill), detail);
  element.set = (share, text, more = '') => {
    setText(figure, text);
    setText(detail, more);
    const known = Number.isFinite(share);
    const width = known ? `${Math.min(100, Math.max(0, share)).toFixed(1)}%` : '0';
    if (fill.style.width !== width) fill.style.width = width;
    setAttribute(fill, 'data-tone', known && share >= 90 ? 'bad' : known && share >= 75 ? 'warn' : 'plain');
  };
  return element;
}

/** The three figures of a node that matter at a glance. */
export function nodeFigures({ brief = false } = {}) {
  const cpu = meter('CPU'), memory = meter('Memory'), disk = meter('Disk');
  const element = h('div', { class: 'figures' }, cpu, memory, disk);
  element.set = (node) => {
    const resources = node.resources ?? {};
    cpu.set(resources.cpu_percent ?? NaN, percent(resources.cpu_percent),
      resources.cpu_count ? `${resources.cpu_count} ${resources.cpu_count === 1 ? 'core' : 'cores'}` : '');
    setUsage(memory, resources.memory_total_bytes, resources.memory_available_bytes, '', brief);
    // The disk most likely to be the next to fill up.
    const fullest = fullestDisk(resources);
    setUsage(disk, fullest?.total_bytes, fullest?.available_bytes, resources.disks?.length > 1 && !(brief && fullest.mount_point === '/') ? fullest.mount_point : '', brief);
  };
  return element;
}

/** Of a node's disks the one with the smallest part free, or undefined. */
export function fullestDisk(resources) {
  return [...(resources.disks ?? [])].sort((one, other) => usedShare(other) - usedShare(one))[0];
}

const usedShare = (disk) => (disk.total_bytes ? 1 - disk.available_bytes / disk.total_bytes : 0);

export function setUsage(element, total, available, note = '', brief = false) {
  const share = total ? 100 * (1 - available / total) : NaN;
  const free = brief ? `${bytes(available)} free` : `${bytes(available)} free of ${bytes(total)}`;
  element.set(share, percent(share), total ? `${free}${note ? ` · ${note}` : ''}` : '');
  setAttribute(element, 'title', total ? `${bytes(available)} free of ${bytes(total)}` : null);
}

/** A list of terms and values; `set(term, node or text)` fills in, an empty value hides the row. */
export function facts(terms) {
  const list = h('dl', { class: 'facts' });
  const rows = new Map();
  for (const term of terms) {
    const value = h('dd');
    const row = h('div', {}, h('dt', { text: term }), value);
    row.hidden = true;
    rows.set(term, { row, value });
    list.append(row);
  }
  list.set = (term, content) => {
    const { row, value } = rows.get(term);
    show(row, content !== null && content !== undefined && content !== '');
    if (content instanceof Node) setChildren(value, content);
    else setText(value, content === null || content === undefined ? '' : String(content));
  };
  return list;
}

/** A place for a failure; says nothing until told. */
export function problem() {
  const element = h('p', { class: 'problem', role: 'alert' });
  element.hidden = true;
  element.set = (error) => {
    if (error?.name === 'AbortError') return;
    setText(element, error ? (error.message || String(error)) : '');
    show(element, Boolean(error));
  };
  return element;
}

export function empty(title, ...content) {
  return h('div', { class: 'empty' }, h('h2', { text: title }), ...content);
}

export function pageHead(title, ...actions) {
  const heading = h('h1', { tabindex: '-1', text: title });
  const element = h('div', { class: 'page-head' }, heading, h('div', { class: 'actions' }, ...actions.filter(Boolean)));
  element.heading = heading;
  return element;
}

export const link = (href, text, className) => h('a', { href, text, class: className });

/** One line for a bot in a list of its node. */
export function botLine() {
  const name = h('a', { class: 'bot-name' });
  const state = badge();
  const element = h('li', { class: 'bot-line' }, name, state);
  element.update = (bot) => {
    setText(name, bot.name);
    setAttribute(name, 'href', `#/bots/${encodeURIComponent(bot.id)}`);
    state.set(bot.phase);
    setAttribute(element, 'title', bot.reason || null);
  };
  return element;
}

export const byName = (one, other) => String(one.name).localeCompare(String(other.name), undefined, { numeric: true });
