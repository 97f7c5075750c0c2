// What an operator does with a node, each with what it means before it is done.
import { allowed, patch, post, remove } from '../core/api.js';
import { ask, menuButton, tell, toast } from '../core/dialog.js';
import { h, setText } from '../core/dom.js';
import { milliseconds } from '../core/format.js';
import { deleteNode, nodes, put } from '../core/store.js';
import { isDraining } from '../fleet/filter.js';
import { facts, labelTexts } from '../parts/pieces.js';
import { badge, sentence } from '../parts/state.js';

/** The menu of a node; null where the operator may do nothing with it. */
export function nodeActions(id, { signal, failure }) {
  const path = `/api/nodes/${encodeURIComponent(id)}`;
  const node = () => nodes.get(id) ?? {};
  const attempt = (action) => async () => {
    failure.set(null);
    try { await action(); } catch (error) { failure.set(error); }
  };
  const entries = [];
  if (allowed('operator')) {
    entries.push(['Test the connection', attempt(() => test(path, signal)), { name: 'test' }]);
    entries.push(['Refresh figures', attempt(async () => {
      put(nodes, await post(`${path}/refresh`, {}, { signal }));
      toast('These are the node’s figures of this moment.');
    }), { name: 'refresh' }]);
    entries.push(['Draining…', () => drain(path, node(), signal), { name: 'drain' }]);
  }
  if (allowed('admin')) {
    entries.push(null, ['Rename…', () => rename(path, node(), signal), { name: 'rename' }], ['Labels…', () => label(path, node(), signal), { name: 'labels' }]);
    entries.push(['When it counts as offline…', () => setThresholds(path, node(), signal), { name: 'thresholds' }]);
    entries.push(['Rotate its token…', () => rotate(path, node(), signal), { name: 'rotate-token' }]);
    entries.push(['Pair it again', () => { location.hash = `#/add-node?node=${encodeURIComponent(id)}`; }, { name: 'pair' }]);
    entries.push(null, ['Revoke…', () => revoke(path, node(), signal), { danger: true, name: 'revoke' }]);
    entries.push(['Delete…', () => erase(path, node(), signal), { danger: true, name: 'delete' }]);
  }
  return entries.length ? menuButton('Actions', entries) : null;
}

async function test(path, signal) {
  toast('Testing: a round trip to the node and back…');
  const answer = await post(`${path}/test`, {}, { signal });
  const checks = (answer.checks ?? []).map((check) => {
    const state = badge();
    state.set(check.status);
    return h('li', {}, h('div', { class: 'row-head' }, h('strong', { text: sentence(check.name) }), state), h('p', { class: 'small wrap', text: check.detail }));
  });
  const list = facts([], { list: true });
  list.set('Round trip', milliseconds(answer.rtt_ms));
  list.set('Agent’s work', milliseconds(answer.worked_ms));
  list.set('Runtime', (answer.runtime_profiles ?? []).map((profile) => `${profile.name}: ${profile.usable ? [profile.engine, profile.engine_version].filter(Boolean).join(' ') || 'usable' : profile.reason || 'not usable'}`).join('\n'));
  tell(answer.ok === false ? 'The node answered, and something is wrong' : 'The node answered', h('ul', { class: 'rows' }, ...checks), list);
}

function rename(path, node, signal) {
  const name = h('input', { id: 'new-name', value: node.name, maxlength: '100', required: true, autocomplete: 'off', spellcheck: 'false' });
  return ask({
    title: 'Rename the node', confirm: 'Rename',
    content: [h('div', { class: 'field' }, h('label', { for: 'new-name', text: 'Name' }), name)],
    action: async () => put(nodes, await patch(path, { name: name.value.trim() }, { signal })),
  });
}

function label(path, node, signal) {
  const text = h('textarea', { id: 'new-labels', rows: '6', spellcheck: 'false', placeholder: 'site=home\ngpu=rtx4070', class: 'mono', text: labelTexts(node).join('\n') });
  return ask({
    title: 'Labels', confirm: 'Save',
    content: [h('div', { class: 'field' }, h('label', { for: 'new-labels', text: 'One a line, as name=value' }), text, h('p', { class: 'help', text: 'In the list of nodes, label:site=home finds them.' }))],
    action: async () => {
      const labels = Object.fromEntries(text.value.split('\n').map((line) => line.trim()).filter(Boolean).map((line) => {
        const [name, ...value] = line.split('=');
        return [name.trim(), value.join('=').trim()];
      }));
      put(nodes, await patch(path, { labels }, { signal }));
    },
  });
}

