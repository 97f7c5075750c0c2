// All bots, whatever node they are on.
import { allowed } from '../core/api.js';
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { plural } from '../core/format.js';
import { bots, isLastKnown, nodes, status, subscribe } from '../core/store.js';
import { isTroubled } from '../fleet/filter.js';
import { botLink, byName, empty, link, nodeLink, pageHead, problem, waiting } from '../parts/pieces.js';
import { stateLine } from '../parts/state.js';

/** Rows beyond this are found by searching. */
const mostRows = 300;

export function botsView(container, { signal, setTitle }) {
  setTitle('Bots');
  const failure = problem();
  const loading = waiting('Asking the hub for its bots…');
  const nextStep = h('p');
  const nothing = empty('No bots yet',
    h('p', { text: 'A bot is a long-running program on one of your nodes. It keeps running when this page, the hub or the link to its node is gone.' }), nextStep);
  const search = h('input', { type: 'search', placeholder: 'Search by bot, node or state', 'aria-label': 'Search bots', autocomplete: 'off', spellcheck: 'false' });
  const shown = h('span', { class: 'caption', role: 'status' });
  const rows = h('ul', { class: 'rows' });
  const body = h('section', { class: 'card' }, h('div', { class: 'fleet-bar bots-bar' }, search, shown), rows);
  container.append(pageHead('Bots', allowed('operator') && link('#/add-bot', 'New bot', 'button primary')), failure, loading, nothing, body);

  const arrange = () => {
    failure.set(status.error);
    show(loading, !status.loaded && !status.error);
    show(nothing, status.loaded && bots.size === 0);
    show(body, bots.size > 0);
    const wanted = nodes.size > 0 ? '#/add-bot' : '#/add-node';
    show(nextStep, allowed(nodes.size > 0 ? 'operator' : 'admin'));
    if (nextStep.firstChild?.getAttribute('href') !== wanted) {
      nextStep.replaceChildren(link(wanted, nodes.size > 0 ? 'Create your first bot' : 'First add a node to run it', 'button primary'));
    }
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [...bots.values()].filter((bot) => {
      const text = `${bot.name} ${bot.node_name ?? ''} ${bot.phase} ${bot.runtime_profile ?? ''}`.toLowerCase();
      return terms.every((term) => text.includes(term));
    }).sort((one, other) => Number(isTroubled(other)) - Number(isTroubled(one)) || byName(one, other));
    keyed(rows, found.slice(0, mostRows), (bot) => bot.id, botRow);
    setText(shown, found.length > mostRows ? `the first ${mostRows} of ${found.length}` : found.length === bots.size ? plural(found.length, 'bot') : `${found.length} of ${plural(bots.size, 'bot')}`);
  };
  search.addEventListener('input', arrange);
  signal.addEventListener('abort', subscribe(arrange));
  arrange();
}

function botRow() {
  const name = h('a', { class: 'bot-title' });
  const node = h('a', { class: 'quiet' });
  const state = stateLine();
  const row = h('li', { class: 'bot-row' }, h('div', {}, name, h('div', { class: 'small' }, node)), state);
  row.update = (bot) => {
    setText(name, bot.name);
    setAttribute(name, 'href', botLink(bot.id));
    setText(node, `${bot.node_name ?? nodes.get(bot.node_id)?.name ?? bot.node_id ?? ''}${isLastKnown(bot) ? ', which is offline' : ''}`);
    setAttribute(row, 'data-stale', isLastKnown(bot) ? 'true' : null);
    setAttribute(node, 'href', bot.node_id ? nodeLink(bot.node_id) : null);
    state.set(bot.phase, bot.reason, bot.since);
  };
  return row;
}
