// The first page of the dialog: where to, and what that would do.
import { post } from '../core/api.js';
import { announce, h, setAttribute, setText } from '../core/dom.js';
import { bots } from '../core/store.js';
import { problem } from '../parts/pieces.js';
import { placementForm } from './placement-form.js';
import { previewPanel } from './preview.js';
import { nodeName, placeText } from './words.js';

/** Choices often come in twos: a node and then its profile. */
const settleMilliseconds = 250;
/** A comparison reads what has changed in both workspaces. */
const previewMilliseconds = 10 * 60000, longMilliseconds = 4000;

/** `frame` is the dialog; `undo` is the deployment to go back before, `wanted` what to choose at first. */
export function choosing(frame, { botID, path, undo, wanted }) {
  const bot = bots.get(botID);
  const source = { node_id: bot.node_id, runtime_profile: bot.runtime_profile };
  const failure = problem();
  const preview = previewPanel();
  const confirm = h('button', { type: 'button', class: 'primary' });
  const cancel = h('button', { type: 'button', text: 'Cancel', on: { click: frame.close } });
  const form = undo ? fixedPlace(undo) : placementForm({ source, wanted, signal: frame.signal, onChange: () => look() });
  const isMove = () => form.value.node_id !== source.node_id;

  frame.title(undo ? `Roll ${bot.name} back` : `Move ${bot.name}, or deploy it anew`);
  frame.lead(`It is on ${placeText(source)} now. Nothing happens before you say so.`);
  frame.body.replaceChildren(h('div', { class: 'deploy-columns' }, h('div', { class: 'stack' }, form), preview));
  frame.foot.replaceChildren(failure, h('div', { class: 'actions' }, cancel, confirm));

  let round = 0, timer = null, slow = null, inFlight = null;
  function name() {
    setText(confirm, undo ? 'Roll back' : isMove() ? `Move to ${nodeName(form.value.node_id)}` : 'Deploy');
  }
  function look(delay = settleMilliseconds) {
    clearTimeout(timer);
    clearTimeout(slow);
    inFlight?.abort();
    const own = round += 1;
    confirm.disabled = true;
    name();
    preview.look(isMove() ? 'Looking at both nodes and comparing their files…' : 'Looking at the node…');
    timer = setTimeout(() => ask(own), delay);
    slow = setTimeout(() => preview.look('Still comparing: a workspace is read where it has changed since the last time…'), delay + longMilliseconds);
  }
  async function ask(own) {
    inFlight = new AbortController();
    try {
      const found = await post(`${path}/deploy`, { ...form.value, dry_run: true }, { signal: inFlight.signal, reads: true, timeout: previewMilliseconds });
      if (own !== round) return;
      preview.set(found, { isMove: isMove(), isRunning: bots.get(botID)?.desired_state === 'running' });
      confirm.disabled = !found.is_possible;
      const failed = found.checks.filter((check) => check.outcome === 'failed');
      announce(failed.length ? `It cannot go like this. ${failed.map((check) => `${check.message} ${check.remedy ?? ''}`).join(' ')}` : 'It can go.');
    } catch (error) {
      if (own === round && !frame.signal.aborted) preview.fail(error, () => look(0));
    } finally {
      if (own === round) clearTimeout(slow);
    }
  }
  frame.signal.addEventListener('abort', () => {
    round += 1;
    clearTimeout(timer);
    clearTimeout(slow);
    inFlight?.abort();
  });

  confirm.addEventListener('click', async () => {
    failure.set(null);
    confirm.disabled = true;
    setAttribute(confirm, 'aria-busy', 'true');
    try {
      const begun = undo
        ? await post(`${path}/rollback`, { deployment_id: undo.id }, { signal: frame.signal })
        : await post(`${path}/deploy`, form.value, { signal: frame.signal });
      frame.run(begun);
    } catch (error) {
      setAttribute(confirm, 'aria-busy', null);
      failure.set(error, () => {
        failure.set(null);
        look(0);
      });
    }
  });
  look(0);
}

/** What a rollback leads to cannot be chosen. */
function fixedPlace(undo) {
  const back = undo.source;
  const element = h('div', { class: 'stack tight' }, h('h3', { text: 'Back to' }), h('p', {}, h('strong', { text: placeText(back) })),
    h('p', { class: 'small quiet', text: 'Node, runtime profile, image and configuration become what they were before that release. So do the files, where the hub kept a snapshot of them then; otherwise they come along as they are now.' }));
  element.value = { node_id: back.node_id, runtime_profile: back.runtime_profile, ...(back.image ? { image: back.image } : {}) };
  return element;
}
