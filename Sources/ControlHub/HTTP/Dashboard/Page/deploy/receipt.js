// What a deployment did: shown at its end, and kept under a bot's releases.
import { h } from '../core/dom.js';
import { bytes, fullTime, plural, span } from '../core/format.js';
import { bots } from '../core/store.js';
import { facts } from '../parts/pieces.js';
import { badge } from '../parts/state.js';
import { staysPut } from './deployments.js';
import { awayText } from './preview.js';
import { stepList } from './progress.js';
import { outcome, placeText } from './words.js';

/** The last page of the dialog. */
export function ended(frame, known, { again, undo }) {
  const { deployment } = known;
  const bot = bots.get(deployment.bot_id);
  const succeeded = deployment.state === 'succeeded';
  frame.title(succeeded ? 'Done' : deployment.state === 'cancelled' ? 'Cancelled' : 'It did not work');
  frame.lead('');
  const head = h('p', { class: succeeded ? 'success' : deployment.state === 'cancelled' ? 'notice' : 'problem', text: outcome(deployment, bot) });
  frame.body.replaceChildren(h('div', { class: 'stack' }, head, receipt(known)));
  const done = h('button', { type: 'button', class: 'primary', text: 'Done', on: { click: frame.close } });
  frame.foot.replaceChildren(h('div', { class: 'actions' },
    succeeded ? undo && h('button', { type: 'button', text: 'Roll back…', on: { click: undo } }) : h('button', { type: 'button', text: 'Try again…', on: { click: again } }), done));
}

/** The facts of a deployment that has ended, or is under way. */
export function receipt(known) {
  const { deployment } = known;
  const steps = stepList();
  steps.set(known);
  const total = Date.parse(deployment.finished_at) - Date.parse(deployment.created_at);
  const away = h('div', { class: 'away' });
  if (Number.isFinite(deployment.downtime_ms)) away.append(h('span', { class: 'figure', text: awayText(deployment.downtime_ms) }), h('span', { class: 'small quiet', text: 'was the bot away. Messages sent meanwhile waited on the hub.' }));
  else away.append(h('span', { class: 'small quiet', text: awayWords(deployment) }));
  const list = facts(['From', 'To', 'Took', 'Carried', 'Files', 'Workspace', 'By', 'Begun']);
  list.set('From', placeText(deployment.source));
  list.set('To', placeText(deployment.target));
  list.set('Took', total >= 0 ? awayText(total) : '');
  const { workspace } = deployment;
  if (workspace && (workspace.total_bytes > 0 || workspace.skipped_entries > 0)) {
    list.set('Carried', `${bytes(workspace.received_bytes)}, for a workspace of ${bytes(workspace.total_bytes)}`);
    list.set('Files', filesText(workspace));
  }
  list.set('Workspace', { snapshot: 'from a snapshot the hub had kept', target: 'what the target had' }[deployment.workspace_from] ?? '');
  list.set('By', deployment.actor);
  list.set('Begun', fullTime(Date.parse(deployment.created_at)));
  const why = deployment.reason || deployment.note ? h('div', { class: 'stack tight' },
    deployment.reason && h('p', { class: 'wrap', text: deployment.reason }),
    deployment.remedy && h('p', { class: 'wrap' }, h('strong', { text: 'What to do: ' }), deployment.remedy),
    deployment.note && h('p', { class: 'small wrap', text: deployment.note })) : null;
  return h('div', { class: 'receipt stack' }, why, deployment.state === 'succeeded' && away, list, steps);
}

function awayWords(deployment) {
  return deployment.steps.includes('healthy') ? 'How long the bot was away is not known.' : 'The bot was not running, so nobody missed it.';
}

function filesText(workspace) {
  const parts = [[workspace.added_files, 'new'], [workspace.changed_files, 'changed'], [workspace.removed_files, 'removed']]
    .filter(([count]) => count > 0).map(([count, word]) => `${count.toLocaleString()} ${word}`);
  const count = workspace.skipped_entries;
  const names = (workspace.left_out ?? []).slice(0, 5).map(({ path }) => path).join(', ');
  const what = count === 1 ? 'one socket, pipe or device' : `${count.toLocaleString()} sockets, pipes or devices`;
  // Of deployments from before they were named nobody knows what it was.
  const skipped = count > 0 ? `; left out ${names ? `${what}: ${names}${count > 5 ? ' …' : ''}` : plural(count, 'thing')}` : '';
  return `${parts.join(', ') || 'none had to travel'}${skipped}`;
}

/** One deployment in a list, with its receipt folded in. */
export function releaseRow({ onOpen, undo }) {
  const title = h('strong', { class: 'wrap' }), state = badge(), sentence = h('p', { class: 'small wrap' });
  const when = h('span', { class: 'caption' });
  const inside = h('div', { class: 'stack' });
  const fold = h('details', { class: 'release' }, h('summary', {}, h('span', { class: 'row-head' }, title, when, state), sentence), inside);
  const row = h('li', {}, fold);
  let item = null, shown = null;
  const fill = () => {
    const description = JSON.stringify(item);
    if (!fold.open || shown === description) return;
    shown = description;
    onOpen(item).then((known) => {
      const actions = undo(item);
      inside.replaceChildren(...[receipt(known), actions].filter(Boolean));
    });
  };
  fold.addEventListener('toggle', fill);
  row.update = (value) => {
    item = value;
    title.textContent = staysPut(value) ? `On ${placeText(value.target)}` : `${placeText(value.source)} → ${placeText(value.target)}`;
    when.textContent = `${fullTime(Date.parse(value.finished_at ?? value.created_at))}${value.actor ? `, by ${value.actor}` : ''}`;
    state.set(value.state);
    sentence.textContent = brief(value);
    fill();
  };
  return row;
}

/** A receipt in one line. */
function brief(deployment) {
  if (deployment.state === 'failed' || deployment.state === 'cancelled') return deployment.reason ?? '';
  const took = Date.parse(deployment.finished_at) - Date.parse(deployment.created_at);
  return [
    took >= 0 && `took ${span(took)}`, Number.isFinite(deployment.downtime_ms) && `away ${awayText(deployment.downtime_ms)}`,
    deployment.workspace?.received_bytes > 0 && `${bytes(deployment.workspace.received_bytes)} carried`,
  ].filter(Boolean).join(' · ');
}
