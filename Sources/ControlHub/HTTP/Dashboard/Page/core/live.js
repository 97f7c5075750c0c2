// One stream of events from the hub for the whole page.
import { session } from './api.js';

const listeners = new Map();
let source = null;
let retryDelay = 1000;
let seenOpen = false;
let retryTimer = null;
let restTimer = null;

/** A tab nobody looks at gives its connection back after this time, of which a browser has few for one server. */
const restMilliseconds = 30000;

/**
 * Calls `listener(data)` for events of that name; `any` is every event with its `type`, `state` the stream's own state,
 * `missed` what may have happened unseen. Returns the undo.
 */
export function on(name, listener) {
  if (!listeners.has(name)) listeners.set(name, new Set());
  listeners.get(name).add(listener);
  return () => listeners.get(name).delete(listener);
}

function emit(name, data) {
  for (const listener of listeners.get(name) ?? []) listener(data);
}

const names = ['node.updated', 'bot.updated', 'command.updated', 'message.updated', 'packet', 'enrollment.updated',
  'deployment.updated', 'deployment.progress', 'missed'];

export function start() {
  clearTimeout(retryTimer);
  source?.close();
  source = new EventSource('/api/events');
  source.addEventListener('open', () => {
    retryDelay = 1000;
    emit('state', 'live');
    // What happened while the stream was down was not told.
    if (seenOpen) emit('missed', {});
    seenOpen = true;
  });
  source.addEventListener('error', () => {
    emit('state', 'reconnecting');
    if (source.readyState !== EventSource.CLOSED) return;
    // A refusal ends an EventSource for good. If the session is over, asking for it leads to the sign-in page.
    session().catch(() => {});
    retryTimer = setTimeout(start, retryDelay);
    retryDelay = Math.min(retryDelay * 2, 30000);
  });
  for (const name of names) {
    source.addEventListener(name, (event) => {
      const data = parse(event.data);
      emit(name, data);
      emit('any', { ...data, type: name, id: event.lastEventId });
    });
  }
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(restTimer);
  if (!source) return;
  if (document.hidden) {
    restTimer = setTimeout(() => {
      clearTimeout(retryTimer);
      source.close();
    }, restMilliseconds);
  } else if (source.readyState === EventSource.CLOSED) start();
});

export function parse(text) {
  try { return JSON.parse(text) ?? {}; } catch { return {}; }
}