function drain(path, node, signal) {
  const isOn = isDraining(node);
  const stop = h('input', { type: 'checkbox', id: 'drain-stop' });
  return ask({
    title: isOn ? `End draining ${node.name}?` : `Drain ${node.name}?`, confirm: isOn ? 'End draining' : 'Drain',
    content: [
      h('p', { text: isOn ? 'Bots may be placed and started on it again.' : 'Nothing is placed or started on it any more, until you end it.' }),
      !isOn && h('div', { class: 'check' }, stop, h('label', { for: 'drain-stop', text: 'Stop the bots that run there now' })),
    ],
    action: async () => put(nodes, await post(`${path}/drain`, isOn ? { enabled: false } : { enabled: true, stop_bots: stop.checked }, { signal })),
  });
}

function setThresholds(path, node, signal) {
  const current = node.thresholds ?? {};
  const field = (name, id, text) => {
    const input = h('input', { id, type: 'number', min: '0', step: 'any', inputmode: 'decimal', value: current.own ? current[name] : null, placeholder: `${current[name] ?? ''} (the hub’s)` });
    return { name, input, element: h('div', { class: 'field' }, h('label', { for: id, text }), input) };
  };
  const fields = [
    field('degraded_after_seconds', 'degraded-after', 'Degraded after so many seconds without a heartbeat'),
    field('offline_after_seconds', 'offline-after', 'Offline after so many seconds without a heartbeat'),
    field('closed_grace_seconds', 'closed-grace', 'Offline so many seconds after its connection closed'),
  ];
  return ask({
    title: `When ${node.name} counts as offline`, confirm: 'Save',
    content: [
      h('p', { class: 'quiet', text: `It is heard every ${current.heartbeat_interval_seconds ?? 15} s. What is left empty is as the hub has it for all nodes.` }),
      ...fields.map(({ element }) => element),
    ],
    action: async () => {
      const thresholds = Object.fromEntries(fields.filter(({ input }) => input.value.trim()).map(({ name, input }) => [name, Number(input.value)]));
      put(nodes, await patch(path, { thresholds }, { signal }));
    },
  });
}

function rotate(path, node, signal) {
  return ask({
    title: `Give ${node.name} a new token?`, confirm: 'Rotate',
    content: [h('p', { text: 'It is sent over the live link. The node proves it with a new session before the old one stops working, so nothing is cut off.' })],
    action: async () => {
      await post(`${path}/rotate-token`, {}, { signal, timeout: 90000 });
      toast('The node has proved its new token; the old one is withdrawn.');
    },
  });
}

function revoke(path, node, signal) {
  return ask({
    title: `Revoke ${node.name}?`, confirm: 'Revoke', danger: true,
    content: [h('p', { text: 'Its tokens stop working and its session is closed at once. Its bots go on running there, out of reach. Pairing it again brings it back with its history.' })],
    action: async () => put(nodes, await post(`${path}/revoke`, {}, { signal })),
  });
}

function erase(path, node, signal) {
  const typed = h('input', { id: 'typed-name', autocomplete: 'off', spellcheck: 'false' });
  const hint = h('label', { for: 'typed-name' });
  setText(hint, `Type ${node.name} to confirm`);
  const held = node.strays?.length ?? 0;
  const strays = held > 0 && h('p', { text: `It still holds what is left of ${held === 1 ? 'a bot' : `${held} bots`}, perhaps the only copy of its workspace. The hub forgets that too; the files stay on the node.` });
  return ask({
    title: `Delete ${node.name}?`, confirm: 'Delete', danger: true,
    content: [strays, h('p', { text: 'The hub forgets the node and its history. A node with bots cannot be deleted: move or delete them first.' }), h('div', { class: 'field' }, hint, typed)].filter(Boolean),
    action: async () => {
      if (typed.value.trim() !== node.name) throw new Error(`That is not its name. Type ${node.name} to delete it.`);
      await deleteNode(node.id, () => remove(held > 0 ? `${path}?forget_strays=true` : path, { signal }));
      location.hash = '#/';
    },
  });
}
