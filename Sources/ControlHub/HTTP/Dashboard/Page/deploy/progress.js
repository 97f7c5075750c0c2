// A deployment under way: its steps, what a copy moves, and ending it.
import { allowed, post } from '../core/api.js';
import { announce, h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { bytes, span } from '../core/format.js';
import { bots } from '../core/store.js';
import { problem, setBar } from '../parts/pieces.js';
import { glyph } from '../parts/state.js';
import { canCancel, follow, isOpen } from './deployments.js';
import { doing, stepWords } from './words.js';

export function running(frame, { deployment: begun }) {
  const bot = () => bots.get(begun.bot_id);
  const failure = problem();
  const steps = stepList();
  const note = h('p', { class: 'small quiet' });
  const clock = h('p', { class: 'caption nowrap' });
  const cancel = h('button', { type: 'button', class: 'danger', text: 'Cancel and go back' });
  const close = h('button', { type: 'button', text: 'Close', on: { click: frame.close } });
  frame.lead('It goes on by itself, also when this window or the browser is closed.');
  frame.body.replaceChildren(steps, note);
  frame.foot.replaceChildren(failure, h('div', { class: 'actions' }, clock, h('span', { class: 'spacer' }), close, allowed('operator') && cancel));

  let said = null, isOver = false;
  function set(known) {
    const { deployment } = known;
    if (isOver) return;
    if (!isOpen(deployment)) {
      isOver = true;
      frame.end(known);
      return;
    }
    frame.title(doing(deployment, bot()));
    steps.set(known);
    const isReturning = deployment.state === 'returning';
    setText(note, isReturning ? (deployment.reason ? `${deployment.reason} The bot goes back to where it was.` : 'The bot goes back to where it was.')
      : deployment.cancel_requested ? 'It ends as soon as this step lets it.' : '');
    cancel.disabled = !canCancel(deployment);
    setAttribute(cancel, 'title', cancel.disabled && !isReturning ? 'There is no way back any more from here on; a rollback is.' : null);
    const saying = isReturning ? 'Going back.' : stepWords(deployment.step, deployment)[0];
    if (said !== saying) announce(saying);
    said = saying;
  }
  const begin = Date.parse(begun.created_at);
  const tick = () => setText(clock, `${span(Date.now() - begin)} so far`);
  const timer = setInterval(tick, 1000);
  frame.signal.addEventListener('abort', () => clearInterval(timer));
  tick();

  cancel.addEventListener('click', async () => {
    failure.set(null);
    cancel.disabled = true;
    try {
      await post(`/api/deployments/${encodeURIComponent(begun.id)}/cancel`);
      setText(note, 'It ends as soon as this step lets it.');
    } catch (error) { failure.set(error); }
  });
  set({ deployment: begun, progress: null, moments: new Map() });
  follow({ id: begun.id, botID: begun.bot_id, signal: frame.signal, listener: set, onError: (error, again) => failure.set(error, again) });
}

/** The steps in order, each with its mark; `set({deployment, progress, moments})`. */
export function stepList() {
  const list = h('ol', { class: 'deploy-steps' });
  list.set = (known) => {
    const { deployment } = known;
    keyed(list, deployment.steps.map((name, index) => ({ name, index })), ({ name }) => name, () => stepRow(known.moments));
    for (const row of list.children) row.tell(known);
  };
  return list;
}

function stepRow() {
  const mark = glyph();
  const title = h('span', { class: 'step-title' }), took = h('span', { class: 'caption nowrap' }), word = h('span', { class: 'visually-hidden' });
  const meaning = h('p', { class: 'small quiet' });
  const fill = h('span', { class: 'meter-fill' });
  const bar = h('div', { class: 'meter-bar', role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100' }, fill);
  const figures = h('p', { class: 'small' });
  const copying = h('div', { class: 'copying' }, bar, figures);
  const row = h('li', {}, mark, h('div', {}, h('div', { class: 'row-head' }, title, word, took), meaning, copying));
  let step = null;
  row.update = ({ name }) => { step = name; };
  row.tell = ({ deployment, progress, moments }) => {
    const [name, what] = stepWords(step, deployment);
    const state = stateOf(step, deployment);
    mark.set({ done: 'ok', now: 'busy', failed: 'bad', open: 'idle' }[state]);
    setAttribute(row, 'data-step', state);
    setAttribute(row, 'aria-current', state === 'now' ? 'step' : null);
    setText(title, name);
    setText(word, { done: '(done)', now: '(now)', failed: '(went wrong)', open: '' }[state]);
    setText(meaning, what);
    show(meaning, state === 'now' && Boolean(what));
    setText(took, state === 'done' || state === 'failed' ? tookText(step, deployment, moments) : '');
    const isCopy = state === 'now' && progress?.step === step && progress.bytes_total > 0;
    show(copying, isCopy);
    if (!isCopy) return;
    const share = (100 * progress.bytes_done) / progress.bytes_total;
    setBar(fill, share, true);
    setAttribute(bar, 'aria-valuenow', Math.round(share));
    setAttribute(bar, 'aria-label', name);
    setText(figures, copyText(progress));
  };
  return row;
}

/** `done`, `now`, `failed` or `open`. */
function stateOf(step, deployment) {
  const { steps } = deployment;
  if (deployment.state === 'succeeded') return 'done';
  const reached = deployment.failed_step ?? deployment.step;
  const distance = steps.indexOf(step) - steps.indexOf(reached);
  if (distance < 0) return 'done';
  if (distance > 0) return 'open';
  return deployment.state === 'running' ? 'now' : 'failed';
}

/** How long a step took, where the hub still knows when it and the next began. */
function tookText(step, deployment, moments) {
  const { steps } = deployment;
  const next = steps[steps.indexOf(step) + 1];
  const end = moments.get(next) ?? (deployment.failed_step === step ? moments.get('returning') : undefined) ?? (next ? undefined : Date.parse(deployment.finished_at));
  const milliseconds = end - moments.get(step);
  if (!(milliseconds >= 0)) return '';
  return milliseconds < 50 ? '< 0.1 s' : milliseconds < 10000 ? `${(milliseconds / 1000).toFixed(1)} s` : span(milliseconds);
}

export function copyText(progress) {
  const files = progress.files_total ? ` · ${progress.files_done.toLocaleString()} of ${progress.files_total.toLocaleString()} files` : '';
  const pace = progress.bytes_per_second > 0 ? ` · ${bytes(progress.bytes_per_second)}/s` : '';
  const left = Number.isFinite(progress.seconds_left) ? ` · about ${span(1000 * Math.ceil(progress.seconds_left))} left` : '';
  return `${bytes(progress.bytes_done)} of ${bytes(progress.bytes_total)}${files}${pace}${left}`;
}
