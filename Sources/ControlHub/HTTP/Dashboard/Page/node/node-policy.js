// What the node's owner allows, as the node tells it. The hub can narrow it and never widen it.
import { h, setText, show } from '../core/dom.js';
import { facts } from '../parts/pieces.js';
import { sentence } from '../parts/state.js';

export function nodePolicy() {
  const list = facts([], { list: true });
  const none = h('p', { class: 'quiet small' });
  const element = h('section', { class: 'card' }, h('h2', { text: 'Policy' }),
    h('p', { class: 'caption', text: 'Set on the node by its owner; this hub cannot widen it.' }), list, none);
  let shown = null;
  element.set = (node) => {
    const { policy } = node;
    show(none, !policy);
    setText(none, node.health === 'never_seen' ? 'The node tells its policy when it connects.' : 'The agent on this node tells no policy.');
    const description = JSON.stringify(policy ?? null);
    if (description === shown) return;
    shown = description;
    for (const term of list.querySelectorAll('dt')) list.set(term.textContent, '');
    if (policy) list.set('File', policy.file ?? 'none: the standard rules hold');
    for (const [name, value] of Object.entries(flatten(policy?.rules ?? {}))) list.set(sentence(name), value);
  };
  return element;
}

/** A policy's rules as texts; members of members get both names. */
function flatten(value, prefix = '') {
  const rules = {};
  for (const [name, each] of Object.entries(value ?? {})) {
    const title = prefix ? `${prefix} ${name}` : name;
    if (each === null || each === undefined || each === '') continue;
    if (Array.isArray(each)) rules[title] = each.length ? each.map((item) => (typeof item === 'object' ? JSON.stringify(item) : String(item))).join('\n') : 'none';
    else if (typeof each === 'object') Object.assign(rules, flatten(each, title));
    else rules[title] = typeof each === 'boolean' ? (each ? 'allowed' : 'not allowed') : String(each);
  }
  return rules;
}
