// All nodes: how many are well, what needs attention, and the list.
import { allowed } from '../core/api.js';
import { h, setAttribute, setText, show } from '../core/dom.js';
import { plural } from '../core/format.js';
import { bots, botsOf, nodes, status, structureVersion, subscribe } from '../core/store.js';
import { happeningsList } from '../parts/happenings-list.js';
import { empty, labelTexts, link, pageHead, problem, waiting } from '../parts/pieces.js';
import { glyph, tone, word } from '../parts/state.js';
import { attentionPanel, findings } from './attention.js';
import { count, isInState, isMoving, order, parseQuery, states } from './filter.js';
import { nodeTable } from './node-table.js';

/** An order by figures is worked out anew this often. */
const reorderMilliseconds = 10000;
/** So are figures that alone make a node need attention, such as a full disk. */
const judgeMilliseconds = 2000;
const scrolled = { top: 0, hash: '' };

export function overviewView(container, { signal, setTitle, query }) {
  setTitle('Nodes');
  const mayAdd = allowed('admin');
  const filter = { text: query.get('q') ?? '', state: query.get('state') ?? 'all', sort: query.get('sort') ?? 'attention' };

  const failure = problem();
  const loading = waiting('Asking the hub for its nodes…');
  const nothing = empty('No nodes yet',
    h('p', { text: 'A node is a machine that runs bots. Its agent dials out to this hub, so it needs no open port and no public address: a laptop at home or a box behind carrier NAT will do.' }),
    h('p', {}, mayAdd ? link('#/add-node', 'Add your first node', 'button primary') : 'An administrator can add one.'));

  const summary = fleetSummary((state) => setFilter({ state }));
  const attention = attentionPanel(() => setFilter({ state: 'attention', sort: 'attention' }));
  const lately = h('section', { class: 'card' }, h('h2', { text: 'Lately' }),
    happeningsList({ signal, nothing: 'Nothing since this page was opened.' }));
  const search = h('input', { type: 'search', id: 'fleet-search', placeholder: 'Search, or label:gpu is:offline bot:mail', 'aria-label': 'Search nodes', autocomplete: 'off', spellcheck: 'false', value: filter.text });
  const labelPick = h('select', { 'aria-label': 'Only nodes with the label', class: 'label-pick' });
  const sortPick = h('select', { 'aria-label': 'Order', class: 'sort-pick' },
    ...[['attention', 'Attention first'], ['name', 'By name'], ['-cpu', 'Most CPU'], ['-memory', 'Most memory'], ['-disk', 'Fullest disk'], ['-rtt', 'Longest round trip'], ['-bots', 'Most bots']]
      .map(([value, text]) => h('option', { value, text })));
  const shownCount = h('span', { class: 'caption', role: 'status' });
  const table = nodeTable({ signal, onSort: (sort) => setFilter({ sort }) });
  const noMatch = empty('No node matches', h('p', { text: 'Try fewer words, or look at all nodes.' }),
    h('button', { type: 'button', text: 'Show all nodes', on: { click: () => { search.value = ''; setFilter({ text: '', state: 'all' }); } } }));
  const listCard = h('section', { class: 'card fleet-card', 'aria-label': 'List of nodes' },
    h('div', { class: 'fleet-bar' }, search, labelPick, sortPick, shownCount), table, noMatch);
  const body = h('div', { class: 'stack' }, summary,
    h('div', { class: 'columns' }, listCard, h('div', { class: 'stack fleet-side' }, attention, lately)));
  container.append(pageHead('Nodes', mayAdd && link('#/add-node', 'Add node', 'button primary')), failure, loading, nothing, body);

  function setFilter(change) {
    Object.assign(filter, change);
    const parameters = new URLSearchParams();
    if (filter.text) parameters.set('q', filter.text);
    if (filter.state !== 'all') parameters.set('state', filter.state);
    if (filter.sort !== 'attention') parameters.set('sort', filter.sort);
    const text = parameters.toString();
    history.replaceState(history.state, '', text ? `#/?${text}` : '#/');
    arrange(true);
  }
  search.addEventListener('input', () => setFilter({ text: search.value }));
  search.addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowDown') return;
    event.preventDefault();
    table.focusFirst();
  });
  labelPick.addEventListener('change', () => {
    const rest = search.value.split(/\s+/).filter((term) => term && !term.startsWith('label:'));
    search.value = [...rest, labelPick.value && `label:${labelPick.value}`].filter(Boolean).join(' ');
    setFilter({ text: search.value });
  });
  sortPick.addEventListener('change', () => setFilter({ sort: sortPick.value }));
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.target.closest('input, textarea, select, dialog')) return;
    event.preventDefault();
    search.focus();
  }, { signal });

  let known = -1, judgedAt = 0, shown = [];
  let ordered = { sort: '', at: 0, ids: [] };
  function arrange(force = false) {
    const isNew = force || known !== structureVersion();
    const isDue = isMoving(filter.sort) && Date.now() - ordered.at > reorderMilliseconds && !table.isHeld();
    if (isNew || isDue) {
      // Sorting is the dear part: a search only filters what is in order already.
      if (isDue || known !== structureVersion() || ordered.sort !== filter.sort) {
        ordered = { sort: filter.sort, at: Date.now(), ids: [...nodes.values()].sort(order(filter.sort, botsOf)).map((node) => node.id) };
      }
      known = structureVersion();
      const matches = parseQuery(filter.text);
      shown = ordered.ids.filter((id) => {
        const node = nodes.get(id), own = botsOf(id);
        return (filter.state === 'all' || isInState(node, own, filter.state)) && matches(node, own);
      });
      const all = count(nodes.values(), botsOf);
      summary.set(all, [...bots.values()], filter.state);
      fillLabels(labelPick, filter.text);
      sortPick.value = filter.sort;
      setText(shownCount, shown.length === nodes.size ? plural(nodes.size, 'node') : `${shown.length} of ${plural(nodes.size, 'node')}`);
    }
    // Figures alone change no order: the same rows, filled anew.
    table.set(shown.map((id) => nodes.get(id)).filter(Boolean), filter.sort);
    show(table, shown.length > 0);
    show(noMatch, shown.length === 0 && nodes.size > 0);
    if (isNew || Date.now() - judgedAt > judgeMilliseconds) {
      judgedAt = Date.now();
      attention.set(findings(nodes.values(), botsOf), status.loaded ? `Nothing. ${plural(nodes.size, 'node')}, ${plural(bots.size, 'bot')}.` : 'Reading the nodes…', status.loaded);
    }
  }

  for (const part of [nothing, body]) show(part, false);
  signal.addEventListener('abort', subscribe(() => {
    failure.set(status.error);
    show(loading, !status.loaded && !status.error && nodes.size === 0);
    show(nothing, status.loaded && nodes.size === 0);
    show(body, nodes.size > 0);
    if (nodes.size > 0) arrange();
  }));
  // Back from a node, the list stands where it was left.
  if (scrolled.hash === location.hash) requestAnimationFrame(() => scrollTo(0, scrolled.top));
  addEventListener('scroll', () => Object.assign(scrolled, { top: scrollY, hash: location.hash }), { passive: true, signal });
}

