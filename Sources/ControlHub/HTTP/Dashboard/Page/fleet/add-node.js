// Pairing a node: a code, the command to paste, and the node itself once it is there, or why it is not.
import { list, post, remove } from '../core/api.js';
import { announce, h, setAttribute, setText, show } from '../core/dom.js';
import { instant } from '../core/format.js';
import { on } from '../core/live.js';
import { nodes, reload, subscribe } from '../core/store.js';
import { attemptList } from '../parts/attempts.js';
import { copyable, link, nodeLink, pageHead, problem, waiting } from '../parts/pieces.js';
import { stateLine } from '../parts/state.js';

const pollMilliseconds = 2000;
/** A paired node that stays away this long gets advice. */
const adviceMilliseconds = 20000;

export function addNodeView(container, { signal, setTitle, query }) {
  const again = query.get('node');
  const title = again ? 'Pair a node again' : 'Add node';
  setTitle(title);
  const failure = problem();
  const name = h('input', { id: 'node-name', name: 'name', autocomplete: 'off', spellcheck: 'false', maxlength: '100', placeholder: 'for example: attic-pc' });
  const submit = h('button', { class: 'primary', type: 'submit', text: 'Create code' });
  const form = h('form', { class: 'card stack pairing' },
    again
      ? h('p', { text: 'The node keeps its name, its history and its bots. Its older tokens stop working as soon as the new code is used.' })
      : h('p', { text: 'The node dials out to this hub, so nothing has to be opened on its side. You get a code that works once, and a command to run on the machine.' }),
    !again && h('div', { class: 'field' },
      h('label', { for: 'node-name', text: 'Name (optional)' }), name,
      h('p', { class: 'help', text: 'Left empty, the node gets the name of its machine.' })),
    h('div', {}, submit));
  const ticket = h('div', { class: 'stack pairing' });
  ticket.hidden = true;
  container.append(pageHead(title), failure, form, ticket);
  (again ? submit : name).focus();
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    create();
  });

  async function create() {
    failure.set(null);
    submit.disabled = true;
    try {
      const body = again ? { node_id: again } : name.value.trim() ? { name: name.value.trim() } : {};
      const enrollment = await post('/api/enrollments', body, { signal });
      show(form, false);
      ticket.replaceChildren();
      show(ticket, true);
      showTicket(ticket, enrollment, { signal, createAnother: create });
    } catch (error) {
      failure.set(error);
    } finally {
      submit.disabled = false;
    }
  }
}

const step = (title, ...content) => h('li', {}, h('h2', { text: title }), h('div', {}, ...content));

