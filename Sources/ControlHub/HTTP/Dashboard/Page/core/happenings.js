// What happened lately, as sentences: kept from the stream of events while the page is open.
import { get } from './api.js';
import { instant } from './format.js';
import { on } from './live.js';
import { bots, nodes, structureVersion, subscribe } from './store.js';

const kept = 300;
const happened = [];
const listeners = new Set();
const seen = new Set();

/** Newest first: `{key, at, tone, text, node_id, bot_id}`. */
export const happenings = (matches = () => true, limit = kept) => happened
  .filter((item) => matches({ ...item, node_id: item.node_id ?? bots.get(item.bot_id)?.node_id }))
  .slice(0, 3 * limit).map((item) => ({ ...item, ...describe(item.event) }))
  // Of a state that was told several times the latest is enough.
  .filter((item, index, all) => item.text !== all[index - 1]?.text).slice(0, limit);

export function onHappening(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function add(event) {
  if (!describe(event)) return;
  const at = instant(event.at) || Date.now();
  const key = event.id || `${event.type} ${event.node_id ?? ''}${event.bot_id ?? ''}${event.command_id ?? ''} ${event.change ?? event.state ?? ''} ${at}`;
  if (seen.has(key)) return;
  seen.add(key);
  happened.push({ key, at, node_id: event.node_id, bot_id: event.bot_id, event });
  happened.sort((one, other) => other.at - one.at);
  for (const gone of happened.splice(kept)) seen.delete(gone.key);
  for (const listener of listeners) listener();
}

/** Fills in what happened before the page was opened, where the hub keeps that. */
export async function earlier(query, options) {
  try {
    const { items } = await get(`/api/events?types=node.updated,bot.updated,command.updated,deployment.updated&limit=500${query}`, options);
    for (const item of items ?? []) add({ ...item.data, type: item.type, id: item.id, at: item.at });
  } catch { /* The hub keeps no history of events; what comes from now on is shown. */ }
}

const nodeName = (event) => nodes.get(event.node_id)?.name ?? event.name ?? 'A node';
const botName = (event) => bots.get(event.bot_id)?.name ?? event.name ?? 'A bot';
const because = (reason) => (reason ? `: ${reason}` : '');

function describe(event) {
  switch (event.type) {
    case 'node.updated': return nodeSentence(event);
    case 'bot.updated': return botSentence(event);
    case 'command.updated':
      return event.state === 'failed' || event.state === 'expired'
        ? { tone: 'bad', text: `${words(event.kind)} ${event.state}${because(event.message)}` } : null;
    case 'deployment.updated': return deploymentSentence(event);
    default: return null;
  }
}

function deploymentSentence(event) {
  const name = botName(event);
  switch (event.state) {
    case 'running': return event.step === 'preflight' ? { tone: 'busy', text: `${name} is being deployed` } : null;
    case 'returning': return { tone: 'warn', text: `${name} goes back to where it was${because(event.reason)}` };
    case 'succeeded': return { tone: 'ok', text: `${name} was deployed` };
    case 'failed': return { tone: 'bad', text: `Deploying ${name} failed${because(event.reason)}` };
    case 'cancelled': return { tone: 'idle', text: `Deploying ${name} was cancelled` };
    default: return null;
  }
}

function nodeSentence(event) {
  const name = nodeName(event);
  switch (event.change) {
    case 'health': return {
      tone: { online: 'ok', degraded: 'warn', offline: 'bad' }[event.health] ?? 'idle',
      text: `${name} is ${words(event.health)}${event.health === 'online' ? '' : because(event.reason)}`,
    };
    case 'created': return { tone: 'ok', text: `${name} was added` };
    case 'connected': return { tone: 'ok', text: `${name} connected${event.remote_address ? ` from ${event.remote_address}` : ''}` };
    case 'disconnected': return { tone: 'warn', text: `${name} disconnected${because(event.reason)}` };
    case 'quarantined': return { tone: 'bad', text: `A second machine uses the identity of ${name}` };
    case 'revoked': return { tone: 'bad', text: `${name} was revoked` };
    case 'deleted': return { tone: 'idle', text: `${name} was deleted` };
    case 'paired_again': return { tone: 'ok', text: `${name} was paired again` };
    case 'name': return { tone: 'idle', text: `A node is now called ${name}` };
    case 'agent': return {
      tone: event.state === 'impaired' ? 'warn' : 'ok',
      text: event.state === 'impaired' ? `The agent of ${name} is impaired${because(event.reason)}` : `The agent of ${name} is well again`,
    };
    case 'resources': return null;
    default: return event.change ? { tone: 'idle', text: `${name}: ${words(event.change)}` } : null;
  }
}

function botSentence(event) {
  const name = botName(event);
  if (event.change === 'created') return { tone: 'idle', text: `${name} was created` };
  if (event.change === 'deleted') return { tone: 'idle', text: `${name} was deleted` };
  if (event.change !== 'status') return null;
  const tones = { ready: 'ok', failed: 'bad', backoff: 'warn', crash_loop: 'bad', starting: 'busy', stopping: 'busy' };
  const phases = { ready: 'runs', starting: 'starts', stopping: 'stops', stopped: 'is stopped', failed: 'has failed', backoff: 'restarts soon', crash_loop: 'is in a crash loop' };
  return { tone: tones[event.phase] ?? 'idle', text: `${name} ${phases[event.phase] ?? `is ${words(event.phase)}`}${event.phase === 'ready' ? '' : because(event.reason)}` };
}

const words = (name) => String(name ?? '').replaceAll('_', ' ');

on('any', add);

// What things are called may be known only after what happened to them.
let namedAt = -1;
subscribe(() => {
  if (namedAt === structureVersion()) return;
  namedAt = structureVersion();
  for (const listener of listeners) listener();
});
