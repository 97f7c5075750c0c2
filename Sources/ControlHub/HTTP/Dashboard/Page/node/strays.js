// What a node still holds of bots that were moved away while it could not be asked: to be discarded, or recovered.
import { allowed, get, post } from '../core/api.js';
import { ask, toast } from '../core/dialog.js';
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { bytes, fullTime, instant, plural, timeElement } from '../core/format.js';
import { on } from '../core/live.js';
import { bots, nodes, put, refreshNode } from '../core/store.js';
import { openDeploy } from '../deploy/deploy.js';
import { nodeName } from '../deploy/words.js';
import { botLink, problem } from '../parts/pieces.js';
import { badge } from '../parts/state.js';

const soonMilliseconds = 300;

/** A section for the node's page; `set(node)` with what its document says, whose sizes are asked for here. */
export function straysSection(id, { signal }) {
  const path = `/api/nodes/${encodeURIComponent(id)}/strays`;
  const failure = problem();
  const rows = h('ul', { class: 'rows' });
  const element = h('section', { class: 'card', 'aria-label': 'Old copies of bots' }, h('h2', { text: 'Old copies' }),
    h('p', { class: 'small quiet', text: 'Bots that run elsewhere now, or that this hub does not know, and of which this node holds files. None of them is started here by itself.' }), failure, rows);
  element.hidden = true;
  let known = '', timer = null;

  async function load() {
    timer = null;
    try {
      const { items } = await get(path, { signal });
      draw(items);
      failure.set(null);
    } catch (error) {
      if (!error.isAbsent) failure.set(error, load);
    }
  }
  function draw(items) {
    keyed(rows, items, (item) => item.bot_id, () => strayRow({ path, reload: load }));
    show(element, items.length > 0);
  }
  element.set = (node) => {
    const strays = node.strays ?? [];
    const description = JSON.stringify([strays, node.health]);
    if (description === known) return;
    known = description;
    // Shown at once, their sizes when the node has counted.
    draw(strays);
    if (strays.length > 0) load();
  };
  // A removal is a command of the node.
  signal.addEventListener('abort', on('command.updated', (data) => {
    if (data.node_id !== id || element.hidden) return;
    timer ??= setTimeout(() => {
      load();
      refreshNode(id);
    }, soonMilliseconds);
  }));
  signal.addEventListener('abort', () => clearTimeout(timer));
  return element;
}

function strayRow({ path, reload }) {
  const name = h('a'), state = badge(), since = timeElement('ago');
  const reason = h('p', { class: 'small wrap' }), holds = h('p', { class: 'small' }), trouble = h('p', { class: 'problem small' });
  const recover = h('button', { type: 'button', class: 'slim', text: 'Recover it here…' });
  const discard = h('button', { type: 'button', class: 'slim danger', text: 'Discard…' });
  const adopt = h('button', { type: 'button', class: 'slim', text: 'Adopt…' });
  const actions = h('div', { class: 'actions' }, adopt, recover, discard);
  const row = h('li', { class: 'stack tight' }, h('div', { class: 'row-head' }, name, h('span', { class: 'caption' }, 'found ', since), state), reason, holds, trouble, allowed('operator') && actions);
  let item = null;
  row.update = (value) => {
    item = { ...value, workspace: value.workspace ?? (item?.bot_id === value.bot_id ? item?.workspace : undefined) };
    setText(name, item.bot_name ?? `${item.bot_id}${item.is_known === false ? '' : ' (deleted)'}`);
    setAttribute(name, 'href', item.bot_name ? botLink(item.bot_id) : null);
    state.set(item.state === 'discarding' ? 'stopping' : 'warning', item.state === 'discarding' ? 'Being discarded' : 'Held');
    since.set(item.since);
    setText(reason, `${item.reason}${item.placed_on ? ` The bot is on ${nodeName(item.placed_on)} now.` : ''}`);
    setText(holds, holdsText(item));
    setText(trouble, item.problem ? `It could not be discarded: ${item.problem}` : '');
    show(trouble, Boolean(item.problem));
    const isHeld = item.state !== 'discarding';
    show(recover, isHeld && Boolean(item.bot_name));
    show(adopt, isHeld && item.is_known === false);
    show(discard, isHeld);
  };
  adopt.addEventListener('click', () => adoptStray(item, path));
  recover.addEventListener('click', () => recoverStray(item, path));
  discard.addEventListener('click', () => discardStray(item, path, reload));
  return row;
}

