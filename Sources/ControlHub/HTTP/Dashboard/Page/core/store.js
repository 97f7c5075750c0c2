// The nodes and bots as last told by the hub. Lists are asked for once; after that the stream of events keeps them.
import { ApiError, get, list } from './api.js';
import { visible } from './format.js';
import { on } from './live.js';

export const nodes = new Map();
export const bots = new Map();
export const status = { loaded: false, error: null };

/** Grows with every change of what there is, of states, names and labels; not with figures, which move all the time. */
let structure = 0;
export const structureVersion = () => structure;

const listeners = new Set();
let changedTimer = null;
/** Figures are shown this often at most: a fleet's heartbeats would redraw the page a hundred times a second. */
const figuresMilliseconds = 250;

/** Calls `listener` after each change, and once now where there is something to show. Returns the undo. */
export function subscribe(listener) {
  listeners.add(listener);
  if (status.loaded || status.error || nodes.size > 0) listener();
  return () => listeners.delete(listener);
}

function changed() {
  clearTimeout(changedTimer);
  changedTimer = null;
  for (const listener of [...listeners]) listener();
}

const changedSoon = () => { changedTimer ??= setTimeout(changed, figuresMilliseconds); };

function restructured() {
  structure += 1;
  changed();
}

let loading = null;
/** A screenful and more of nodes. */
const firstPage = 60;

/** Asks for everything again; what arrives is shown page by page the first time. */
export function reload() {
  loading ??= loadAll().finally(() => { loading = null; });
  return loading;
}

async function loadAll() {
  const show = (map) => (status.loaded ? undefined : (items) => {
    for (const item of items) keep(map, item);
    restructured();
  });
  try {
    const [nodeList, botList] = await Promise.all([
      list('/api/nodes', { onPage: show(nodes), first: status.loaded ? undefined : firstPage }), list('/api/bots', { onPage: show(bots) }),
    ]);
    replace(nodes, nodeList);
    replace(bots, botList);
    status.loaded = true;
    status.error = null;
  } catch (error) {
    status.error = error;
  }
  restructured();
}

function replace(map, items) {
  map.clear();
  for (const item of items) keep(map, item);
}

/** Puts what an answer carried into the store at once, before the event about it arrives. */
export function put(map, item) {
  if (!item?.id) return;
  keep(map, item);
  restructured();
}

/** What was deleted, or is about to be. Nothing asks for it, and an answer that was under way does not bring it back. */
const deleted = new Set();

function keep(map, item) {
  if (deleted.has(item.id)) return;
  item.name = visible(item.name);
  if (item.node_name) item.node_name = visible(item.node_name);
  map.set(item.id, item);
}

/** Sends the `request` that deletes the node `id`, and takes it off the page once the hub has done so. */
export async function deleteNode(id, request) {
  deleted.add(id);
  try {
    await request();
  } catch (error) {
    deleted.delete(id);
    touch('nodes', id);
    throw error;
  }
  nodes.delete(id);
  restructured();
}

/** Whether what is shown of a bot is only what was last known: its node is away. */
export const isLastKnown = (bot) => nodes.get(bot.node_id)?.health === 'offline';

// Bots by node, made anew only when bots have changed.
let placed = { at: -1, byNode: new Map() };
const none = [];

export function botsOf(nodeID) {
  if (placed.at !== structure) {
    const byNode = new Map();
    for (const bot of bots.values()) {
      if (!byNode.has(bot.node_id)) byNode.set(bot.node_id, []);
      byNode.get(bot.node_id).push(bot);
    }
    placed = { at: structure, byNode };
  }
  return placed.byNode.get(nodeID) ?? none;
}

// Asking again for single things. Events are gathered for a moment, because a fleet reports in bursts.
const stale = { nodes: new Set(), bots: new Set() };
let flushTimer = null;
const gatherMilliseconds = 200;
/** More than this many at once are asked for as a list, and not more often than every few seconds. */
const burst = 40;
const burstMilliseconds = 5000;
const requestsAtOnce = 4;

function touch(kind, id) {
  if (!id || deleted.has(id)) return;
  stale[kind].add(id);
  flushTimer ??= setTimeout(flush, gatherMilliseconds);
}

export const refreshBot = (id) => touch('bots', id);
export const refreshNode = (id) => touch('nodes', id);

async function flush() {
  const work = [
    ...[...stale.nodes].map((id) => [nodes, `/api/nodes/${encodeURIComponent(id)}`, id]),
    ...[...stale.bots].map((id) => [bots, `/api/bots/${encodeURIComponent(id)}`, id]),
  ];
  stale.nodes.clear();
  stale.bots.clear();
  const isBurst = work.length > burst;
  if (isBurst) await reload();
  else {
    const next = async () => { for (let item = work.shift(); item; item = work.shift()) await refresh(...item); };
    await Promise.all(Array.from({ length: Math.min(requestsAtOnce, work.length) }, next));
    restructured();
  }
  flushTimer = null;
  if (stale.nodes.size + stale.bots.size > 0) flushTimer = setTimeout(flush, isBurst ? burstMilliseconds : gatherMilliseconds);
}

async function refresh(map, path, id) {
  if (deleted.has(id)) return;
  try {
    keep(map, await get(path));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) map.delete(id);
    // Otherwise the old state stays on show; the stream's own state says that the hub is out of reach.
  }
}

// What events carry is taken from them, so that a fleet's heartbeats cost no requests.
const notFigures = new Set(['change', 'node_id', 'at', 'link_rtt_ms', 'clock_offset_ms', 'health', 'reason']);

on('node.updated', (data) => {
  const id = data.node_id;
  const node = nodes.get(id);
  switch (data.change) {
    case 'resources': {
      if (!node) { touch('nodes', id); break; }
      // The first heartbeat of a node brings disks and more, which events leave out.
      if (!node.resources) touch('nodes', id);
      const resources = { ...node.resources };
      for (const [name, value] of Object.entries(data)) if (!notFigures.has(name) && value !== null) resources[name] = value;
      nodes.set(id, {
        ...node, resources, last_seen_at: data.at ?? node.last_seen_at,
        link_rtt_ms: data.link_rtt_ms || node.link_rtt_ms, clock_offset_ms: data.clock_offset_ms ?? node.clock_offset_ms,
      });
      changedSoon();
      break;
    }
    case 'health':
      if (node) {
        nodes.set(id, { ...node, health: data.health ?? node.health, health_reason: data.reason ?? '', health_since: data.at ?? node.health_since });
        restructured();
      }
      touch('nodes', id);
      break;
    case 'deleted':
      deleted.add(id);
      nodes.delete(id);
      restructured();
      break;
    default: touch('nodes', id);
  }
});

on('bot.updated', (data) => {
  const bot = bots.get(data.bot_id);
  if (bot && data.change === 'status' && data.phase) {
    bots.set(bot.id, { ...bot, phase: data.phase, reason: data.reason || null, since: data.phase === bot.phase ? bot.since : data.at ?? bot.since });
    restructured();
  }
  touch('bots', data.bot_id);
  touch('nodes', bot?.node_id);
});

// What a deployment leaves on its nodes is told by their documents only.
on('deployment.updated', async (data) => {
  if (data.state === 'running' || data.state === 'returning') return;
  touch('bots', data.bot_id);
  try {
    const { source, target } = await get(`/api/deployments/${encodeURIComponent(data.deployment_id)}`);
    for (const { node_id: id } of [source, target]) touch('nodes', id);
  } catch { /* They are read again with the next event about them. */ }
});

// A hub that was restored in between may have again what was deleted.
on('missed', () => {
  deleted.clear();
  return reload();
});
