// Where a bot is placed, what was deployed before, and going back to it.
import { allowed } from '../core/api.js';
import { h, keyed, show } from '../core/dom.js';
import { instant, timeElement } from '../core/format.js';
import { bots, nodes, subscribe } from '../core/store.js';
import { followAll, isOpen, moments } from '../deploy/deployments.js';
import { openDeploy } from '../deploy/deploy.js';
import { profileKind, profileRules } from '../deploy/placement-form.js';
import { releaseRow } from '../deploy/receipt.js';
import { placeText } from '../deploy/words.js';
import { facts, problem } from '../parts/pieces.js';
import { snapshotsCard } from './snapshots.js';

export function releasesPanel(container, { id, path, signal }) {
  const failure = problem();
  const current = facts(['Node', 'Runtime profile', 'Runs by', 'Rules', 'Placement', 'Since']);
  const since = timeElement('ago');
  const rows = h('ul', { class: 'rows' });
  const none = h('p', { class: 'quiet', text: 'This bot has never been moved or deployed anew. Each time it is, what was done is kept here, and you can go back to before it.' });
  const deploy = h('button', { type: 'button', class: 'slim', text: 'Move or deploy…', on: { click: () => openDeploy({ botID: id, path }) } });
  container.append(
    h('section', { class: 'card' }, h('div', { class: 'card-head' }, h('h2', { text: 'In place' }), allowed('operator') && h('div', { class: 'actions' }, deploy)), current),
    h('section', { class: 'card' }, h('h2', { text: 'Releases' }), failure, none, rows),
    snapshotsCard({ id, path, signal }));

  let all = [];
  function undoOf(item) {
    if (!allowed('operator')) return null;
    if (isOpen(item)) return h('div', {}, h('button', { type: 'button', class: 'slim', text: 'Show progress', on: { click: () => openDeploy({ botID: id, path, deployment: item }) } }));
    if (item.state !== 'succeeded') return null;
    return h('div', {}, h('button', { type: 'button', class: 'slim', text: `Roll back to ${placeText(item.source)}…`, on: { click: () => openDeploy({ botID: id, path, undo: item }) } }));
  }
  async function opened(item) {
    const known = { deployment: item, progress: null, moments: new Map() };
    await moments({ id: item.id, botID: id, signal, note: (data, at) => {
      const name = data.state === 'running' ? data.step : data.state, time = instant(at);
      if (!(known.moments.get(name) <= time)) known.moments.set(name, time);
    } });
    return known;
  }
  const arrange = () => {
    const bot = bots.get(id);
    if (!bot) return;
    const profile = nodes.get(bot.node_id)?.runtime_profiles?.find((each) => each.name === bot.runtime_profile);
    current.set('Node', bot.node_name ?? bot.node_id);
    current.set('Runtime profile', bot.runtime_profile || 'default of the node');
    current.set('Runs by', profile ? profileKind(profile) : '');
    current.set('Rules', profile ? profileRules(profile) : '');
    current.set('Placement', Number.isFinite(bot.placement_epoch) ? `number ${bot.placement_epoch}` : '');
    const placed = all.find((item) => item.state === 'succeeded');
    since.set(placed?.finished_at ?? bot.created_at);
    current.set('Since', since);
  };
  followAll({ path, botID: id, signal, onError: (error, again) => failure.set(error, again), listener: (items) => {
    all = items;
    keyed(rows, items, (item) => item.id, () => releaseRow({ onOpen: opened, undo: undoOf }));
    show(none, items.length === 0);
    arrange();
  } });
  signal.addEventListener('abort', subscribe(arrange));
}
