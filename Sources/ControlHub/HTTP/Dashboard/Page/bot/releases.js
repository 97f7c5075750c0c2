// What was deployed, when, and how it went.
import { get } from '../core/api.js';
import { h, keyed, setText, show } from '../core/dom.js';
import { timeElement } from '../core/format.js';
import { on } from '../core/live.js';
import { bots, subscribe } from '../core/store.js';
import { facts, problem } from '../parts/pieces.js';
import { badge } from '../parts/state.js';

export function releasesPanel(container, { id, path, signal }) {
  const failure = problem();
  const current = facts(['Node', 'Runtime profile', 'Image', 'Placement', 'Since']);
  const since = timeElement('ago');
  const rows = h('ul', { class: 'rows' });
  const none = h('p', { class: 'quiet', text: 'This bot has never been moved or deployed anew. Each time it is, the release is kept here, with what came of it.' });
  container.append(
    h('section', { class: 'card' }, h('h2', { text: 'In place' }), current),
    h('section', { class: 'card' }, h('h2', { text: 'Releases' }), failure, none, rows));

  async function load() {
    try {
      const { items } = await get(`${path}/deployments`, { signal });
      keyed(rows, items, (item) => item.id, releaseRow);
      show(none, items.length === 0);
      failure.set(null);
    } catch (error) {
      if (!error.isAbsent) failure.set(error, load);
    }
  }
  signal.addEventListener('abort', on('deployment.updated', (data) => { if (data.bot_id === id) load(); }));
  signal.addEventListener('abort', subscribe(() => {
    const bot = bots.get(id);
    if (!bot) return;
    current.set('Node', bot.node_name ?? bot.node_id);
    current.set('Runtime profile', bot.runtime_profile || 'default of the node');
    current.set('Image', bot.image);
    current.set('Placement', Number.isFinite(bot.placement_epoch) ? `number ${bot.placement_epoch}` : '');
    since.set(bot.created_at);
    current.set('Since', bot.placement_epoch > 1 ? '' : since);
  }));
  load();
}

function releaseRow() {
  const title = h('strong');
  const state = badge();
  const when = timeElement('ago');
  const text = h('p', { class: 'small wrap' });
  const row = h('li', {}, h('div', { class: 'row-head' }, title, h('span', { class: 'caption' }, when), state), text);
  row.update = (item) => {
    setText(title, [item.source_node_name ?? item.from?.node_name, item.target_node_name ?? item.to?.node_name ?? item.node_name ?? item.node_id].filter(Boolean).join(' → ') || item.id);
    state.set(item.state ?? item.status);
    when.set(item.finished_at ?? item.created_at);
    setText(text, [item.step && `step ${item.step}`, item.reason ?? item.message ?? item.error].filter(Boolean).join(': '));
  };
  return row;
}
