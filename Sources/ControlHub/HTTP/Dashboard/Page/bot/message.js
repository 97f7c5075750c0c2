// One entry of a conversation, with the steps that led to it folded in.
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { clockTime, fullTime, instant } from '../core/format.js';
import { bots } from '../core/store.js';

const done = new Set(['answered', 'done', '', undefined, null]);
const failed = new Set(['failed', 'interrupted', 'expired', 'cancelled']);
export const isDone = (state) => done.has(state);
export const isFailed = (state) => failed.has(state);

const stateWords = {
  sending: 'Sending…', accepted: 'Accepted', queued: 'Queued until the node takes it', delivering: 'On its way', delivered: 'Delivered',
  running: 'Working…', waiting: 'Waiting for an answer…', streaming: 'Writing…', failed: 'Failed', interrupted: 'Interrupted', expired: 'Expired', cancelled: 'Cancelled',
};

export function messageElement(botID) {
  const author = h('strong');
  const time = h('time', { class: 'quiet' });
  const state = h('span', { class: 'message-state' });
  const summary = h('summary');
  const steps = h('ol');
  const fold = h('details', { class: 'steps' }, summary, steps);
  // What unfolds at the lower edge would stay out of sight.
  fold.addEventListener('toggle', () => { if (fold.open) element.scrollIntoView({ block: 'nearest' }); });
  const text = h('div', { class: 'text' });
  const reason = h('p', { class: 'small quiet' });
  const element = h('li', { class: 'message' }, h('div', { class: 'message-head' }, author, time, state), fold, text, reason);
  element.update = (item) => {
    const isUser = item.role === 'user';
    const state_ = item.state ?? '';
    const isOver = done.has(state_) || failed.has(state_);
    setAttribute(element, 'data-role', isUser ? 'user' : 'assistant');
    setText(author, isUser ? 'You' : bots.get(botID)?.name ?? 'Bot');
    const at = instant(item.at);
    setText(time, Number.isNaN(at) ? '' : clockTime(at));
    setAttribute(time, 'title', Number.isNaN(at) ? null : fullTime(at));
    setText(state, done.has(state_) || (isUser && state_ === 'delivered') ? '' : stateWords[state_] ?? state_);
    setAttribute(state, 'data-tone', failed.has(state_) ? 'bad' : isUser || isOver ? null : 'busy');
    const all = item.steps ?? [];
    show(fold, all.length > 0);
    const count = all.length === 1 ? '1 step' : `${all.length} steps`;
    setText(summary, isOver || item.text ? count : `${count} · ${oneLine(all.at(-1)?.text)}`);
    keyed(steps, all.map((step, index) => ({ ...step, index })), (step) => step.index, stepElement);
    setText(text, item.text ?? '');
    show(text, Boolean(item.text));
    setText(reason, item.reason ?? '');
    show(reason, Boolean(item.reason));
  };
  return element;
}

const oneLine = (text) => (text ?? '').replace(/\s+/g, ' ').slice(0, 120);

function stepElement() {
  const kind = h('span', { class: 'step-kind' });
  const text = h('span', { class: 'step-text' });
  const time = h('time', { class: 'quiet' });
  const element = h('li', {}, kind, text, time);
  element.update = (step) => {
    setText(kind, step.type === 'tool' ? 'Tool' : 'Progress');
    setText(text, step.text);
    const at = instant(step.at);
    setText(time, Number.isNaN(at) ? '' : clockTime(at));
  };
  return element;
}
