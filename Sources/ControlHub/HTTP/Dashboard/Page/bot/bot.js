// One bot: its state, what can be done with it, and its panels below. A panel is `(container, {id, path, signal})`.
import { allowed, post, remove } from '../core/api.js';
import { ask, menuButton, toast } from '../core/dialog.js';
import { announce, h, setAttribute, setText, show } from '../core/dom.js';
import { bots, isLastKnown, nodes, refreshBot, status, subscribe } from '../core/store.js';
import { deployBanner } from '../deploy/banner.js';
import { openDeploy } from '../deploy/deploy.js';
import { botLink, crumbs, link, nodeLink, pageHead, problem, tabs } from '../parts/pieces.js';
import { stateLine, word } from '../parts/state.js';
import { chatPanel } from './chat.js';
import { detailsPanel, editBot } from './details.js';
import { filesPanel } from './files.js';
import { logPanel } from './log.js';
import { packetsPanel } from './packets.js';
import { releasesPanel } from './releases.js';
import { usagePanel } from './usage.js';

const panels = {
  chat: ['Chat', chatPanel], log: ['Log', logPanel], packets: ['Packets', packetsPanel], files: ['Files', filesPanel],
  usage: ['Resources', usagePanel], releases: ['Releases', releasesPanel], details: ['Details', detailsPanel],
};
export const botParts = Object.keys(panels);

export function botView(container, { id, part, signal, setTitle }) {
  const path = `/api/bots/${encodeURIComponent(id)}`;
  const actions = {
    start: h('button', { type: 'button', class: 'primary', text: 'Start' }),
    stop: h('button', { type: 'button', text: 'Stop' }),
    restart: h('button', { type: 'button', text: 'Restart' }),
  };
  const move = h('button', { type: 'button', text: 'Move…', on: { click: () => openDeploy({ botID: id, path }) } });
  const menu = allowed('operator') ? menuButton('More', [
    ['Edit…', () => editBot(id, { signal }), { name: 'edit' }],
    null,
    ['Delete…', () => deleteBot(id, path, signal), { danger: true, name: 'delete' }],
  ]) : null;
  const head = pageHead('Bot', ...Object.values(actions), move, menu);
  const failure = problem();
  const gone = h('p', { class: 'notice' }, 'There is no such bot. ', link('#/bots', 'Show all bots'));
  const state = stateLine();
  const node = h('a');
  const nodeNote = h('span');
  const place = h('span', { class: 'quiet small' }, 'on ', node, nodeNote);
  const bar = tabs('Bot', Object.entries(panels).map(([name, [title]]) => [name, title, botLink(id, name)]));
  const panelPlace = h('div', { class: 'panel stack' });
  const body = h('div', { class: 'stack' }, bar, panelPlace);
  const lead = h('div', { class: 'row' }, state, place);
  let deploying = null;
  const banner = deployBanner({ id, path, signal, open: (deployment) => openDeploy({ botID: id, path, deployment }), onChange: (deployment) => {
    deploying = deployment;
    arrange();
  } });
  container.append(crumbs(link('#/bots', 'Bots')), head, lead, failure, gone, banner, body);

  // Which action is under way, until the hub has taken it.
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
    if (status.error && !bot) failure.set(status.error);
    show(gone, status.loaded && !bot);
    for (const each of [body, lead]) show(each, Boolean(bot));
    for (const button of [...Object.values(actions), move]) show(button, Boolean(bot) && allowed('operator'));
    if (menu) show(menu, Boolean(bot));
    if (!bot) return;
    setTitle(bot.name);
    setText(head.heading, bot.name);
    const host = nodes.get(bot.node_id);
    const isAway = host && host.health !== 'online';
    setAttribute(lead, 'data-stale', isLastKnown(bot) ? 'true' : null);
    const wantsToRun = bot.desired_state === 'running';
    const isWaiting = bot.phase === 'stopped' && wantsToRun;
    state.set(bot.phase, bot.reason || (deploying ? 'It is being deployed; messages wait until it is back.' : isWaiting ? (isAway ? 'Start requested; it is done when the node is back.' : 'Start requested, waiting for the node.') : ''), bot.since);
    setText(node, bot.node_name ?? host?.name ?? bot.node_id ?? 'no node');
    setAttribute(node, 'href', bot.node_id ? nodeLink(bot.node_id) : null);
    setText(nodeNote, isAway ? `, which is ${word(host.health).toLowerCase()}: this is what was last known` : '');
    const isStopped = bot.phase === 'stopped' || bot.phase === 'failed';
    const isHeld = Boolean(pending) || Boolean(deploying);
    actions.start.disabled = isHeld || (!isStopped && wantsToRun);
    actions.stop.disabled = isHeld || (bot.phase === 'stopped' && !wantsToRun);
    actions.restart.disabled = isHeld || isStopped;
    move.disabled = Boolean(deploying);
    for (const [action, button] of Object.entries(actions)) setAttribute(button, 'aria-busy', pending === action ? 'true' : null);
  }

  let panelController = null;
  let shown = null;
  function open(name = 'chat') {
    if (shown === name) return;
    shown = name;
    panelController?.abort();
    panelController = new AbortController();
    panelPlace.replaceChildren();
    bar.show(name);
    panels[name][1](panelPlace, { id, path, signal: panelController.signal });
  }
  signal.addEventListener('abort', () => panelController?.abort());
  signal.addEventListener('abort', subscribe(arrange));
  arrange();
  open(part);
  return open;
}

function deleteBot(id, path, signal) {
  const bot = bots.get(id);
  const keep = h('input', { type: 'radio', name: 'workspace', id: 'workspace-keep', checked: true });
  const erase = h('input', { type: 'radio', name: 'workspace', id: 'workspace-erase' });
  return ask({
    title: `Delete ${bot?.name}?`, confirm: 'Delete', danger: true,
    content: [
      h('p', { text: 'The bot is stopped and forgotten, with its conversations, once its node has done so.' }),
      h('fieldset', { class: 'stack tight' }, h('legend', { class: 'small', text: 'Its files on the node' }),
        h('div', { class: 'check' }, keep, h('label', { for: 'workspace-keep', text: 'Keep the workspace there' })),
        h('div', { class: 'check' }, erase, h('label', { for: 'workspace-erase', text: 'Delete the workspace too, for good' }))),
    ],
    action: async () => {
      const answer = await remove(`${path}?keep_workspace=${keep.checked}`, { signal });
      if (answer?.message) toast(answer.message);
      refreshBot(id);
      location.hash = '#/bots';
    },
  });
}
