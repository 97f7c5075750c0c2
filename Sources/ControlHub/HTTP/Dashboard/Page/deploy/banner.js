// Says on a bot's page that it is being deployed, and how far that is.
import { h, setAttribute, setText, show } from '../core/dom.js';
import { percent } from '../core/format.js';
import { bots } from '../core/store.js';
import { badge } from '../parts/state.js';
import { follow, followAll, isOpen, underWay } from './deployments.js';
import { doing, stepWords } from './words.js';

/** `onChange(deployment or null)` tells whether one is under way; `open(deployment)` is to show it. */
export function deployBanner({ id, path, signal, onChange, open }) {
  const state = badge();
  const text = h('span', { class: 'small quiet wrap' });
  const button = h('button', { type: 'button', class: 'slim', text: 'Show progress' });
  const element = h('section', { class: 'deploy-banner', 'aria-label': 'Deployment' }, h('div', { class: 'row' }, state, text), button);
  element.hidden = true;
  let current = null, watch = null;
  signal.addEventListener('abort', () => underWay.delete(id));
  button.addEventListener('click', () => open(current));
  const set = ({ deployment, progress }) => {
    current = isOpen(deployment) ? deployment : null;
    show(element, Boolean(current));
    if (current) underWay.add(id);
    else underWay.delete(id);
    onChange(current);
    if (!current) {
      watch?.abort();
      watch = null;
      return;
    }
    state.set('attempted', doing(current, bots.get(id)));
    const share = progress?.step === current.step && progress.bytes_total > 0 ? `, ${percent((100 * progress.bytes_done) / progress.bytes_total)}` : '';
    setText(text, current.state === 'returning' ? current.reason ?? '' : `${stepWords(current.step, current)[0]}${share}`);
    setAttribute(element, 'data-state', current.state);
  };
  followAll({ path, botID: id, signal, limit: 1, listener: ([newest]) => {
    if (!isOpen(newest)) {
      set({ deployment: newest ?? null });
      return;
    }
    if (current?.id === newest.id) return;
    watch?.abort();
    watch = new AbortController();
    signal.addEventListener('abort', () => watch?.abort(), { signal: watch.signal });
    set({ deployment: newest });
    follow({ id: newest.id, botID: id, signal: watch.signal, listener: set });
  } });
  return element;
}