function showTicket(place, enrollment, { signal, createAnother }) {
  const created = instant(enrollment.created_at) || Date.now();
  // By this browser's clock, whatever the hub's says.
  const expires = Date.now() + (instant(enrollment.expires_at) - created);
  const life = expires - Date.now();
  const remaining = h('span', { class: 'countdown quiet' });
  const lifeBar = h('span');
  const expired = h('div', { class: 'notice' }, h('p', { text: 'This code has expired. Nothing was added.' }),
    h('button', { type: 'button', class: 'primary', text: 'Create a new code', on: { click: createAnother } }));
  expired.hidden = true;
  const withdraw = h('button', { type: 'button', class: 'slim plain', text: 'Withdraw the code' });
  const pairing = waiting('Waiting for the machine to use the code…');
  const attempts = attemptList();
  const trouble = h('p', { class: 'problem', role: 'alert' });
  trouble.hidden = true;

  const get = step('Have edge-agent on the machine', h('p', { class: 'quiet', text: 'One program without dependencies. Copy it there, or install the package.' }));
  const run = step('Pair it: run this there',
    h('div', { class: 'code-line' }, h('span', { class: 'code', text: enrollment.code, 'aria-label': `Code ${[...(enrollment.code ?? '')].join(' ')}` }), remaining, withdraw),
    h('div', { class: 'code-life', 'aria-hidden': 'true' }, lifeBar),
    copyable(enrollment.command),
    pairing, attempts, trouble, expired);
  const state = stateLine();
  const advice = h('div', { class: 'notice' }, h('p', {}, 'Not there yet? On the machine, ', h('code', { text: 'edge-agent doctor' }), ' checks name, route, proxy, certificate and token, and says which is at fault.'));
  advice.hidden = true;
  const online = waiting('Waiting for the agent to connect…');
  online.hidden = true;
  const start = step('Start it',
    copyable('edge-agent run'),
    h('p', { class: 'quiet small' }, 'Or as a service, which starts with the machine: ', h('code', { class: 'word', text: 'systemctl enable --now edge-agent' })), online, advice);
  const title = h('a', { class: 'arrived-name' });
  const actions = h('div', { class: 'actions' });
  const arrived = step('It is here', h('p', {}, title, ' ', state), actions);
  arrived.hidden = true;
  const steps = h('ol', { class: 'steps-list card' }, get, run, start, arrived);
  place.append(steps);

  // A second code ends the watch over the first.
  const watch = new AbortController();
  signal.addEventListener('abort', () => watch.abort(), { signal: watch.signal });
  expired.querySelector('button').addEventListener('click', () => watch.abort());
  const every = (milliseconds, action) => {
    const timer = setInterval(action, milliseconds);
    watch.signal.addEventListener('abort', () => clearInterval(timer));
  };

  let nodeID = null, pairedAt = 0, isWithdrawn = false;
  const tick = () => {
    if (nodeID || isWithdrawn) return;
    const left = Math.max(0, Math.ceil((expires - Date.now()) / 1000));
    setText(remaining, left ? `valid for ${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}` : 'expired');
    lifeBar.style.width = `${(100 * Math.max(0, expires - Date.now())) / life}%`;
    show(expired, left === 0);
    show(pairing, left > 0);
    show(withdraw, left > 0);
  };
  tick();
  every(1000, tick);
  withdraw.addEventListener('click', async () => {
    try {
      await remove(`/api/enrollments/${encodeURIComponent(enrollment.id)}`, { signal });
      isWithdrawn = true;
      watch.abort();
      createAnotherInstead();
    } catch (error) {
      setText(trouble, error.message);
      show(trouble, true);
    }
  });
  function createAnotherInstead() {
    setText(remaining, 'withdrawn');
    for (const gone of [withdraw, pairing, trouble]) show(gone, false);
    setText(expired.querySelector('p'), 'This code was withdrawn and does not work any more.');
    show(expired, true);
  }

  let asking = false;
  const ask = async () => {
    if (asking || nodeID) return;
    asking = true;
    try {
      const own = (await list('/api/enrollments', { signal: watch.signal, limit: 50, first: 50 })).find((item) => item.id === enrollment.id);
      const id = own?.redeemed_node_id ?? own?.node_id;
      if (id && (own.redeemed_at || own.state === 'redeemed')) welcome(id);
      if (!nodeID) attempts.set(own?.failed_attempts);
    } catch { /* The next try follows in a moment; the page's frame shows when the hub is out of reach. */ } finally {
      asking = false;
    }
  };
  every(pollMilliseconds, ask);
  watch.signal.addEventListener('abort', on('node.updated', (data) => { if (data.change === 'created' || data.change === 'paired_again') ask(); }));
  watch.signal.addEventListener('abort', on('enrollment.updated', ask));

  function welcome(id) {
    nodeID = id;
    pairedAt = Date.now();
    get.dataset.done = run.dataset.done = 'true';
    setText(remaining, 'used');
    for (const gone of [pairing, attempts, trouble, expired, withdraw, lifeBar.parentElement]) show(gone, false);
    show(online, true);
    setAttribute(title, 'href', nodeLink(id));
    actions.replaceChildren(
      link(`#/add-bot?node=${encodeURIComponent(id)}`, 'Create a bot on it', 'button primary'), link(nodeLink(id), 'Open the node', 'button'));
    if (!nodes.has(id)) reload();
    announce('The node is paired.');
    const look = () => {
      const node = nodes.get(id);
      const isHere = node?.health === 'online';
      setText(title, node?.name || node?.host_name || 'New node');
      state.set(node?.health ?? 'never_seen', isHere ? '' : node?.quarantine?.reason ?? node?.link?.reason ?? node?.health_reason, node?.health_since);
      show(arrived, isHere || (node && node.health !== 'never_seen'));
      if (isHere && start.dataset.done !== 'true') {
        start.dataset.done = arrived.dataset.done = 'true';
        announce('The node is online.');
      }
      show(online, !isHere);
      online.say(node && node.health !== 'never_seen' && !isHere ? `Paired, but not online: ${node.health_reason}` : 'Paired. Waiting for the agent to connect…');
      show(advice, !isHere && Date.now() - pairedAt > adviceMilliseconds);
    };
    watch.signal.addEventListener('abort', subscribe(look));
    every(1000, look);
  }
}
