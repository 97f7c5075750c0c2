// What a deployment would do: the checks with their remedies, what travels, and how long the bot would be away.
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { bytes, fullTime, plural, span } from '../core/format.js';
import { facts, problem, waiting } from '../parts/pieces.js';
import { glyph } from '../parts/state.js';
import { changeTree } from './change-tree.js';

const tones = { passed: 'ok', warning: 'warn', failed: 'bad' };
const words = { passed: 'Passed', warning: 'Warning', failed: 'Failed' };

export function previewPanel() {
  const looking = waiting('');
  const verdict = h('p', { class: 'verdict', role: 'status' });
  const failure = problem();
  const checks = h('ul', { class: 'checks' });
  const away = h('div', { class: 'away' });
  const travel = h('section', { class: 'stack tight', 'aria-label': 'What travels' });
  const element = h('div', { class: 'stack preview' }, h('h3', { text: 'Before it begins' }), looking, verdict, failure, checks, away, travel);

  element.look = (text) => {
    looking.say(text);
    show(looking, true);
    for (const part of [verdict, away, travel]) show(part, false);
    // The last checks stay in sight, pale, until there are new ones: nothing jumps.
    setAttribute(element, 'data-stale', 'true');
    failure.set(null);
  };
  element.fail = (error, again) => {
    show(looking, false);
    checks.replaceChildren();
    setAttribute(element, 'data-stale', null);
    failure.set(error, again);
  };
  element.set = (preview, { isMove, isRunning }) => {
    show(looking, false);
    setAttribute(element, 'data-stale', null);
    failure.set(null);
    keyed(checks, preview.checks, (check) => check.name, checkRow);
    const failed = preview.checks.filter((check) => check.outcome === 'failed').length;
    const warned = preview.checks.filter((check) => check.outcome === 'warning').length;
    setText(verdict, failed ? `${plural(failed, 'check')} failed: it cannot go like this.`
      : warned ? `It can go. ${plural(warned, 'thing')} to know before.` : `All ${preview.checks.length} checks passed.`);
    setAttribute(verdict, 'data-tone', failed ? 'bad' : warned ? 'warn' : 'ok');
    show(verdict, true);
    tellAway(away, preview, isRunning);
    tellTravel(travel, preview, isMove);
  };
  show(looking, false);
  show(verdict, false);
  return element;
}

function checkRow() {
  const mark = glyph();
  const word = h('span', { class: 'visually-hidden' }), text = h('span', { class: 'wrap' }), remedy = h('span', { class: 'remedy wrap' });
  const row = h('li', {}, mark, h('div', {}, word, text, remedy));
  row.update = (check) => {
    mark.set(tones[check.outcome] ?? 'idle');
    setText(word, `${words[check.outcome] ?? check.outcome}: `);
    setText(text, readable(check));
    setText(remedy, onPage(check.remedy ?? ''));
    show(remedy, Boolean(check.remedy));
    setAttribute(row, 'data-tone', tones[check.outcome]);
  };
  return row;
}

/** Remedies name calls of the API; here there are places for them. */
const onPage = (remedy) => remedy.replace(/POST \/api\/nodes\/\S+\/test looks again/, '“Test the connection” on its page looks again')
  .replace(/\bwith `force`/, 'by “Go without the node it is on”').replace(/List the nodes with GET \S+/, 'Choose another node.');

/** The hub counts in bytes; people do not. */
const readable = ({ message }) => message.replace(/\b\d{4}-\d\d-\d\dT[\d:.]+Z/g, (time) => fullTime(Date.parse(time)))
  .replace(/\b(\d{4,}) bytes\b/g, (_, count) => bytes(Number(count)))
  .replace(/\bworkspace of (\d{4,})\b/g, (_, count) => `workspace of ${bytes(Number(count))}`)
  .replace(/\bof which (\d{4,}) differ\b/g, (_, count) => `of which ${bytes(Number(count))} differ`);

function tellAway(place, preview, isRunning) {
  const known = Number.isFinite(preview.expected_downtime_ms);
  place.replaceChildren(...(known
    ? [h('span', { class: 'figure', text: awayText(preview.expected_downtime_ms) }), h('span', { class: 'small quiet', text: 'away, as far as can be told. Messages sent meanwhile wait and are answered afterwards.' })]
    : [h('span', { class: 'small quiet', text: isRunning ? '' : 'The bot does not run, so nobody will miss it.' })]));
  show(place, preview.is_possible && (known || !isRunning));
}

/** A time in which a bot was away, to a tenth of a second where that matters. */
export const awayText = (milliseconds) => (milliseconds < 10000 ? `${(milliseconds / 1000).toFixed(1)} s` : span(milliseconds));

function tellTravel(place, preview, isMove) {
  const { workspace } = preview;
  show(place, isMove ? Boolean(workspace) : preview.is_possible);
  place.replaceChildren(h('h3', { text: 'Files' }));
  if (!isMove) {
    place.append(h('p', { class: 'small quiet', text: 'The workspace stays where it is.' }));
    return;
  }
  if (!workspace) return;
  const list = facts([]);
  list.set('Workspace', `${bytes(workspace.total_bytes)}, ${workspace.entries.toLocaleString()} files and folders`);
  list.set('To carry', bytes(workspace.changed_bytes));
  list.set('Free on the target', workspace.available_bytes ? bytes(workspace.available_bytes) : '');
  const count = workspace.added_files + workspace.changed_files + workspace.removed_files;
  place.append(list, count === 0
    ? h('p', { class: 'small quiet', text: 'The target has all of them already.' })
    : h('p', { class: 'small', text: [workspace.added_files && `${workspace.added_files.toLocaleString()} new`, workspace.changed_files && `${workspace.changed_files.toLocaleString()} changed`, workspace.removed_files && `${workspace.removed_files.toLocaleString()} to be removed there`].filter(Boolean).join(', ') + ', folders counted too' }));
  if (workspace.files?.length) place.append(changeTree(workspace.files, count));
}
