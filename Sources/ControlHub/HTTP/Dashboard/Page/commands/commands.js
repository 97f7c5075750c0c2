// What was asked of nodes: what waits and why, what runs, what came of the rest.
import { allowed, get, remove } from '../core/api.js';
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { instant, span, timeElement } from '../core/format.js';
import { on } from '../core/live.js';
import { bots, nodes, subscribe } from '../core/store.js';
import { botLink, continuation, empty, nodeLink, pageHead, problem, waiting } from '../parts/pieces.js';
import { badge, sentence, word } from '../parts/state.js';

const states = ['queued', 'delivered', 'running', 'done', 'failed', 'expired', 'superseded', 'cancelled'];
const pageSize = 100;
const refetchMilliseconds = 400;

export function commandsView(container, { signal, setTitle }) {
  setTitle('Commands');
  const failure = problem();
  const loading = waiting('Asking the hub for its commands…');
  const pick = h('select', { id: 'command-state', class: 'slim' }, ...['', ...states].map((name) => h('option', { value: name, text: name ? word(name) : 'every state' })));
  const rows = h('ul', { class: 'rows' });
  const older = h('button', { type: 'button', class: 'slim', text: 'Show older commands' });
  const nothing = empty('No commands', h('p', { text: 'What you ask of a node or a bot is kept here until it is done, also while the node is away: start, stop, a message, a deploy.' }));
  container.append(pageHead('Commands'), failure, loading, nothing,
    h('section', { class: 'card', 'aria-label': 'List of commands' }, h('div', { class: 'panel-bar' }, h('label', { for: 'command-state', text: 'State' }), pick), rows, older));
  const card = container.lastChild;

  let items = [], cursor = null, timer = null;
  const draw = () => {
    keyed(rows, items, (item) => item.id, () => commandRow(failure, load, signal));
    show(nothing, items.length === 0 && !pick.value);
    show(card, items.length > 0 || Boolean(pick.value));
    show(older, Boolean(cursor));
  };
  async function load() {
    try {
      const query = `limit=${pageSize}${pick.value ? `&state=${pick.value}` : ''}`;
      const page = await get(`/api/commands?${query}`, { signal });
      const rest = continuation(items, page.items, (item) => item.id);
      if (rest.length === 0) cursor = page.next_cursor;
      items = [...page.items, ...rest];
      failure.set(null);
      draw();
    } catch (error) {
      failure.set(error, load);
    }
    show(loading, false);
  }
  older.addEventListener('click', async () => {
    try {
      const page = await get(`/api/commands?limit=${pageSize}&cursor=${encodeURIComponent(cursor)}${pick.value ? `&state=${pick.value}` : ''}`, { signal });
      items = [...items, ...page.items];
      cursor = page.next_cursor;
      draw();
    } catch (error) { failure.set(error); }
  });
  pick.addEventListener('change', () => {
    items = [];
    load();
  });
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = null;
      load();
    }, refetchMilliseconds);
  };
  const undo = [on('command.updated', soon), on('missed', soon), subscribe(() => { if (items.length) draw(); })];
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    undo.forEach((each) => each());
  });
  show(nothing, false);
  show(card, false);
  load();
}

function commandRow(failure, reload, signal) {
  const title = h('strong');
  const target = h('a');
  const state = badge();
  const when = timeElement('ago');
  const who = h('span');
  const why = h('p', { class: 'small wrap' });
  const cancel = h('button', { type: 'button', class: 'slim', text: 'Cancel' });
  const row = h('li', {},
    h('div', { class: 'row-head' }, title, target, state), why,
    h('div', { class: 'row caption' }, when, who, h('span', { class: 'spacer' }), allowed('operator') && cancel));
  let item = null;
  cancel.addEventListener('click', async () => {
    cancel.disabled = true;
    try {
      await remove(`/api/commands/${encodeURIComponent(item.id)}`, { signal });
      reload();
    } catch (error) { failure.set(error); }
    cancel.disabled = false;
  });
  row.update = (value) => {
    item = value;
    const bot = bots.get(value.bot_id), node = nodes.get(value.node_id);
    setText(title, sentence(value.kind));
    setText(target, bot?.name ?? node?.name ?? value.bot_id ?? value.node_id ?? '');
    setAttribute(target, 'href', value.bot_id ? botLink(value.bot_id) : nodeLink(value.node_id ?? ''));
    state.set(value.state);
    when.set(value.finished_at ?? value.running_at ?? value.delivered_at ?? value.created_at);
    setText(who, value.actor ? `by ${value.actor}` : '');
    setText(why, reasonOf(value, node));
    show(why, Boolean(why.textContent));
    show(cancel, value.state === 'queued');
  };
  return row;
}

/** Why a command stands where it does. */
function reasonOf(item, node) {
  if (item.message) return item.message;
  if (item.waiting_for ?? item.waiting_reason) return item.waiting_for ?? item.waiting_reason;
  const left = instant(item.expires_at) - Date.now();
  const until = left > 0 ? ` It is tried for another ${span(left)}.` : '';
  if (item.state === 'queued') {
    if (node && node.health !== 'online') return `Waits for ${node.name}, which is ${word(node.health).toLowerCase()}.${until}`;
    return `Waits for its turn on ${node?.name ?? 'its node'}.${until}`;
  }
  if (item.state === 'delivered') return `${node?.name ?? 'The node'} has it and has not begun yet.`;
  return '';
}
