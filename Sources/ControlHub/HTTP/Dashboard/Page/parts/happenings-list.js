// A list of what happened, newest first.
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { timeElement } from '../core/format.js';
import { earlier, happenings, onHappening } from '../core/happenings.js';
import { glyph } from './state.js';

/** `matches` picks the events, `query` asks the hub for older ones. */
export function happeningsList({ signal, matches, query = '', limit = 8, nothing }) {
  const rows = h('ol', { class: 'happenings' });
  const none = h('p', { class: 'quiet small', text: nothing });
  const element = h('div', {}, rows, none);
  const update = () => {
    const found = happenings(matches, limit);
    keyed(rows, found, (item) => item.key, happeningRow);
    show(none, found.length === 0);
  };
  signal.addEventListener('abort', onHappening(update));
  update();
  earlier(query, { signal });
  return element;
}

function happeningRow(first) {
  const mark = glyph();
  mark.set(first.tone);
  const time = timeElement('ago');
  time.set(first.at);
  const text = h('span', { class: 'wrap' });
  const row = h('li', {}, mark, text, h('span', { class: 'caption nowrap' }, time));
  setAttribute(row, 'data-tone', first.tone);
  row.update = (item) => setText(text, item.text);
  return row;
}
