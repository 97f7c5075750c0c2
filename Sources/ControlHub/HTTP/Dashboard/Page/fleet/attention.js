// What needs a person, worst first.
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { instant, percent, span, timeElement } from '../core/format.js';
import { botLink, fullestDisk, nodeLink, usedPercent } from '../parts/pieces.js';
import { glyph } from '../parts/state.js';
import { isRevoked, isTroubled } from './filter.js';

const shown = 6;
const fullDisk = 92, fullMemory = 96;
const clockMilliseconds = 5000;
/** A node that was added and does not come is worth a word after this time. */
const patienceMilliseconds = 10 * 60000;

/** All there is to see to, as `{key, rank, tone, title, text, href, since}`. */
export function findings(nodes, botsOf, now = Date.now()) {
  const all = [];
  const add = (rank, tone, key, title, text, href, since) => all.push({ rank, tone, key, title, text, href, since });
  for (const node of nodes) {
    const name = node.name || node.host_name || node.id;
    const href = nodeLink(node.id);
    if (node.quarantine) add(0, 'bad', `quarantine ${node.id}`, name, 'A second machine uses this node’s identity. Decide which one is right.', href, node.quarantine.since);
    if (!isRevoked(node)) {
      if (node.health === 'offline') add(1, 'bad', `offline ${node.id}`, name, node.health_reason || 'Offline.', href, node.health_since);
      if (node.health === 'degraded') add(3, 'warn', `degraded ${node.id}`, name, node.health_reason || 'Degraded.', href, node.health_since);
      if (node.health === 'never_seen' && now - instant(node.created_at) > patienceMilliseconds) {
        add(6, 'idle', `never ${node.id}`, name, 'Added, but never connected. On the machine, edge-agent doctor says why.', href, node.created_at);
      }
    }
    for (const stray of node.strays ?? []) {
      if (stray.state === 'held') add(4, 'warn', `stray ${node.id} ${stray.bot_id}`, name, `Holds an old copy of ${stray.bot_name ?? 'a deleted bot'}. Discard or recover it.`, href, stray.since);
    }
    for (const item of node.problems ?? []) add(4, 'warn', `intake ${node.id} ${item.code}`, name, item.detail, href, item.since);
    if (node.health !== 'online') continue;
    for (const bot of botsOf(node.id)) {
      if (isTroubled(bot)) add(bot.phase === 'backoff' ? 4 : 2, bot.phase === 'backoff' ? 'warn' : 'bad', `bot ${bot.id}`, bot.name, `${bot.reason || 'It does not run.'} (on ${name})`, botLink(bot.id, 'log'), bot.since);
    }
    const disk = fullestDisk(node.resources);
    const full = disk ? usedPercent(disk.total_bytes, disk.available_bytes) : 0;
    if (full >= fullDisk) add(4, 'warn', `disk ${node.id}`, name, `${disk.mount_point} is ${percent(full)} full.`, href);
    const memory = usedPercent(node.resources?.memory_total_bytes, node.resources?.memory_available_bytes);
    if (memory >= fullMemory) add(5, 'warn', `memory ${node.id}`, name, `${percent(memory)} of its memory is used.`, href);
    if (Math.abs(node.clock_offset_ms ?? 0) > clockMilliseconds) {
      add(5, 'warn', `clock ${node.id}`, name, `Its clock is ${span(Math.abs(node.clock_offset_ms))} ${node.clock_offset_ms > 0 ? 'ahead of' : 'behind'} the hub’s.`, href);
    }
  }
  return all.sort((one, other) => one.rank - other.rank || (instant(other.since) || 0) - (instant(one.since) || 0));
}

/** `showAll()` is called to see the rest in the list. */
export function attentionPanel(showAll) {
  const rows = h('ul', { class: 'rows attention' });
  const fine = h('p', { class: 'all-fine' });
  const mark = glyph();
  mark.set('ok');
  const fineText = h('span');
  fine.append(mark, fineText);
  const more = h('button', { type: 'button', class: 'slim', on: { click: showAll } });
  const element = h('section', { class: 'card fleet-attention', 'aria-labelledby': 'attention-title' },
    h('h2', { id: 'attention-title', text: 'Needs attention' }), rows, fine, more);
  /** `isKnown` is false while not everything has been read: then nothing found says nothing. */
  element.set = (found, fineWords, isKnown) => {
    mark.set(isKnown ? 'ok' : 'busy');
    keyed(rows, found.slice(0, shown), (item) => item.key, findingRow);
    setText(fineText, fineWords);
    show(fine, found.length === 0);
    setText(more, `Show all ${found.length}`);
    show(more, found.length > shown);
  };
  return element;
}

function findingRow() {
  const mark = glyph();
  const title = h('a');
  const text = h('p', { class: 'small' });
  const since = timeElement('ago');
  const row = h('li', {}, mark, h('div', {}, h('div', { class: 'row-head' }, title, h('span', { class: 'caption' }, since)), text));
  row.update = (item) => {
    mark.set(item.tone);
    setText(title, item.title);
    setAttribute(title, 'href', item.href);
    setText(text, item.text);
    since.set(item.since);
    show(since, Boolean(item.since));
  };
  return row;
}
