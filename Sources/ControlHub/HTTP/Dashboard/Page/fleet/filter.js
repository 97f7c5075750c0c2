// Which nodes are shown, and in which order. No page here, only decisions.
import { byName, fullestDisk, labelTexts, usedPercent } from '../parts/pieces.js';

/** Words an operator types: `label:gpu`, `label:site=home`, `is:offline`, `bot:mail`, or any part of what a node is called. */
export function parseQuery(text) {
  const tests = [];
  for (const term of text.toLowerCase().split(/\s+/).filter(Boolean)) {
    const [, kind, value] = /^(label|is|bot):(.*)$/.exec(term) ?? [];
    if (kind === 'label' && value) tests.push((node) => labelTexts(node).some((label) => label.toLowerCase() === value || label.toLowerCase().startsWith(`${value}=`)));
    else if (kind === 'is' && value) tests.push((node, bots) => isInState(node, bots, value));
    else if (kind === 'bot' && value) tests.push((node, bots) => bots.some((bot) => bot.name.toLowerCase().includes(value)));
    else if (!kind) tests.push((node, bots) => haystack(node, bots).includes(term));
  }
  return (node, bots) => tests.every((test) => test(node, bots));
}

// By node and its bots, because each key of a search looks at every node.
const haystacks = new WeakMap();

function haystack(node, bots) {
  const known = haystacks.get(node);
  if (known?.bots === bots) return known.text;
  const text = [
    node.name, node.id, node.host_name, node.remote_address, node.os_version, node.os, node.architecture, node.agent_version,
    ...labelTexts(node), ...bots.map((bot) => bot.name),
  ].join('\n').toLowerCase();
  haystacks.set(node, { bots, text });
  return text;
}

export function isInState(node, bots, state) {
  if (state === 'attention') return rank(node, bots) < 5;
  return node.health === state || node.agent?.state === state || (state === 'draining' && isDraining(node));
}

export const isDraining = (node) => Boolean(node.draining ?? node.drained_at);
export const isRevoked = (node) => Boolean(node.revoked_at);
export const isTroubled = (bot) => bot.phase === 'failed' || bot.phase === 'backoff' || bot.phase === 'crash_loop';

/** What needs a person first: 0 before 1, and from 5 on nothing does. */
function rank(node, bots) {
  if (node.quarantine) return 0;
  if (isRevoked(node)) return 8;
  if (node.health === 'offline') return 1;
  if (node.health === 'degraded') return 2;
  if (bots.some(isTroubled)) return 3;
  if (node.health === 'never_seen') return 7;
  if (node.strays?.length > 0) return 4;
  return 5;
}

/** What a column sorts by; figures that are not known come last in either direction. */
const figures = {
  cpu: (node) => node.resources?.cpu_percent,
  memory: (node) => usedPercent(node.resources?.memory_total_bytes, node.resources?.memory_available_bytes),
  disk: (node) => {
    const disk = fullestDisk(node.resources);
    return disk && usedPercent(disk.total_bytes, disk.available_bytes);
  },
  rtt: (node) => node.link_rtt_ms,
};

/** Whether the order follows figures that move all the time. */
export const isMoving = (sort) => sort.replace('-', '') in figures;

/** Compares two nodes for `sort`: a column's name, with `-` before it from high to low. */
export function order(sort, botsOf) {
  const isDescending = sort.startsWith('-');
  const column = sort.replace('-', '');
  const direction = isDescending ? -1 : 1;
  if (column in figures) {
    const figure = figures[column];
    return (one, other) => {
      const [left, right] = [figure(one), figure(other)];
      const [hasLeft, hasRight] = [Number.isFinite(left), Number.isFinite(right)];
      if (!hasLeft || !hasRight) return Number(hasRight) - Number(hasLeft) || byName(one, other);
      return direction * (left - right) || byName(one, other);
    };
  }
  if (column === 'name') return (one, other) => direction * byName(one, other);
  if (column === 'bots') return (one, other) => direction * (botsOf(one.id).length - botsOf(other.id).length) || byName(one, other);
  return (one, other) => direction * (rank(one, botsOf(one.id)) - rank(other, botsOf(other.id))) || byName(one, other);
}

export const states = ['online', 'degraded', 'offline', 'never_seen'];

/** How many nodes are in which state. */
export function count(nodes, botsOf) {
  const counts = { all: 0, attention: 0, online: 0, degraded: 0, offline: 0, never_seen: 0 };
  for (const node of nodes) {
    counts.all += 1;
    counts[node.health] = (counts[node.health] ?? 0) + 1;
    if (rank(node, botsOf(node.id)) < 5) counts.attention += 1;
  }
  return counts;
}
