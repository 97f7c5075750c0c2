// The page: who is signed in, the live stream, and which view is shown for which address.
import { botsView } from './bots/bot-list.js';
import { addBotView } from './bots/new-bot.js';
import { botParts, botView } from './bot/bot.js';
import { commandsView } from './commands/commands.js';
import { session, signOut } from './core/api.js';
import { announce, h, setAttribute, setText, show } from './core/dom.js';
import './core/happenings.js';
import * as live from './core/live.js';
import * as store from './core/store.js';
import { addNodeView } from './fleet/add-node.js';
import { isInState } from './fleet/filter.js';
import { overviewView } from './fleet/overview.js';
import { nodeView } from './node/node.js';
import { problem } from './parts/pieces.js';
import { settingsParts, settingsView } from './settings/settings.js';

// Each view fills the container; what it starts it ends when `signal` aborts. A view that returns a function gets
// changes of the path's last part by it, without starting over.
const routes = [
  [/^\/?$/, overviewView, 'fleet'],
  [/^\/add-node$/, addNodeView, 'fleet'],
  [/^\/nodes\/([^/]+)$/, nodeView, 'fleet'],
  [/^\/bots$/, botsView, 'bots'],
  [/^\/add-bot$/, addBotView, 'bots'],
  [new RegExp(`^/bots/([^/]+)(?:/(${botParts.join('|')}))?$`), botView, 'bots'],
  [/^\/commands$/, commandsView, 'commands'],
  [new RegExp(`^/settings()(?:/(${settingsParts.join('|')}))?$`), settingsView, 'settings'],
];

const container = document.getElementById('view');
let current = { controller: null, key: null, update: null };

function route(first = false) {
  const [path, query = ''] = location.hash.replace(/^#/, '').split('?');
  // The link that skips to the content points at an element, not at a view.
  if (path === 'view') {
    container.focus();
    return;
  }
  for (const [pattern, view, section] of routes) {
    const match = pattern.exec(path);
    if (!match) continue;
    const [, id, part] = match.map((text) => (text === undefined ? undefined : decodeURIComponent(text)));
    for (const anchor of document.querySelectorAll('[data-nav]')) {
      setAttribute(anchor, 'aria-current', anchor.dataset.nav === section ? 'page' : null);
    }
    const key = `${pattern}${id ?? ''}?${query}`;
    if (key === current.key && typeof current.update === 'function') {
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
  const page = h('div', { class: 'page' });
  container.replaceChildren(page);
  window.scrollTo(0, 0);
  const setTitle = (title) => { document.title = title ? `${title} · ControlHub` : 'ControlHub'; };
  current = { controller, key, update: view(page, { ...parameters, signal: controller.signal, setTitle }) };
  // A screen reader starts at the new view's heading, unless the view has put the focus into its form. On the first
  // load the browser's own order is right.
  if (!first && !page.contains(document.activeElement)) page.querySelector('h1')?.focus({ preventScroll: true });
}

const linkState = document.getElementById('link');
live.on('state', (state) => {
  const text = state === 'live' ? 'Live' : 'Reconnecting…';
  if (linkState.textContent !== text && state !== 'live') announce('The connection to the hub is interrupted.');
  setText(linkState, text);
  setAttribute(linkState, 'data-state', state);
});

// How many nodes need attention shows wherever one is.
const attention = document.getElementById('nav-attention');
let countedAt = -1;
store.subscribe(() => {
  if (countedAt === store.structureVersion()) return;
  countedAt = store.structureVersion();
  const count = [...store.nodes.values()].filter((node) => isInState(node, store.botsOf(node.id), 'attention')).length;
  setText(attention, count ? String(count) : '');
  setAttribute(attention, 'data-tone', count ? 'bad' : null);
  setAttribute(attention, 'title', count ? `${count} need attention` : null);
});

const themeButton = document.getElementById('theme');
const themeWords = { system: 'System', light: 'Light', dark: 'Dark' };
const nextTheme = { system: 'light', light: 'dark', dark: 'system' };
const tellTheme = () => {
  setText(themeButton.querySelector('span'), themeWords[window.hubTheme.current]);
  setAttribute(themeButton, 'aria-label', `Colours: ${themeWords[window.hubTheme.current]}. Press to change.`);
};
themeButton.addEventListener('click', () => {
  window.hubTheme.set(nextTheme[window.hubTheme.current]);
  tellTheme();
});
tellTheme();

async function main() {
  const returnTo = sessionStorage.getItem('return-to');
  sessionStorage.removeItem('return-to');
  try {
    const { operator } = await session();
    document.getElementById('operator').replaceChildren(h('strong', { text: operator?.name ?? '' }), ` · ${operator?.role ?? ''}`);
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
  route(true);
  live.start();
  store.reload();
}

main();
