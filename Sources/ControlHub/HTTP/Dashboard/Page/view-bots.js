// All bots, whatever node they are on.
import { allowed } from './api.js';
import { h, keyed, setAttribute, setText, show } from './dom.js';
import { byName, empty, link, pageHead, problem, stateLine } from './parts.js';
import { bots, nodes, status, subscribe } from './store.js';

export function botsView(container, { signal, setTitle }) {
  setTitle('Bots');
  const head = pageHead('Bots', allowed('operator') && link('#/add-bot', 'New bot', 'button primary'));
  const failure = problem();
  const loading = h('p', { class: 'muted', text: 'Loading…' });
  const explanation = h('p', { text: 'A bot is a long-running program on one of your nodes. It keeps running when this page or the link to its node is gone.' });
  const nextStep = h('p');
  const nothing = empty('No bots yet', explanation, nextStep);
  const rows = h('ul', { class: 'rows card' });
  container.append(head, failure, loading, nothing, rows);

  signal.addEventListener('abort', subscribe(() => {
    failure.set(status.error);
    show(loading, !status.loaded && !status.error);
    show(nothing, status.loaded && bots.size === 0);
    show(rows, bots.size > 0);
    const wanted = nodes.size > 0 ? '#/add-bot' : '#/add-node';
    show(nextStep, allowed(nodes.size > 0 ? 'operator' : 'admin'));
    if (nextStep.firstChild?.getAttribute('href') !== wanted) {
      nextStep.replaceChildren(link(wanted, nodes.size > 0 ? 'Create your first bot' : 'First add a node to run it', 'button primary'));
    }
    keyed(rows, [...bots.values()].sort(byName), (bot) => bot.id, botRow);
  }));
}

function botRow() {
  const name = h('a', { class: 'bot-name' });
  const node = h('a', { class: 'muted' });
  const state = stateLine();
  const row = h('li', { class: 'bot-row' }, h('div', {}, name, h('div', { class: 'small' }, node)), state);
  row.update = (bot) => {
    setText(name, bot.name);
    setAttribute(name, 'href', `#/bots/${encodeURIComponent(bot.id)}`);
    setText(node, bot.node_name ?? nodes.get(bot.node_id)?.name ?? bot.node_id ?? '');
    setAttribute(node, 'href', bot.node_id ? `#/nodes/${encodeURIComponent(bot.node_id)}` : null);
    state.set(bot.phase, bot.reason, bot.since);
  };
  return row;
}
