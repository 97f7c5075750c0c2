// Two machines with one identity: the evidence, and the decision that only a person can make.
import { allowed, post } from '../core/api.js';
import { ask, tell, toast } from '../core/dialog.js';
import { h, setText, show } from '../core/dom.js';
import { nodes, put } from '../core/store.js';
import { copyable } from '../parts/pieces.js';
import { reasonText } from '../parts/state.js';

export function quarantineNotice(id, { failure }) {
  const who = h('p');
  const why = h('p', { class: 'small' });
  const clone = h('button', { type: 'button', class: 'slim', text: 'It is a clone…' });
  const moved = h('button', { type: 'button', class: 'slim', text: 'The node has moved there…' });
  const element = h('section', { class: 'notice', 'aria-label': 'Two machines with one identity' }, who, why,
    allowed('admin') ? h('div', { class: 'actions' }, clone, moved) : h('p', { class: 'small', text: 'An administrator decides which one is right.' }));
  element.hidden = true;
  element.set = (node) => {
    const found = node.quarantine;
    show(element, Boolean(found));
    if (!found) return;
    setText(who, `A second machine presents this node’s identity and is kept out: ${[found.host_name, found.remote_address].filter(Boolean).join(', ')}.`);
    setText(why, `${reasonText(found.reason)} It tried ${found.attempts} ${found.attempts === 1 ? 'time' : 'times'}.`);
  };

  async function decide(decision) {
    const answer = await post(`/api/nodes/${encodeURIComponent(id)}/quarantine`, { decision });
    if (answer.node) put(nodes, answer.node);
    failure.set(null);
    return answer;
  }
  clone.addEventListener('click', async () => {
    let answer = null;
    const done = await ask({
      title: 'Give the other machine an identity of its own?', confirm: 'Make a code for it',
      content: [h('p', { text: 'It is a copy of this one, such as a cloned disk. It gets a code and becomes a node of its own; this node stays as it is.' })],
      action: async () => { answer = await decide('clone'); },
    });
    if (done && answer.command) tell('Run this on the other machine', copyable(answer.command));
  });
  moved.addEventListener('click', async () => {
    const done = await ask({
      title: 'Has the node moved to the other machine?', confirm: 'Let it take over', danger: true,
      content: [h('p', { text: 'The other machine becomes this node, and the one that is connected now is cut off as the copy.' })],
      action: () => decide('moved'),
    });
    if (done) toast('The other machine takes over when it dials next.');
  });
  return element;
}
