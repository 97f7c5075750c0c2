// Who did what, and when.
import { get } from '../core/api.js';
import { h, keyed, setText, show } from '../core/dom.js';
import { fullTime, instant } from '../core/format.js';
import { problem } from '../parts/pieces.js';

const pageSize = 100;

export function auditPart(container, { signal }) {
  const failure = problem();
  const search = h('input', { type: 'search', class: 'slim', placeholder: 'Find among those shown', 'aria-label': 'Find in the audit log', autocomplete: 'off', spellcheck: 'false' });
  const rows = h('tbody');
  const older = h('button', { type: 'button', class: 'slim', text: 'Show older entries' });
  older.hidden = true;
  const heads = ['When', 'Who', 'What', 'To what', 'Detail'];
  container.append(h('section', { class: 'card' }, h('h2', { text: 'Audit log' }), h('div', { class: 'panel-bar' }, search), failure,
    h('div', { class: 'table-frame' }, h('table', { class: 'table stacking' }, h('thead', {}, h('tr', {}, ...heads.map((text) => h('th', { text, scope: 'col' })))), rows)), older));
  let items = [], cursor = null;

  const draw = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = items.filter((item) => !wanted || `${item.actor} ${item.action} ${item.target} ${item.detail ?? ''}`.toLowerCase().includes(wanted));
    keyed(rows, found, (item) => item.id, entryRow);
    show(older, Boolean(cursor));
  };
  async function load() {
    try {
      const page = await get(`/api/audit?limit=${pageSize}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, { signal });
      items = [...items, ...page.items];
      cursor = page.next_cursor;
      failure.set(null);
      draw();
    } catch (error) { failure.set(error, load); }
  }
  older.addEventListener('click', load);
  search.addEventListener('input', draw);
  load();

  function entryRow() {
    const cells = heads.map((head) => h('td', { 'data-head': head }));
    const row = h('tr', {}, ...cells);
    row.update = (item) => [fullTime(instant(item.at)), item.actor, item.action, item.target, item.detail].forEach((text, index) => setText(cells[index], text));
    return row;
  }
}