/** What it holds, in words. */
function holdsText({ workspace, node_id: node }) {
  if (!workspace) return nodes.get(node)?.health === 'online' ? 'The node is counting what it holds…' : 'What it holds is told when the node is back.';
  if (!workspace.exists) return 'It holds no workspace of the bot, only its log and settings.';
  const at = instant(workspace.modified_at);
  return `It holds ${plural(workspace.files, 'file')}, ${bytes(workspace.bytes)}${Number.isNaN(at) ? '' : `, last changed ${fullTime(at)}`}.`;
}

/** A bot of another hub, or of after the copy that this hub's database was put back from. */
async function adoptStray(item, path) {
  const name = h('input', { id: 'adopt-name', maxlength: '100', autocomplete: 'off', spellcheck: 'false', placeholder: 'as it was called' });
  let bot = null;
  const done = await ask({
    title: 'Adopt this bot?', confirm: 'Adopt',
    content: [
      h('p', { text: `${nodeName(item.node_id)} tells what the bot is, and it becomes a bot of this hub, with its files, its configuration and its log. It goes on as it is: one that runs is not stopped.` }),
      h('div', { class: 'field' }, h('label', { for: 'adopt-name', text: 'Name (optional)' }), name),
    ],
    action: async () => {
      bot = await post(`${path}/${encodeURIComponent(item.bot_id)}/adopt`, name.value.trim() ? { name: name.value.trim() } : {});
      put(bots, bot);
    },
  });
  if (done) location.hash = botLink(bot.id);
}

async function recoverStray(item, path) {
  const now = nodeName(item.placed_on);
  const isAway = nodes.get(item.placed_on)?.health !== 'online';
  const force = h('input', { type: 'checkbox', id: 'recover-force', checked: isAway });
  let begun = null;
  const done = await ask({
    title: `Recover ${item.bot_name} on ${nodeName(item.node_id)}?`, confirm: 'Recover',
    content: [
      h('p', { text: `The bot stops on ${now} and starts here, with the files as they are here. ${holdsText(item)}` }),
      h('p', { text: `What it has on ${now} is not carried over. It stays there as an old copy, so that you can go back.` }),
      isAway && h('div', { class: 'check' }, force, h('label', { for: 'recover-force', text: `Do not wait for ${now}, which is away` })),
    ],
    action: async () => { begun = await post(`${path}/${encodeURIComponent(item.bot_id)}/recover`, { force: isAway && force.checked }); },
  });
  if (done) openDeploy({ botID: item.bot_id, path: `/api/bots/${encodeURIComponent(item.bot_id)}`, deployment: begun });
}

function discardStray(item, path, reload) {
  return ask({
    title: `Discard the old copy of ${item.bot_name ?? item.bot_id}?`, confirm: 'Discard', danger: true,
    content: [
      h('p', { text: `${nodeName(item.node_id)} deletes its workspace and its log of the bot, for good. ${holdsText(item)}` }),
      h('p', { class: 'quiet small', text: item.bot_name ? `The bot itself, on ${nodeName(item.placed_on)}, is not touched.` : item.is_known === false ? 'This hub does not know the bot: what lies there may be all there is of it.' : 'The bot itself was deleted.' }),
    ],
    action: async () => {
      await post(`${path}/${encodeURIComponent(item.bot_id)}/discard`);
      toast(nodes.get(item.node_id)?.health === 'online' ? 'The node discards it.' : 'The node discards it when it is back.');
      refreshNode(item.node_id);
      await reload();
    },
  });
}
