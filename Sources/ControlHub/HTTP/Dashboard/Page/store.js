// The nodes and bots as last told by the hub.
import { ApiError, get, list } from './api.js';
import { on } from './live.js';

export const nodes = new Map();
export const bots = new Map();
export const status = { loaded: false, error: null };

const listeners = new Set();
const stale = { nodes: new Set(), bots: new Set() };
const fetchedAt = new Map();
let changedTimer = null;
let flushTimer = null;
let flushDelay = 200;

/** Calls `listener` after each change, and once now where there is something to show. Returns the undo. */
export function subscribe(listener) {
  listeners.add(listener);
  if (status.loaded || status.error) listener();
  return () => listeners.delete(listener);
}

function changed() {
  clearTimeout(changedTimer);
  changedTimer = null;
  for (const listener of [...listeners]) listener();
}

export async function reload() {
  try {
    const [nodeList, botList] = await Promise.all([list('/api/nodes'), list('/api/bots')]);
    replace(nodes, nodeList);
    replace(bots, botList);
    status.loaded = true;
    status.error = null;
  } catch (error) {
    status.error = error;
  }
  changed();
}

function replace(map, items) {
  map.clear();
  for (const item of items) {
    map.set(item.id, item);
    fetchedAt.set(item.id, Date.now());
  }
}

/** Puts what an answer carried into the store at once, before the event about it arrives. */
export function put(map, item) {
  if (!item?.id) return;
  map.set(item.id, item);
  changed();
}

// Events only name what changed. They are gathered for a moment, because a fleet reports in bursts.
function touch(kind, id) {
  if (!id) return;
  stale[kind].add(id);
  flushTimer ??= setTimeout(flush, flushDelay);
}

/** Asks for a bot again soon, for one who has just changed something about it. */
export const refreshBot = (id) => touch('bots', id);

async function flush() {
  const changedNodes = [...stale.nodes], changedBots = [...stale.bots];
  stale.nodes.clear();
  stale.bots.clear();
  const isBurst = changedNodes.length + changedBots.length > 12;
  // A whole fleet is asked for as often as a person can read it; the events alone would do so many times a second.
  flushDelay = isBurst ? 5000 : 200;
  if (isBurst) await reload();
  else await refreshAll(changedNodes, changedBots);
  flushTimer = null;
  if (stale.nodes.size + stale.bots.size > 0) flushTimer = setTimeout(flush, flushDelay);
}

async function refreshAll(changedNodes, changedBots) {
  await Promise.all([
    ...changedNodes.map((id) => refresh(nodes, `/api/nodes/${encodeURIComponent(id)}`, id)),
    ...changedBots.map((id) => refresh(bots, `/api/bots/${encodeURIComponent(id)}`, id)),
  ]);
  changed();
}

async function refresh(map, path, id) {
  try {
    map.set(id, await get(path));
    fetchedAt.set(id, Date.now());
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) map.delete(id);
    // Otherwise the old state stays on show; the stream's own state says that the hub is out of reach.
  }
}

/** A node is asked for in full this often; in between its heartbeats bring the figures that move. */
const fullMilliseconds = 60000;
const figures = [
  'cpu_percent', 'load_1m', 'memory_total_bytes', 'memory_available_bytes', 'network_received_bytes_total',
  'network_transmitted_bytes_total',
];

function applyHeartbeat(node, data) {
  const resources = { ...node.resources };
  for (const name of figures) if (data[name] !== undefined) resources[name] = data[name];
  const link_rtt_ms = data.link_rtt_ms || node.link_rtt_ms;
  nodes.set(node.id, { ...node, resources, link_rtt_ms, last_seen_at: data.at ?? node.last_seen_at });
  changedTimer ??= setTimeout(changed, 200);
}

on('node.updated', (data) => {
  const node = nodes.get(data.node_id);
  const isFresh = Date.now() - (fetchedAt.get(data.node_id) ?? 0) < fullMilliseconds;
  if (data.change === 'resources' && node?.health === 'online' && node.resources && isFresh) applyHeartbeat(node, data);
  else touch('nodes', data.node_id);
});
on('bot.updated', (data) => {
  touch('bots', data.bot_id);
  touch('nodes', bots.get(data.bot_id)?.node_id);
});
on('missed', reload);
