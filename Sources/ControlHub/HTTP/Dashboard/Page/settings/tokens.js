// Bearer tokens for scripts: one's own, or another operator's.
import { allowed, list, post, remove } from '../core/api.js';
import { ask, tell, toast } from '../core/dialog.js';
import { h, keyed, setText, show } from '../core/dom.js';
import { timeElement } from '../core/format.js';
import { copyable, problem } from '../parts/pieces.js';

const day = 86400;
export const lifetimes = [['', 'until it is revoked'], [7 * day, '7 days'], [30 * day, '30 days'], [90 * day, '90 days'], [365 * day, 'a year']];

export function tokensPart(container, { signal }) {
  container.append(tokenList('/api/tokens', { signal, title: 'My tokens', about: 'For scripts: sent as Authorization: Bearer. A token can do what you can; give each script its own.', mayMake: allowed('operator') }));
}

/** The tokens at `path` (`/api/tokens` or an operator's), with making and revoking. */
export function tokenList(path, { signal, title, about, mayMake = true }) {
  const failure = problem();
  const none = h('p', { class: 'quiet', text: 'No tokens.' });
  none.hidden = true;
  const rows = h('ul', { class: 'rows' });
  const make = h('button', { type: 'button', class: 'slim', text: 'New token' });
  const element = h('section', { class: 'card' },
    h('div', { class: 'card-head' }, h('h2', { text: title }), mayMake && h('div', { class: 'actions' }, make)),
    h('p', { class: 'caption', text: about }), failure, none, rows);

  async function load() {
    try {
      const items = await list(path, { signal });
      keyed(rows, items, (item) => item.id, () => tokenRow(revoke, mayMake));
      show(none, items.length === 0);
      failure.set(null);
    } catch (error) {
      failure.set(error, load);
    }
  }

  const revoke = (item) => ask({
    title: `Revoke ${item.name}?`, confirm: 'Revoke', danger: true,
    content: [h('p', { text: 'Whoever uses it is refused from now on, and sessions that were opened with it end.' })],
    action: async () => {
      await remove(`${path}/${encodeURIComponent(item.id)}`, { signal });
      toast(`${item.name} is revoked.`);
      load();
    },
  });

  make.addEventListener('click', async () => {
    const name = h('input', { id: 'token-name', required: true, maxlength: '100', autocomplete: 'off', spellcheck: 'false', placeholder: 'backup script' });
    const life = h('select', { id: 'token-life' }, ...lifetimes.map(([value, text]) => h('option', { value, text })));
    let made = null;
    const done = await ask({
      title: 'New token', confirm: 'Make token',
      content: [h('div', { class: 'field' }, h('label', { for: 'token-name', text: 'What it is for' }), name), h('div', { class: 'field' }, h('label', { for: 'token-life', text: 'Good' }), life)],
      action: async () => {
        made = await post(path, { name: name.value.trim(), ...(life.value ? { ttl_seconds: Number(life.value) } : {}) }, { signal });
      },
    });
    if (!done) return;
    showSecret(`The token ${made.name}`, made.token);
    load();
  });
  load();
  return element;
}

/** Shows what cannot be shown again. */
export function showSecret(title, secret, words = 'Copy it now: the hub keeps only its digest and cannot show it again.') {
  tell(title, h('p', { text: words }), copyable(secret, { name: 'Secret', label: 'Copy' }));
}

function tokenRow(revoke, mayRevoke) {
  const name = h('strong');
  const made = timeElement('ago'), used = timeElement('ago'), ends = h('span');
  const button = h('button', { type: 'button', class: 'slim', text: 'Revoke' });
  const usedText = h('span', {}, 'used ', used);
  const row = h('li', {}, h('div', { class: 'row-head' }, name, h('span', { class: 'actions' }, mayRevoke && button)),
    h('div', { class: 'row caption' }, h('span', {}, 'made ', made), usedText, ends));
  row.update = (item) => {
    setText(name, item.name);
    made.set(item.created_at);
    used.set(item.last_used_at);
    show(usedText, Boolean(item.last_used_at));
    setText(ends, item.expires_at ? `good until ${new Date(item.expires_at).toLocaleString()}` : 'does not expire');
    button.onclick = () => revoke(item);
    button.setAttribute('aria-label', `Revoke ${item.name}`);
  };
  return row;
}
