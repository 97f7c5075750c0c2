// Pieces that several views share.
import { copyButton, h, setAttribute, setChildren, setText, show } from '../core/dom.js';
import { bytes, percent } from '../core/format.js';
import { isLastKnown } from '../core/store.js';
import { badge } from './state.js';

/** A share of something as a bar under its figure; `isCalm` where a high share is nothing to worry about. */
export function meter(label, { isCalm = false } = {}) {
  const fill = h('span', { class: 'meter-fill' });
  const figure = h('span', { class: 'meter-figure' });
  const detail = h('span', { class: 'meter-detail' });
  const element = h('div', { class: 'meter' },
    h('span', { class: 'meter-label', text: label }), figure,
    h('span', { class: 'meter-bar', 'aria-hidden': 'true' }, fill), detail);
  element.set = (share, text, more = '') => {
    setText(figure, text);
    setText(detail, more);
    setBar(fill, share, isCalm);
  };
  return element;
}

/** Sets a bar's length, and its tone where the share is high. */
export function setBar(fill, share, isCalm = false) {
  const known = Number.isFinite(share);
  const width = known ? `${Math.min(100, Math.max(0, share)).toFixed(1)}%` : '0';
  if (fill.style.width !== width) fill.style.width = width;
  setAttribute(fill, 'data-tone', isCalm ? 'plain' : known && share >= 92 ? 'bad' : known && share >= 80 ? 'warn' : 'plain');
}

/** Of a node's disks the one with the smallest part free, or undefined. */
export function fullestDisk(resources) {
  return [...(resources?.disks ?? [])].sort((one, other) => usedShare(other) - usedShare(one))[0];
}

const usedShare = (disk) => (disk.total_bytes ? 1 - disk.available_bytes / disk.total_bytes : 0);

/** Percent of `total` that is used, NaN where it is not known. */
export const usedPercent = (total, available) => (total ? 100 * (1 - available / total) : NaN);

export function setUsage(element, total, available, note = '') {
  const share = usedPercent(total, available);
  element.set(share, percent(share), total ? `${bytes(available)} free of ${bytes(total)}${note ? ` · ${note}` : ''}` : '');
}

/** A list of terms and values; `set(term, node or text)` fills in, an empty value hides the row. */
export function facts(terms, { list = false } = {}) {
  const element = h('dl', { class: list ? 'facts list' : 'facts' });
  const rows = new Map();
  const row = (term) => {
    if (!rows.has(term)) {
      const value = h('dd');
      const line = h('div', {}, h('dt', { text: term }), value);
      line.hidden = true;
      rows.set(term, { line, value });
      element.append(line);
    }
    return rows.get(term);
  };
  terms.forEach(row);
  element.set = (term, content) => {
    const { line, value } = row(term);
    show(line, content !== null && content !== undefined && content !== '');
    if (content instanceof Node) setChildren(value, content);
    else setText(value, content === null || content === undefined ? '' : String(content));
  };
  return element;
}

/** A place for a failure, with a way to try again where there is one; says nothing until told. */
export function problem() {
  const text = h('span');
  const again = h('button', { type: 'button', class: 'slim', text: 'Try again' });
  const element = h('div', { class: 'problem', role: 'alert' }, text, again);
  element.hidden = true;
  let retry = null;
  again.addEventListener('click', () => retry?.());
  element.set = (error, action = null) => {
    if (error?.name === 'AbortError') return;
    retry = action;
    setText(text, error ? (error.message || String(error)) : '');
    show(again, Boolean(action));
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

/** Where one is, above the head: links to what lies above. */
export const crumbs = (...links) => h('nav', { class: 'crumbs', 'aria-label': 'Where you are' }, ...links.flatMap((each, index) => (index ? [h('span', { 'aria-hidden': 'true', text: '/' }), each] : [each])));

export const link = (href, text, className) => h('a', { href, text, class: className });
export const nodeLink = (id) => `#/nodes/${encodeURIComponent(id)}`;
export const botLink = (id, part) => `#/bots/${encodeURIComponent(id)}${part ? `/${part}` : ''}`;

/** A card with a heading. */
export function section(title, ...content) {
  return h('section', { class: 'card' }, h('h2', { text: title }), ...content);
}

/** Links to the parts of a view, as `[name, title, href]`; `show(name)` marks the open one and brings it into sight. */
export function tabs(label, entries) {
  const element = h('nav', { class: 'tabs', 'aria-label': label }, ...entries.map(([name, title, href]) => h('a', { href, text: title, 'data-part': name })));
  element.show = (name) => {
    for (const anchor of element.children) setAttribute(anchor, 'aria-current', anchor.dataset.part === name ? 'page' : null);
    element.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  };
  return element;
}

const longestWord = 24;

/** A text to be used elsewhere, with a button that copies it. A line ends between words: no code is broken at its hyphens. */
export function copyable(text, { name = 'Command', label = 'Copy command' } = {}) {
  const words = text.split(/(\s+)/).map((word) => (word.length > longestWord ? word : h('span', { class: 'word', text: word })));
  return h('div', { class: 'command' }, h('pre', { tabindex: '0', 'aria-label': name }, h('code', {}, ...words)), copyButton(() => text, label));
}

/** A spinner with a sentence. */
export function waiting(text) {
  const words = h('span', { text });
  const element = h('p', { class: 'waiting', role: 'status' }, h('span', { class: 'spinner', 'aria-hidden': 'true' }), words);
  element.say = (value) => setText(words, value);
  return element;
}

/** One line for a bot in a list of its node. */
export function botLine() {
  const name = h('a', { class: 'cut' });
  const state = badge();
  const reason = h('span', { class: 'small quiet cut' });
  const element = h('li', { class: 'bot-line' }, name, reason, state);
  element.update = (bot) => {
    setText(name, bot.name);
    setAttribute(name, 'href', botLink(bot.id));
    setText(reason, bot.reason ?? '');
    state.set(bot.phase);
    setAttribute(element, 'data-stale', isLastKnown(bot) ? 'true' : null);
    setAttribute(element, 'title', isLastKnown(bot) ? 'As last known: the node is away.' : bot.reason || null);
  };
  return element;
}

/** A node's labels as `name=value` texts; the hub may keep them as an object or as a list. */
export function labelTexts(node) {
  const { labels } = node;
  if (Array.isArray(labels)) return labels.map(String);
  return Object.entries(labels ?? {}).map(([name, value]) => (value === '' || value === true ? name : `${name}=${value}`));
}

const collator = new Intl.Collator(undefined, { numeric: true });
export const byName = (one, other) => collator.compare(one.name ?? '', other.name ?? '');

/**
 * Of a list known before, what lies behind the newest page just read. Where the two do not meet it is nothing: older
 * entries are asked for again rather than shown with a hole that nobody sees.
 */
export function continuation(known, page, keyOf) {
  if (page.length === 0) return [];
  const last = keyOf(page.at(-1));
  const at = known.findIndex((item) => keyOf(item) === last);
  return at < 0 ? [] : known.slice(at + 1);
}
