// What the hub has refused, slowed down or cut of what a node sent.
import { h, keyed, setText, show } from '../core/dom.js';
import { timeElement } from '../core/format.js';
import { sentence } from '../parts/state.js';

export function intakeProblems() {
  const rows = h('ul', { class: 'rows' });
  const element = h('section', { class: 'card', hidden: true }, h('h2', { text: 'Held back by the hub' }), rows);
  element.set = (node) => {
    keyed(rows, node.problems ?? [], (item) => item.code, problemRow);
    show(element, node.problems?.length > 0);
  };
  return element;
}

function problemRow() {
  const what = h('strong'), count = h('span', { class: 'caption' }), detail = h('p', { class: 'small wrap' });
  const last = timeElement('ago');
  const row = h('li', {}, h('div', { class: 'row-head' }, what, count, h('span', { class: 'caption' }, last)), detail);
  row.update = (item) => {
    setText(what, sentence(item.code));
    setText(count, item.count > 1 ? `${item.count} times` : '');
    setText(detail, item.detail);
    last.set(item.last_at);
  };
  return row;
}
