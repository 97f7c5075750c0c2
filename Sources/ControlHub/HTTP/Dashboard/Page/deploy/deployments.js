// Deployments as the hub tells of them: the state it stores, the figures of a copy, and when which step began.
import { get } from '../core/api.js';
import { instant } from '../core/format.js';
import { on } from '../core/live.js';

/** The hub tells of a copy several times a second; the pace is that of the last moments. */
const paceMilliseconds = 8000;
const soonMilliseconds = 100;

export const isOpen = (deployment) => deployment?.state === 'running' || deployment?.state === 'returning';

/** Bots that are being deployed, as far as their page is open. */
export const underWay = new Set();

/** Whether it changes only how the bot is run, on the node where it is. */
export const staysPut = (deployment) => deployment.source.node_id === deployment.target.node_id;

/** The last step that can still be left again. */
const pointOfNoReturn = 'commit';

export function canCancel(deployment) {
  const { steps, step } = deployment;
  return deployment.state === 'running' && !deployment.cancel_requested && steps.indexOf(step) < steps.indexOf(pointOfNoReturn);
}

/**
 * Follows one deployment: `listener({deployment, progress, moments})` after each change. `moments` are the times at which
 * a step began or it ended, as far as they are known.
 */
export function follow({ id, botID, signal, listener, onError }) {
  const known = { deployment: null, progress: null, moments: new Map() };
  const samples = [];
  let timer = null;

  const momentOf = (data) => (data.state === 'running' ? data.step : data.state);
  function note(data, at) {
    const name = momentOf(data), time = instant(at);
    // The earliest counts: a step is told of again when something else about it has changed.
    if (!Number.isNaN(time) && !(known.moments.get(name) <= time)) known.moments.set(name, time);
  }

  async function load() {
    timer = null;
    try {
      known.deployment = await get(`/api/deployments/${encodeURIComponent(id)}`, { signal });
      note({ state: 'running', step: known.deployment.steps[0] }, known.deployment.created_at);
      onError?.(null);
      listener(known);
    } catch (error) {
      if (!signal.aborted) onError?.(error, load);
    }
  }
  const soon = () => { timer ??= setTimeout(load, soonMilliseconds); };

  const undo = [
    on('deployment.updated', (data) => {
      if (data.deployment_id !== id) return;
      note(data, data.at);
      if (data.step !== known.progress?.step) {
        known.progress = null;
        samples.length = 0;
      }
      // Its end is taken from the whole of it, which has the figures too.
      if (known.deployment && isOpen(data)) {
        known.deployment = { ...known.deployment, state: data.state, step: data.step };
        listener(known);
      }
      soon();
    }),
    on('deployment.progress', (data) => {
      if (data.deployment_id !== id) return;
      const at = Date.now();
      samples.push({ at, bytes: data.bytes_done });
      while (samples.length > 2 && at - samples[0].at > paceMilliseconds) samples.shift();
      known.progress = { ...data, ...estimate(samples, data) };
      if (known.deployment) listener(known);
    }),
    on('missed', soon),
  ];
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    undo.forEach((each) => each());
  });
  load();
  moments({ id, botID, signal, note }).then(() => { if (known.deployment && !signal.aborted) listener(known); });
}

/** What is left, from the pace of the last moments. */
export function estimate(samples, { bytes_done: done, bytes_total: total }) {
  const first = samples[0], last = samples.at(-1);
  const seconds = (last.at - first.at) / 1000;
  const pace = seconds >= 1 ? (last.bytes - first.bytes) / seconds : NaN;
  return { bytes_per_second: pace, seconds_left: pace > 0 ? Math.max(0, total - done) / pace : NaN };
}

/** When its steps began, as far as the hub still knows: it keeps the events of its own run. */
export async function moments({ id, botID, signal, note }) {
  try {
    const { items } = await get(`/api/events?types=deployment.updated&bot_id=${encodeURIComponent(botID)}&limit=200`, { signal });
    for (const item of items ?? []) if (item.data.deployment_id === id) note(item.data, item.at);
  } catch { /* The receipt does without them. */ }
}

/** Calls `listener(deployments)`, newest first, now and after each change. */
export function followAll({ path, botID, signal, limit = 50, listener, onError }) {
  let timer = null;
  async function load() {
    timer = null;
    try {
      const { items } = await get(`${path}/deployments?limit=${limit}`, { signal });
      onError?.(null);
      listener(items);
    } catch (error) {
      if (!signal.aborted && !error.isAbsent) onError?.(error, load);
    }
  }
  const soon = () => { timer ??= setTimeout(load, soonMilliseconds); };
  const undo = [on('deployment.updated', (data) => { if (data.bot_id === botID) soon(); }), on('missed', soon)];
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    undo.forEach((each) => each());
  });
  load();
}
