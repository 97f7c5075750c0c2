// Who may do what: operators, their roles, their tokens and login links.
import { list, patch, post, remove } from '../core/api.js';
import { ask, menuButton, toast } from '../core/dialog.js';
import { h, keyed, setText, show } from '../core/dom.js';
import { timeElement } from '../core/format.js';
import { problem } from '../parts/pieces.js';
import { lifetimes, showSecret, tokenList } from './tokens.js';

const roles = [['viewer', 'Viewer: sees everything, changes nothing'], ['operator', 'Operator: runs bots and talks to them'], ['admin', 'Admin: nodes, operators and all the rest']];

export function operatorsPart(container, { signal }) {
  const failure = problem();
  const rows = h('ul', { class: 'rows' });
  const add = h('button', { type: 'button', class: 'slim', text: 'Add operator' });
  const tokens = h('div');
  container.append(h('section', { class: 'card' },
    h('div', { class: 'card-head' }, h('h2', { text: 'Operators' }), h('div', { class: 'actions' }, add)), failure, rows), tokens);
  const path = (item) => `/api/operators/${encodeURIComponent(item.id)}`;

  async function load() {
    try {
      keyed(rows, await list('/api/operators', { signal }), (item) => item.id, operatorRow);
      failure.set(null);
    } catch (error) {
      failure.set(error, load);
    }
  }

  const rolePick = (value) => h('select', { id: 'operator-role' }, ...roles.map(([name, text]) => h('option', { value: name, text, selected: name === value })));
  const field = (id, text, input) => h('div', { class: 'field' }, h('label', { for: id, text }), input);

  add.addEventListener('click', async () => {
    const name = h('input', { id: 'operator-name', required: true, maxlength: '100', autocomplete: 'off', spellcheck: 'false' });
    const role = rolePick('operator');
    const withToken = h('input', { type: 'checkbox', id: 'operator-token' });
    const life = h('select', { id: 'operator-life' }, ...lifetimes.map(([value, text]) => h('option', { value, text })));
    const lifeField = field('operator-life', 'Such a token is good', life);
    lifeField.hidden = true;
    withToken.addEventListener('change', () => show(lifeField, withToken.checked));
    let made = null;
    const done = await ask({
      title: 'Add operator', confirm: 'Add',
      content: [field('operator-name', 'Name', name), field('operator-role', 'Role', role),
        h('div', { class: 'check' }, withToken, h('label', { for: 'operator-token', text: 'Make a token for scripts too' })), lifeField],
      action: async () => {
        made = await post('/api/operators', {
          name: name.value.trim(), role: role.value, with_token: withToken.checked, ...(withToken.checked && life.value ? { ttl_seconds: Number(life.value) } : {}),
        }, { signal });
      },
    });
    if (!done) return;
    load();
    if (made.token) showSecret(`The token of ${made.name}`, made.token);
    if (made.login_link) showSecret(`How ${made.name} signs in`, made.login_link, 'Send this link to them: it works once, within 24 hours, and cannot be shown again.');
  });

  function operatorRow(first) {
    const name = h('strong');
    const role = h('span', { class: 'label' });
    const made = timeElement('ago');
    let item = first;
    const menu = menuButton('Change', [
      ['Login link', () => attempt(async () => {
        const made_ = await post(`${path(item)}/login-link`, {}, { signal });
        showSecret(`How ${item.name} signs in`, made_.login_link, 'Send this link to them: it works once, within 24 hours, and cannot be shown again.');
      })],
      ['Tokens', () => tokens.replaceChildren(tokenList(`${path(item)}/tokens`, { signal, title: `Tokens of ${item.name}`, about: 'Without their secrets, which nobody has.' }))],
      ['Name and role…', () => edit(item)],
      null,
      ['Remove…', () => erase(item), { danger: true }],
    ]);
    menu.button.classList.add('slim');
    const row = h('li', {}, h('div', { class: 'row-head' }, name, role, h('span', { class: 'caption' }, 'added ', made), h('span', { class: 'actions' }, menu)));
    row.update = (value) => {
      item = value;
      setText(name, value.name);
      setText(role, value.role);
      made.set(value.created_at);
      menu.button.setAttribute('aria-label', `Change ${value.name}`);
    };
    return row;
  }

  async function attempt(action) {
    failure.set(null);
    try { await action(); } catch (error) { failure.set(error); }
  }

  function edit(item) {
    const name = h('input', { id: 'operator-name', required: true, maxlength: '100', autocomplete: 'off', spellcheck: 'false', value: item.name });
    const role = rolePick(item.role);
    return ask({
      title: `Change ${item.name}`, confirm: 'Save', content: [field('operator-name', 'Name', name), field('operator-role', 'Role', role)],
      action: async () => {
        await patch(path(item), { name: name.value.trim(), role: role.value }, { signal });
        load();
      },
    });
  }

  function erase(item) {
    return ask({
      title: `Remove ${item.name}?`, confirm: 'Remove', danger: true, content: [h('p', { text: 'Their tokens and sessions end at once. What they did stays in the audit log.' })],
      action: async () => {
        await remove(path(item), { signal });
        tokens.replaceChildren();
        toast(`${item.name} is removed.`);
        load();
      },
    });
  }
  load();
}
