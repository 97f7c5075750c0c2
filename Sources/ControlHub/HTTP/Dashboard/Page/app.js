// The page: who is signed in, the live stream, and which view is shown for which address.
import { announce, setAttribute, setText, show } from './dom.js';
import { session, signOut } from './api.js';
import * as live from './live.js';
import * as store from './store.js';
import { problem } from './parts.js';
import { nodesView } from './view-nodes.js';
import { addNodeView } from './view-add-node.js';
import { nodeView } from './view-node.js';
import { botsView } from './view-bots.js';
import { addBotView } from './view-add-bot.js';
import { botView } from './view-bot.js';

// Each view fills the container and returns its title; what it starts it ends when `signal` aborts. Its `update`, if
// it has one, takes a change of the path's last part without starting over.
const routes = [
  [/^\/?$/, nodesView, 'nodes'],
  [/^\/add-node$/, addNodeView, 'nodes'],
  [/^\/nodes\/([^/]+)$/, nodeView, 'nodes'],
  [/^\/bots$/, botsView, 'bots'],
  [/^\/add-bot$/, addBotView, 'bots'],
  [/^\/bots\/([^/]+)(?:\/(chat|log|packets|config))?$/, botView, 'bots'],
];

const container = document.getElementById('view');
let current = { controller: null, key: null, update: null };

function route(first = false) {
  const [path, query = ''] = location.hash.replace(/^#/, '').split('?');
  for (const [pattern, view, section] of routes) {
    const match = pattern.exec(path);
    if (!match) continue;
    const [, id, part] = match.map((text) => (text === undefined ? undefined : decodeURIComponent(text)));
    for (const anchor of document.querySelectorAll('[data-nav]')) {
      setAttribute(anchor, 'aria-current', anchor.dataset.nav === section ? 'page' : null);
    }
    const key = `${pattern}${id ?? ''}`;
    if (key === current.key && current.update) {
      current.update(part);
      return;
    }
    open(key, view, { id, part, query: new URLSearchParams(query) }, first);
    return;
  }
  location.replace('#/');
}

function open(key, view, parameters, first) {
  current.controller?.abort();
  const controller = new AbortController();
  container.replaceChildren();
  window.scrollTo(0, 0);
  const setTitle = (title) => { document.title = title ? `${title} · ControlHub` : 'ControlHub'; };
  current = { controller, key, update: view(container, { ...parameters, signal: controller.signal, setTitle }) };
  // A screen reader starts at the new view's heading, unless the view has put the focus into its form. On the first
  // load the browser's own order is right.
  if (!first && !container.contains(document.activeElement)) container.querySelector('h1')?.focus({ preventScroll: true });
}

const linkState = document.getElementById('link');
live.on('state', (state) => {
  const text = state === 'live' ? 'Live' : 'Reconnecting…';
  if (linkState.textContent !== text && state !== 'live') announce('The connection to the hub is interrupted.');
  setText(linkState, text);
  setAttribute(linkState, 'data-state', state);
});

async function main() {
  const returnTo = sessionStorage.getItem('return-to');
  sessionStorage.removeItem('return-to');
  try {
    const { operator } = await session();
    setText(document.getElementById('operator'), operator?.name ?? '');
    const button = document.getElementById('sign-out');
    show(button, true);
    button.addEventListener('click', () => signOut().catch((error) => announce(error.message)));
  } catch (error) {
    if (error.status === 401) return;
    const place = problem();
    container.replaceChildren(place);
    place.set(error);
    // The hub may be restarting; nobody should have to press reload for that.
    setTimeout(main, 5000);
    return;
  }
  if (returnTo && !location.hash) history.replaceState(null, '', returnTo);
  window.addEventListener('hashchange', () => route());
  container.replaceChildren();
  route(true);
  live.start();
  store.reload();
}

main();