/** Counts as one bar and as the buttons that filter by them. */
function fleetSummary(choose) {
  const total = h('span', { class: 'fleet-total' });
  const totalWord = h('span', { class: 'quiet' });
  const running = h('span', { class: 'fleet-total' });
  const runningWord = h('span', { class: 'quiet' });
  const bar = h('div', { class: 'fleet-shares', 'aria-hidden': 'true' });
  const parts = new Map(states.map((state) => [state, h('span', { 'data-tone': tone(state), 'data-state': state })]));
  bar.append(...parts.values());
  const buttons = new Map();
  const group = h('div', { class: 'fleet-states', role: 'group', 'aria-label': 'Only nodes that are' });
  for (const state of ['all', 'attention', ...states]) {
    const mark = state === 'all' || state === 'attention' ? null : glyph();
    mark?.set(tone(state));
    const number = h('span', { class: 'figure' });
    const button = h('button', { type: 'button', class: 'slim', 'data-state': state, on: { click: () => choose(state) } },
      mark, h('span', { text: { all: 'All', attention: 'Attention' }[state] ?? word(state) }), number);
    buttons.set(state, { button, number });
    group.append(button);
  }
  const element = h('section', { class: 'card fleet-summary', 'aria-label': 'The fleet' },
    h('div', { class: 'fleet-totals' }, h('p', {}, total, ' ', totalWord), h('p', {}, running, ' ', runningWord)), bar, group);
  element.set = (counts, allBots, chosen) => {
    setText(total, counts.all.toLocaleString());
    setText(totalWord, counts.all === 1 ? 'node' : 'nodes');
    const ready = allBots.filter((bot) => bot.phase === 'ready').length;
    setText(running, ready.toLocaleString());
    setText(runningWord, allBots.length === 0 ? 'bots' : `of ${plural(allBots.length, 'bot')} running`);
    for (const [state, part] of parts) {
      show(part, counts[state] > 0);
      part.style.flexGrow = String(counts[state] ?? 0);
    }
    for (const [state, { button, number }] of buttons) {
      setText(number, (counts[state] ?? 0).toLocaleString());
      setAttribute(button, 'aria-pressed', String(state === chosen));
    }
  };
  return element;
}

function fillLabels(select, text) {
  const all = [...new Set([...nodes.values()].flatMap(labelTexts))].sort();
  show(select, all.length > 0);
  const description = all.join('\n');
  if (select.dataset.options !== description) {
    select.dataset.options = description;
    select.replaceChildren(h('option', { value: '', text: 'Any label' }), ...all.slice(0, 500).map((label) => h('option', { value: label, text: label })));
  }
  select.value = /(?:^|\s)label:(\S+)/.exec(text)?.[1] ?? '';
}
