// The nodes and bots as last told by the hub.
import { ApiError, get, list } from './api.js';
import { on } from './live.js';

export const nodes = new Map();
export const bots = new Map();
export const status = { loaded: false, error: null };

const listeners = new Set();
const stale = { nodes: new Set(), bots: new Set() };
let flushTimer = null;

/** Calls `listener` after each change, and once now where there is something to show. Returns the undo. */
export function subscribe(listener) {
  listeners.add(listener);
  if (status.loaded || status.error) listener();
  return () => listeners.delete(listener);
}

function changed() {
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
  for (const item of items) map.set(item.id, item);
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
  flushTimer ??= setTimeout(flush, 200);
}

async function flush() {
  flushTimer = null;
  const changedNodes = [...stale.nodes], changedBots = [...stale.bots];
  stale.nodes.clear();
  stale.bots.clear();
  if (changedNodes.length + changedBots.length > 12) return reload();
  await Promise.all([
    ...changedNodes.map((id) => refresh(nodes, `/api/nodes/${encodeURIComponent(id)}`, id)),
    ...changedBots.map((id) => refresh(bots, `/api/bots/${encodeURIComponent(id)}`, id)),
  ]);
  changed();
}

async function refresh(map, path, id) {
  try {
    map.set(id, await get(path));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) map.delete(id);
    // Otherwise the old state stays on show; the stream's own state says that the hub is out of reach.
  }
}

on('node.updated', (data) => touch('nodes', data.node_id ?? data.id));
on('bot.updated', (data) => {
  touch('bots', data.bot_id ?? data.id);
  touch('nodes', data.node_id ?? bots.get(data.bot_id ?? data.id)?.node_id);
});
on('missed', reload);
