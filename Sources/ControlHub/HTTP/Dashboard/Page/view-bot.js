// One bot: its state, what can be done with it, and talk, log, packets and configuration below.
import { announce, h, setAttribute, setText, show } from './dom.js';
import { allowed, post } from './api.js';
import { timeElement } from './format.js';
import { facts, link, pageHead, problem, stateLine, word } from './parts.js';
import { bots, nodes, refreshBot, status, subscribe } from './store.js';
import { chatPanel } from './chat.js';
import { logPanel } from './log.js';
import { packetsPanel } from './packets.js';

const panels = { chat: ['Chat', chatPanel], log: ['Log', logPanel], packets: ['Packets', packetsPanel], config: ['Details', detailsPanel] };

export function botView(container, { id, part, signal, setTitle }) {
  const path = `/api/bots/${encodeURIComponent(id)}`;
  const actions = {
    start: h('button', { type: 'button', class: 'primary', text: 'Start' }),
    stop: h('button', { type: 'button', text: 'Stop' }),
    restart: h('button', { type: 'button', text: 'Restart' }),
  };
  const head = pageHead('Bot', ...Object.values(actions));
  const failure = problem();
  const gone = h('p', { class: 'notice' }, 'There is no such bot. ', link('#/bots', 'Show all bots'));
  const state = stateLine();
  const place = h('p', { class: 'muted small' });
  const node = h('a');
  place.append('on ', node);
  const nodeNote = h('span');
  place.append(nodeNote);
  const tabs = h('nav', { class: 'tabs', 'aria-label': 'Bot' });
  for (const [name, [title]] of Object.entries(panels)) {
    tabs.append(h('a', { href: `#/bots/${encodeURIComponent(id)}/${name}`, text: title, 'data-panel': name }));
  }
  const panelPlace = h('div', { class: 'panel' });
  const body = h('div', {}, tabs, panelPlace);
  container.append(head, h('div', { class: 'lead' }, state, place), failure, gone, body);

  // Which action is under way, until the hub tells of a new phase.
  let pending = null;
  for (const [action, button] of Object.entries(actions)) {
    button.addEventListener('click', async () => {
      failure.set(null);
      pending = action;
      arrange();
      try {
        await post(`${path}/${action}`, {}, { signal });
        refreshBot(id);
        announce(`${button.textContent} requested.`);
      } catch (error) {
        failure.set(error);
      }
      pending = null;
      arrange();
    });
  }

  function arrange() {
    const bot = bots.get(id);
    if (!status.loaded || status.error) failure.set(status.error ?? null);
    show(gone, status.loaded && !bot);
    show(body, Boolean(bot));
    show(place, Boolean(bot));
    show(state, Boolean(bot));
    for (const button of Object.values(actions)) show(button, Boolean(bot) && allowed('operator'));
    if (!bot) return;
    setTitle(bot.name);
    setText(head.heading, bot.name);
    const isWaiting = bot.phase === 'stopped' && bot.desired_state === 'running';
    state.set(bot.phase, bot.reason || (isWaiting ? 'Start requested, waiting for the node.' : ''), bot.since);
    const host = nodes.get(bot.node_id);
    setText(node, bot.node_name ?? host?.name ?? bot.node_id ?? 'no node');
    setAttribute(node, 'href', bot.node_id ? `#/nodes/${encodeURIComponent(bot.node_id)}` : null);
    setText(nodeNote, host && host.health !== 'online' ? `, which is ${word(host.health).toLowerCase()}` : '');
    const isStopped = bot.phase === 'stopped' || bot.phase === 'failed';
    const wantsToRun = bot.desired_state === 'running';
    actions.start.disabled = Boolean(pending) || (!isStopped && wantsToRun);
    actions.stop.disabled = Boolean(pending) || (bot.phase === 'stopped' && !wantsToRun);
    actions.restart.disabled = Boolean(pending) || isStopped;
  }

  let panelController = null;
  let shown = null;
  function open(name = 'chat') {
    if (shown === name) return;
    shown = name;
    panelController?.abort();
    panelController = new AbortController();
    panelPlace.replaceChildren();
    for (const anchor of tabs.children) setAttribute(anchor, 'aria-current', anchor.dataset.panel === name ? 'page' : null);
    panels[name][1](panelPlace, { id, path, signal: panelController.signal });
  }
  signal.addEventListener('abort', () => panelController?.abort());
  signal.addEventListener('abort', subscribe(arrange));
  arrange();
  open(part);
  return open;
}

function detailsPanel(container, { id, signal }) {
  const list = facts(['Bot id', 'Runtime profile', 'Wanted', 'Process', 'Launch', 'Restarts', 'Last exit', 'Created']);
  const created = timeElement('ago'), exited = timeElement('ago');
  const exitText = h('span');
  const exit = h('span', {}, exitText, ', ', exited);
  const errors = h('pre', { class: 'output', tabindex: '0' });
  const errorPart = h('div', { class: 'stack' }, h('h3', { text: 'Last lines of its error output' }), errors);
  const config = h('pre', { class: 'output', tabindex: '0' });
  container.append(h('section', { class: 'card stack' }, list, errorPart), h('section', { class: 'card stack' }, h('h2', { text: 'Configuration' }), config));
  signal.addEventListener('abort', subscribe(() => {
    const bot = bots.get(id);
    if (!bot) return;
    list.set('Bot id', bot.id);
    list.set('Runtime profile', bot.runtime_profile || 'default of the node');
    list.set('Wanted', bot.desired_state && word(bot.desired_state));
    list.set('Process', bot.pid || '');
    list.set('Launch', bot.launch_id);
    list.set('Restarts', Number.isFinite(bot.restart_count) ? bot.restart_count : '');
    const last = bot.last_exit;
    setText(exitText, exitWords(last));
    exited.set(last?.at);
    list.set('Last exit', last ? exit : '');
    setText(errors, last?.last_stderr ?? '');
    show(errorPart, Boolean(last?.last_stderr));
    created.set(bot.created_at);
    list.set('Created', bot.created_at ? created : '');
    setText(config, JSON.stringify(bot.config ?? {}, null, 2));
  }));
}

function exitWords(exit) {
  if (!exit) return '';
  const how = exit.signal ? `ended by signal ${exit.signal}` : `exit code ${exit.code ?? 0}`;
  return exit.requested ? `${how} (asked for)` : how;
}
