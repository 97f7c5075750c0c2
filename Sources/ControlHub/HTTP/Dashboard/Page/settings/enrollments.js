// Pairing codes that were made, and what became of them.
import { list, remove } from '../core/api.js';
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { plural, timeElement } from '../core/format.js';
import { on } from '../core/live.js';
import { nodes } from '../core/store.js';
import { attemptList } from '../parts/attempts.js';
import { link, nodeLink, problem } from '../parts/pieces.js';
import { badge } from '../parts/state.js';

const refreshMilliseconds = 10000;

export function enrollmentsPart(container, { signal }) {
  const failure = problem();
  const rows = h('ul', { class: 'rows' });
  const none = h('p', { class: 'quiet', text: 'No codes yet. “Add node” makes one; it works once, for 15 minutes, and is never shown again.' });
  none.hidden = true;
  container.append(h('section', { class: 'card' },
    h('div', { class: 'card-head' }, h('h2', { text: 'Pairing codes' }), h('div', { class: 'actions' }, link('#/add-node', 'Add node', 'button slim'))), failure, none, rows));

  async function load() {
    try {
      const items = await list('/api/enrollments', { signal, limit: 100, first: 100 });
      keyed(rows, items, (item) => item.id, codeRow);
      show(none, items.length === 0);
      failure.set(null);
    } catch (error) { failure.set(error, load); }
  }

  function codeRow() {
    const name = h('strong');
    const node = h('a');
    const state = badge();
    const made = timeElement('ago');
    const by = h('span');
    const attempts = attemptList(), count = h('summary', { class: 'small' });
    const refused = h('details', { class: 'refused' }, count, attempts);
    const withdraw = h('button', { type: 'button', class: 'slim', text: 'Withdraw' });
    const row = h('li', {}, h('div', { class: 'row-head' }, name, node, state),
      h('div', { class: 'row caption' }, h('span', {}, 'made ', made), by, h('span', { class: 'spacer' }), withdraw), refused);
    row.update = (item) => {
      setText(name, item.name || (item.for_node_id ? 'Pairing again' : 'Without a name'));
      const id = item.redeemed_node_id ?? item.node_id ?? item.for_node_id;
      setText(node, id ? nodes.get(id)?.name ?? id : '');
      setAttribute(node, 'href', id ? nodeLink(id) : null);
      show(node, Boolean(id));
      state.set(item.state);
      made.set(item.created_at);
      setText(by, item.created_by ? `by ${item.created_by}` : '');
      // Those with an unknown code may have meant any of the codes; the page that waits for one tells them.
      const own = (item.failed_attempts ?? []).filter((attempt) => attempt.is_this_code);
      attempts.set(own);
      setText(count, `${plural(own.length, 'attempt')} refused`);
      show(refused, own.length > 0);
      show(withdraw, item.state === 'open');
      withdraw.setAttribute('aria-label', `Withdraw the code ${item.name ?? ''}`);
      withdraw.onclick = async () => {
        try {
          await remove(`/api/enrollments/${encodeURIComponent(item.id)}`, { signal });
          load();
        } catch (error) { failure.set(error); }
      };
    };
    return row;
  }

  const timer = setInterval(load, refreshMilliseconds);
  signal.addEventListener('abort', on('node.updated', (data) => { if (data.change === 'created') load(); }));
  signal.addEventListener('abort', on('enrollment.updated', load));
  signal.addEventListener('abort', () => clearInterval(timer));
  load();
}
