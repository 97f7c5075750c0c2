// The dialog that moves a bot, deploys it anew or rolls it back: first what would happen, then how it goes, then what
// came of it. A deployment goes on by itself; the dialog can be closed and opened again.
import { allowed } from '../core/api.js';
import { modal, toast } from '../core/dialog.js';
import { h, setAttribute, setText, show } from '../core/dom.js';
import { refreshBot } from '../core/store.js';
import { choosing } from './choose.js';
import { ended } from './receipt.js';
import { running } from './progress.js';

/**
 * Opens the dialog for a bot: at the choice of a place (`wanted` to begin with), at the rollback of a deployment (`undo`), or
 * at a `deployment` that is under way.
 */
export function openDeploy({ botID, path, undo = null, wanted = null, deployment = null }) {
  const heading = h('h2', { id: 'deploy-title', tabindex: '-1' });
  const lead = h('p', { class: 'quiet small' });
  const body = h('div', { class: 'deploy-body' });
  const foot = h('div', { class: 'deploy-foot' });
  const dialog = h('dialog', { class: 'deploy', 'aria-labelledby': 'deploy-title' }, h('div', { class: 'deploy-head' }, heading, lead), body, foot);
  let stage = null, isUnderWay = false;

  function turn(page, underWay = false) {
    stage?.abort();
    stage = new AbortController();
    isUnderWay = underWay;
    page({
      signal: stage.signal, body, foot, close: () => dialog.close(),
      title: (text) => setText(heading, text),
      lead: (text) => {
        setText(lead, text);
        show(lead, Boolean(text));
      },
      run: (begun) => turn((frame) => running(frame, { deployment: begun }), true),
      end: finish,
    });
    setAttribute(dialog, 'data-stage', underWay ? 'running' : 'still');
    dialog.scrollTop = 0;
    if (dialog.open) heading.focus({ preventScroll: true });
  }
  const choose = (choice) => turn((frame) => choosing(frame, { botID, path, ...choice }));
  function finish(known) {
    refreshBot(botID);
    const mayUndo = allowed('operator');
    turn((frame) => ended(frame, known, {
      again: () => choose({ wanted: known.deployment.target }),
      undo: mayUndo ? () => choose({ undo: known.deployment }) : null,
    }));
  }
  if (deployment) turn((frame) => running(frame, { deployment }), true);
  else choose({ undo, wanted });
  modal(dialog).then(() => {
    if (isUnderWay) toast('It goes on. The bot’s page shows how far it is.');
    stage.abort();
  });
  heading.focus({ preventScroll: true });
}
