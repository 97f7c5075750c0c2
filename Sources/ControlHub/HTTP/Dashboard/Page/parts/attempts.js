// Machines that tried a pairing code and were refused: who, why, and what to do.
import { h, keyed, setText, show } from '../core/dom.js';
import { timeElement } from '../core/format.js';

const remedies = {
  enrollment_code_invalid: 'Copy the whole command from here again: a slip in the code makes it another one.',
  enrollment_code_used: 'A code works once. If this machine is to be a node too, make another code for it.',
  enrollment_code_expired: 'Make a new code and run the new command.',
};

/** `set(attempts)` with what the hub keeps of them, newest first; hidden while there are none. */
export function attemptList() {
  const rows = h('ul', { class: 'rows' });
  const element = h('div', { class: 'attempts stack tight', role: 'status' }, h('p', { class: 'attempts-title', text: 'A machine tried to pair and was refused' }), rows);
  element.hidden = true;
  element.set = (attempts) => {
    const all = attempts ?? [];
    keyed(rows, all, (attempt) => `${attempt.at} ${attempt.address} ${attempt.code}`, attemptRow);
    show(element, all.length > 0);
  };
  return element;
}

function attemptRow() {
  const who = h('strong', { class: 'wrap' }), when = timeElement('ago');
  const why = h('p', { class: 'small wrap' }), remedy = h('p', { class: 'small remedy' });
  const row = h('li', {}, h('div', { class: 'row-head' }, who, h('span', { class: 'caption' }, when)), why, remedy);
  row.update = (attempt) => {
    setText(who, [attempt.host_name, attempt.host_name ? `(${attempt.address})` : attempt.address].filter(Boolean).join(' '));
    when.set(attempt.at);
    setText(why, `${attempt.reason}${attempt.is_this_code ? '' : ' It may have been meant for this code.'}`);
    setText(remedy, remedies[attempt.code] ?? '');
    show(remedy, Boolean(remedy.textContent));
  };
  return row;
}
