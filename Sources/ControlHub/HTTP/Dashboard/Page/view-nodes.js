// All nodes at a glance.
import { h, keyed, setAttribute, setText, show } from './dom.js';
import { timeElement } from './format.js';
import { allowed } from './api.js';
import { botLine, byName, empty, link, nodeFigures, pageHead, problem, stateLine } from './parts.js';
import { bots, nodes, status, subscribe } from './store.js';

export function nodesView(container, { signal, setTitle }) {
  setTitle('Nodes');
  const mayAdd = allowed('admin');
  const head = pageHead('Nodes', mayAdd && link('#/add-node', 'Add node', 'button primary'));
  const summary = h('p', { class: 'summary muted' });
  const failure = problem();
  const loading = h('p', { class: 'muted', text: 'Loading…' });
  const nothing = empty('No nodes yet',
    h('p', { text: 'A node is a machine that runs bots. It dials out to this hub, so it needs no open port and no public address.' }),
    h('p', {}, mayAdd ? link('#/add-node', 'Add your first node', 'button primary') : 'An administrator can add one.'));
  const cards = h('ul', { class: 'cards' });
  container.append(head, summary, failure, loading, nothing, cards);

  signal.addEventListener('abort', subscribe(() => {
    failure.set(status.error);
    show(loading, !status.loaded && !status.error);
    show(nothing, status.loaded && nodes.size === 0);
    setText(summary, summarize([...nodes.values()]));
    show(summary, nodes.size > 0);
    keyed(cards, [...nodes.values()].sort(byName), (node) => node.id, nodeCard);
  }));
}

function summarize(all) {
  const counts = { online: 0, degraded: 0, offline: 0, never_seen: 0 };
  for (const node of all) counts[node.health] = (counts[node.health] ?? 0) + 1;
  const parts = [];
  for (const [health, count] of Object.entries(counts)) if (count) parts.push(`${count} ${health.replace('_', ' ')}`);
  return parts.join(', ');
}

function nodeCard(node) {
  const name = h('a', { href: `#/nodes/${encodeURIComponent(node.id)}` });
  const state = stateLine();
  const seen = timeElement('ago');
  const figures = nodeFigures({ brief: true });
  const list = h('ul', { class: 'bot-lines' });
  const noBots = h('p', { class: 'muted small' });
  const card = h('li', { class: 'card node-card' },
    h('div', { class: 'node-card-head' },
      h('h2', {}, name), state,
      h('p', { class: 'muted small' }, 'Last seen ', seen)),
    figures,
    h('div', { class: 'node-card-bots' }, list, noBots));
  card.update = (value) => {
    setText(name, value.name || value.host_name || value.id);
    state.set(value.health, value.health === 'online' ? '' : value.health_reason, value.health_since);
    setAttribute(card, 'data-health', value.health);
    seen.set(value.last_seen_at);
    if (!value.last_seen_at) setText(seen, 'never');
    figures.set(value);
    const own = [...bots.values()].filter((bot) => bot.node_id === value.id).sort(byName);
    keyed(list, own.slice(0, 8), (bot) => bot.id, botLine);
    setText(noBots, own.length === 0 ? 'No bots' : own.length > 8 ? `and ${own.length - 8} more` : '');
    show(noBots, own.length === 0 || own.length > 8);
  };
  return card;
}
