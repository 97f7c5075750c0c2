// How a state is shown: a shape, a colour and a word, so that none of them alone is needed to tell.
import { h, setAttribute, setText, show, svg } from '../core/dom.js';
import { timeElement } from '../core/format.js';

const words = {
  // Health of a node, and its three facts
  online: ['Online', 'ok'], degraded: ['Degraded', 'warn'], offline: ['Offline', 'bad'], never_seen: ['Never seen', 'idle'],
  up: ['Connected', 'ok'], down: ['Not connected', 'bad'], never: ['Not connected yet', 'idle'],
  ok: ['OK', 'ok'], running: ['Running', 'ok'], silent: ['Silent', 'bad'], impaired: ['Impaired', 'warn'], revoked: ['Revoked', 'bad'], idle: ['Idle', 'idle'],
  draining: ['Draining', 'warn'], quarantined: ['Quarantined', 'bad'],
  // Bots
  stopped: ['Stopped', 'idle'], starting: ['Starting', 'busy'], ready: ['Running', 'ok'], stopping: ['Stopping', 'busy'],
  backoff: ['Restarting soon', 'warn'], crash_loop: ['Crash loop', 'bad'], failed: ['Failed', 'bad'], unknown: ['Unknown', 'idle'],
  preparing: ['Preparing', 'busy'], warning: ['Warning', 'warn'],
  // Commands
  queued: ['Queued', 'busy'], delivered: ['Delivered', 'busy'], done: ['Done', 'ok'], expired: ['Expired', 'warn'],
  superseded: ['Superseded', 'idle'], cancelled: ['Cancelled', 'idle'],
  // Enrollment codes
  open: ['Open', 'busy'], redeemed: ['Used', 'ok'], used: ['Used', 'ok'],
  // Releases
  succeeded: ['Succeeded', 'ok'], returning: ['Going back', 'warn'], restored: ['Restored', 'warn'], rolled_back: ['Rolled back', 'warn'], attempted: ['Attempted', 'busy'], current: ['Current', 'ok'],
};

export const word = (state) => words[state]?.[0] ?? sentence(state ?? 'unknown');
export const tone = (state) => words[state]?.[1] ?? 'idle';

/** A reason as it was given, with a capital and a full stop. */
export const reasonText = (text) => (text ? capital(text).replace(/[^.!?…]$/, '$&.') : '');

/** A name of the API as people read it. */
export const sentence = (name) => capital(String(name).replaceAll('_', ' '));

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const shapes = {
  ok: () => svg('circle', { cx: 8, cy: 8, r: 5.5, fill: 'currentColor' }),
  warn: () => svg('path', { d: 'M8 1.5 15 14H1Z', fill: 'currentColor' }),
  bad: () => svg('path', { d: 'M8 .8 15.2 8 8 15.2.8 8Z', fill: 'currentColor' }),
  busy: () => svg('path', { d: 'M8 2.5a5.5 5.5 0 1 1-5.5 5.5', fill: 'none', stroke: 'currentColor', 'stroke-width': 2.2, 'stroke-linecap': 'round' }),
  idle: () => svg('circle', { cx: 8, cy: 8, r: 4.8, fill: 'none', stroke: 'currentColor', 'stroke-width': 1.8 }),
};

/** The shape alone; whoever uses it says the word beside it. */
export function glyph() {
  const element = svg('svg', { viewBox: '0 0 16 16', class: 'glyph', 'aria-hidden': 'true' });
  element.set = (shape) => {
    if (element.dataset.shape === shape) return;
    element.dataset.shape = shape;
    element.dataset.tone = shape;
    element.replaceChildren(shapes[shape]());
  };
  element.set('idle');
  return element;
}

export function badge({ chip = false } = {}) {
  const shape = glyph();
  const text = h('span');
  const element = h('span', { class: chip ? 'badge chip' : 'badge' }, shape, text);
  element.set = (state, other) => {
    shape.set(tone(state));
    setText(text, other ?? word(state));
    setAttribute(element, 'data-tone', tone(state));
    setAttribute(element, 'data-state', state);
  };
  element.set('unknown');
  return element;
}

/** A state with its reason and how long it has lasted. */
export function stateLine() {
  const state = badge();
  const since = timeElement('for');
  const lasting = h('span', { class: 'lasting' }, 'for ', since);
  const reason = h('span', { class: 'reason' });
  const element = h('span', { class: 'state-line' }, state, ' ', lasting, ' ', reason);
  element.set = (name, why, at) => {
    state.set(name);
    since.set(at);
    show(lasting, Boolean(at));
    setText(reason, why ?? '');
    show(reason, Boolean(why));
  };
  return element;
}

/**
 * The way from the hub to a node's work as three stations: link, agent, bots. Where the way is broken the line is, so
 * that "the machine is gone" and "a bot is ill" never look the same.
 */
export function wayLine() {
  const marks = [8, 32, 56].map((x) => svg('g', { transform: `translate(${x - 6} 2) scale(.75)` }));
  const tracks = [svg('path', { d: 'M14 8h12' }), svg('path', { d: 'M38 8h12' })];
  const element = svg('svg', { viewBox: '0 0 64 16', width: 64, height: 16, class: 'way', role: 'img' }, ...tracks, ...marks);
  let known = '';
  element.set = (node) => {
    const states = [node.link?.state ?? 'unknown', node.agent?.state ?? 'unknown', node.workload?.state ?? 'unknown'];
    const description = `Link ${word(states[0])}, agent ${word(states[1])}, bots ${word(states[2])}`;
    if (known === description) return;
    known = description;
    setAttribute(element, 'aria-label', description);
    states.forEach((state, index) => {
      marks[index].dataset.tone = tone(state);
      marks[index].replaceChildren(shapes[tone(state)]());
      if (index > 0) setAttribute(tracks[index - 1], 'class', tone(states[index - 1]) === 'ok' && state !== 'unknown' ? 'whole' : 'broken');
    });
  };
  return element;
}
