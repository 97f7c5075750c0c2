// Copies of a bot's workspace that the hub keeps, for going back and for going on without a node that is gone.
import { allowed, get, post, put, remove } from '../core/api.js';
import { ask, busy, toast } from '../core/dialog.js';
import { h, keyed, setText, show } from '../core/dom.js';
import { bytes, fullTime, instant, plural, timeElement } from '../core/format.js';
import { on } from '../core/live.js';
import { nodeName } from '../deploy/words.js';
import { problem } from '../parts/pieces.js';

/** A snapshot reads the whole workspace. */
const takeMilliseconds = 15 * 60000;

export function snapshotsCard({ id, path, signal }) {
  const failure = problem();
  const rows = h('ul', { class: 'rows' });
  const rule = h('p', { class: 'small quiet' });
  const take = h('button', { type: 'button', class: 'slim', text: 'Take one now' });
  const change = h('button', { type: 'button', class: 'slim', text: 'How many are kept…' });
  const element = h('section', { class: 'card', 'aria-label': 'Snapshots' },
    h('div', { class: 'card-head' }, h('h2', { text: 'Snapshots' }), allowed('operator') && h('div', { class: 'actions' }, take, change)), rule, failure, rows);
  element.hidden = true;
  let known = null;

  async function load() {
    try {
      draw(await get(`${path}/snapshots`, { signal }));
      failure.set(null);
    } catch (error) {
      if (!error.isAbsent) failure.set(error, load);
    }
  }
  function draw(answer) {
    known = answer;
    keyed(rows, answer.items, (item) => item.id, () => snapshotRow(load, failure));
    setText(rule, answer.kept > 0
      ? `The hub keeps the last ${answer.kept === 1 ? 'one' : answer.kept} and takes one before every deployment, so a rollback brings the files back too.`
      : 'The hub keeps none of this bot by itself. A rollback then brings back where and how it runs, not its files; and if its node is lost, so are they.');
    show(element, true);
  }
  take.addEventListener('click', () => busy(take, failure, async () => {
    const made = await post(`${path}/snapshots`, {}, { signal, timeout: takeMilliseconds });
    toast(`Taken: ${plural(made.entries, 'file')}, ${bytes(made.total_bytes)}.`);
    await load();
  }));
  change.addEventListener('click', () => {
    const count = h('input', { id: 'snapshots-kept', type: 'number', min: '0', step: '1', inputmode: 'numeric', value: known.own_kept ?? null, placeholder: `${known.kept} (the hub’s)` });
    ask({
      title: 'How many snapshots are kept', confirm: 'Save',
      content: [h('div', { class: 'field' }, h('label', { for: 'snapshots-kept', text: 'Of this bot' }), count,
        h('p', { class: 'help', text: 'With one or more, one is taken before every deployment; the oldest go first. 0: only those you take. Empty: as the hub has it for all bots.' }))],
      action: async () => draw(await put(`${path}/snapshots/kept`, { kept: count.value.trim() ? Number(count.value) : null })),
    });
  });
  // A deployment takes one.
  signal.addEventListener('abort', on('deployment.updated', (data) => { if (data.bot_id === id && data.state !== 'running') load(); }));
  load();
  return element;
}

function snapshotRow(reload, failure) {
  const when = h('strong'), made = timeElement('ago'), what = h('p', { class: 'small' });
  const erase = h('button', { type: 'button', class: 'plain slim', text: 'Delete' });
  const row = h('li', {}, h('div', { class: 'row-head' }, when, h('span', { class: 'caption' }, made), allowed('operator') && h('span', { class: 'actions' }, erase)), what);
  let item = null;
  row.update = (value) => {
    item = value;
    setText(when, fullTime(instant(value.created_at)));
    made.set(value.created_at);
    setText(what, `${plural(value.entries, 'file')}, ${bytes(value.total_bytes)} (${bytes(value.stored_bytes)} on the hub), as on ${nodeName(value.node_id)}${value.deployment_id ? '; before a deployment' : ''}, by ${value.created_by}`);
    erase.setAttribute('aria-label', `Delete the snapshot of ${when.textContent}`);
  };
  erase.addEventListener('click', () => ask({
    title: 'Delete the snapshot?', confirm: 'Delete', danger: true,
    content: [h('p', { text: `The files as they were on ${fullTime(instant(item.created_at))} can then not be brought back.` })],
    action: async () => {
      await remove(`/api/snapshots/${encodeURIComponent(item.id)}`);
      failure.set(null);
      await reload();
    },
  }));
  return row;
}
