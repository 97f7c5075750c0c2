// Pairing a node: a code, the command to paste, and the node itself once it is there.
import { announce, copyButton, h, setText, show } from './dom.js';
import { list, post } from './api.js';
import { instant } from './format.js';
import { link, pageHead, problem, stateLine } from './parts.js';
import { nodes, reload, subscribe } from './store.js';

const pollMilliseconds = 2000;

export function addNodeView(container, { signal, setTitle }) {
  setTitle('Add node');
  const failure = problem();
  const name = h('input', { id: 'node-name', name: 'name', autocomplete: 'off', spellcheck: 'false', maxlength: '100', placeholder: 'for example: attic-pc' });
  const submit = h('button', { class: 'primary', type: 'submit', text: 'Create code' });
  const form = h('form', { class: 'card stack' },
    h('p', { text: 'The node dials out to this hub. You get a code that works once, and a command to run on the machine.' }),
    h('div', { class: 'field' },
      h('label', { for: 'node-name', text: 'Name (optional)' }), name,
      h('p', { class: 'help', text: 'Left empty, the node gets the name of its machine.' })),
    h('div', {}, submit));
  const ticket = h('div', { class: 'stack' });
  ticket.hidden = true;
  container.append(pageHead('Add node'), failure, form, ticket);
  name.focus();

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    create();
  });

  async function create() {
    failure.set(null);
    submit.disabled = true;
    try {
      const enrollment = await post('/api/enrollments', name.value.trim() ? { name: name.value.trim() } : {}, { signal });
      show(form, false);
      ticket.replaceChildren();
      show(ticket, true);
      showTicket(ticket, enrollment, signal, create);
    } catch (error) {
      failure.set(error);
    } finally {
      submit.disabled = false;
    }
  }
}

function showTicket(place, enrollment, signal, createAnother) {
  const expires = instant(enrollment.expires_at);
  const remaining = h('span', { class: 'countdown' });
  const waiting = h('p', { class: 'waiting', role: 'status' }, h('span', { class: 'spinner', 'aria-hidden': 'true' }), h('span', { text: 'Waiting for the node…' }));
  const again = h('button', { type: 'button', class: 'primary', text: 'Create a new code', on: { click: createAnother } });
  const expired = h('div', { class: 'notice' }, h('p', { text: 'This code has expired. Nothing was added.' }), again);
  expired.hidden = true;
  const steps = h('section', { class: 'card stack' },
    h('div', { class: 'code-line' },
      h('span', { class: 'code', text: enrollment.code, 'aria-label': `Code ${[...enrollment.code].join(' ')}` }),
      h('span', { class: 'muted' }, remaining)),
    h('p', { text: 'On the new machine, with edge-agent installed, run:' }),
    h('div', { class: 'command' }, h('pre', { tabindex: '0' }, h('code', { text: enrollment.command })), copyButton(() => enrollment.command, 'Copy command')),
    h('p', { class: 'help' }, 'Then start it with ', h('code', { text: 'edge-agent run' }), '. If it does not come online, ', h('code', { text: 'edge-agent doctor' }), ' tells why.'),
    waiting, expired);
  const arrived = h('section', { class: 'card arrived' });
  arrived.hidden = true;
  place.append(steps, arrived);

  // A second code ends the watch over the first.
  const watch = new AbortController();
  signal.addEventListener('abort', () => watch.abort(), { signal: watch.signal });
  again.addEventListener('click', () => watch.abort());
  const every = (milliseconds, action) => {
    const timer = setInterval(action, milliseconds);
    watch.signal.addEventListener('abort', () => clearInterval(timer));
  };

  let nodeID = null;
  const tick = () => {
    const left = Math.max(0, Math.ceil((expires - Date.now()) / 1000));
    setText(remaining, left ? `valid for ${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}` : 'expired');
    show(expired, left === 0 && !nodeID);
    show(waiting, left > 0 && !nodeID);
  };
  tick();
  every(1000, () => { if (!nodeID) tick(); });

  let asking = false;
  const ask = async () => {
    if (asking || nodeID) return;
    asking = true;
    try {
      const own = (await list('/api/enrollments', { signal: watch.signal })).find((item) => item.id === enrollment.id);
      const id = own?.redeemed_node_id ?? own?.node_id;
      if (id) welcome(id);
    } catch { /* The next try follows in a moment; the page's head shows when the hub is out of reach. */ } finally {
      asking = false;
    }
  };
  every(pollMilliseconds, ask);

  function welcome(id) {
    nodeID = id;
    const title = h('a', { href: `#/nodes/${encodeURIComponent(id)}` });
    const state = stateLine();
    const hint = h('p', { class: 'muted' });
    arrived.replaceChildren(h('h2', {}, title), state, hint,
      h('div', { class: 'actions' },
        link(`#/add-bot?node=${encodeURIComponent(id)}`, 'Create a bot on it', 'button primary'),
        link(`#/nodes/${encodeURIComponent(id)}`, 'Open the node', 'button')));
    show(steps, false);
    show(arrived, true);
    if (!nodes.has(id)) reload();
    announce('The node is paired.');
    watch.signal.addEventListener('abort', subscribe(() => {
      const node = nodes.get(id);
      setText(title, node?.name || node?.host_name || 'New node');
      state.set(node?.health ?? 'never_seen', node?.health_reason, node?.health_since);
      setText(hint, node && node.health !== 'never_seen'
        ? 'It is paired and has connected.' : 'It is paired. Start it with: edge-agent run');
    }));
  }
}
