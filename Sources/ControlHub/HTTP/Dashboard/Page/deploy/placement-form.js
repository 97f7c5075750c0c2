// Where a bot is to go: the nodes with what they have, and the profiles of the chosen one with what they offer.
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { bytes, limitText, plural } from '../core/format.js';
import { botsOf, nodes, subscribe } from '../core/store.js';
import { isDraining, isRevoked, parseQuery } from '../fleet/filter.js';
import { byName, fullestDisk } from '../parts/pieces.js';
import { badge } from '../parts/state.js';

/** More nodes than these are found by searching; a search field is shown where there are more than a few. */
const mostRows = 40, fewNodes = 6;

/**
 * A form part with a `value` of `{node_id, runtime_profile, image?, force?}`. `onChange()` is called when that changes.
 * `source` is where the bot is now; `wanted` is what is chosen at first.
 */
export function placementForm({ source, wanted, onChange, signal }) {
  const chosen = { node: wanted?.node_id ?? source.node_id, profile: wanted?.runtime_profile ?? source.runtime_profile, force: false };
  const search = h('input', { type: 'search', class: 'slim', placeholder: 'Search nodes', 'aria-label': 'Search nodes', autocomplete: 'off', spellcheck: 'false' });
  const nodeList = h('div', { class: 'choices nodes' });
  const more = h('p', { class: 'caption' });
  const profileList = h('div', { class: 'choices' });
  const noProfile = h('p', { class: 'quiet small', text: 'This node has not told yet what it can run. It does so when it connects.' });
  const image = h('input', { id: 'deploy-image', autocomplete: 'off', spellcheck: 'false', maxlength: '512', value: wanted?.image });
  const imagePart = h('div', { class: 'field' }, h('label', { for: 'deploy-image', text: 'Image' }), image,
    h('p', { class: 'help', text: 'Left empty, the profile’s own. The node pulls it if it is not there.' }));
  const force = h('input', { type: 'checkbox', id: 'deploy-force' });
  const forcePart = h('div', { class: 'notice' }, h('div', { class: 'check' }, force, h('label', { for: 'deploy-force', text: 'Go without the node it is on' })),
    h('p', { class: 'small', text: 'For a node that does not come back. What is carried over, how old that is and what is lost stands in the checks. The old copy is never started again by itself.' }));
  const element = h('div', { class: 'stack' },
    h('fieldset', { class: 'stack tight' }, h('legend', { text: 'Node' }), search, nodeList, more),
    h('fieldset', { class: 'stack tight' }, h('legend', { text: 'Runtime profile' }), profileList, noProfile), imagePart, forcePart);

  const profiles = () => nodes.get(chosen.node)?.runtime_profiles ?? [];
  const isDocker = () => profiles().find((profile) => profile.name === chosen.profile)?.backend === 'docker';
  const isMove = () => chosen.node !== source.node_id;
  const isSourceAway = () => nodes.get(source.node_id)?.health !== 'online';

  Object.defineProperty(element, 'value', { get: () => ({
    node_id: chosen.node, runtime_profile: chosen.profile,
    ...(isDocker() && image.value.trim() ? { image: image.value.trim() } : {}),
    ...(chosen.force && isMove() ? { force: true } : {}),
  }) });

  // The order is made once and at each search, so that no row moves while figures come in.
  let order = [];
  function find() {
    const matches = parseQuery(search.value);
    const rank = (node) => (node.id === source.node_id ? 0 : isRevoked(node) ? 4 : node.health !== 'online' ? 3 : isDraining(node) ? 2 : 1);
    const found = [...nodes.values()].filter((node) => node.id === chosen.node || matches(node, botsOf(node.id)))
      .sort((one, other) => rank(one) - rank(other) || byName(one, other));
    order = found.slice(0, mostRows).map((node) => node.id);
    setText(more, found.length > mostRows ? `and ${plural(found.length - mostRows, 'more node')}: search for it` : '');
    show(more, found.length > mostRows);
    draw();
  }
  search.addEventListener('input', find);

  function draw() {
    show(search, nodes.size > fewNodes);
    keyed(nodeList, order.map((id) => nodes.get(id)).filter(Boolean), (node) => node.id, () => nodeChoice({ chosen, source, choose: chooseNode }));
    const offered = profiles();
    keyed(profileList, offered, (profile) => profile.name, () => profileChoice({ chosen, source, choose: chooseProfile }));
    show(noProfile, offered.length === 0);
    show(imagePart, isDocker());
    setAttribute(image, 'placeholder', offered.find((profile) => profile.name === chosen.profile)?.image ?? null);
    show(forcePart, isMove() && (isSourceAway() || chosen.force));
  }

  function chooseNode(id) {
    chosen.node = id;
    const offered = profiles();
    // The same profile where there is one of that name, else one that can be used.
    const kept = offered.find((profile) => profile.name === source.runtime_profile && profile.usable);
    chosen.profile = (kept ?? offered.find((profile) => profile.usable) ?? offered[0])?.name ?? source.runtime_profile;
    image.value = '';
    draw();
    onChange();
  }
  function chooseProfile(name) {
    chosen.profile = name;
    draw();
    onChange();
  }
  force.addEventListener('change', () => {
    chosen.force = force.checked;
    onChange();
  });
  image.addEventListener('change', onChange);
  signal.addEventListener('abort', subscribe(draw));
  find();
  return element;
}

let choices = 0;

function choice(name, value, choose) {
  const id = `choice-${choices += 1}`;
  // Called by its title alone; the rest describes it.
  const input = h('input', { type: 'radio', name, value, 'aria-labelledby': `${id}-title`, 'aria-describedby': `${id}-note ${id}-lines`, on: { change: () => choose(value) } });
  const title = h('span', { class: 'choice-title', id: `${id}-title` }), note = h('span', { id: `${id}-note` }), lines = h('span', { class: 'choice-lines', id: `${id}-lines` });
  const element = h('label', { class: 'choice' }, input, title, note, lines);
  return { element, input, title, note, lines };
}

function nodeChoice({ chosen, source, choose }) {
  let parts = null;
  const state = badge(), here = h('span', { class: 'label', text: 'here now' }), name = h('strong', { class: 'cut' });
  const room = h('span', { class: 'caption' }), reason = h('span', { class: 'caption wrap' });
  const element = h('label', { class: 'choice' });
  element.update = (node) => {
    if (!parts) {
      parts = choice('deploy-node', node.id, choose);
      parts.title.append(name, here);
      parts.note.append(state);
      parts.lines.append(room, reason);
      element.append(...parts.element.childNodes);
    }
    setText(name, node.name || node.host_name || node.id);
    show(here, node.id === source.node_id);
    parts.input.checked = node.id === chosen.node;
    if (isDraining(node)) state.set('draining');
    else state.set(isRevoked(node) ? 'revoked' : node.health);
    setText(room, roomText(node));
    const isWell = node.health === 'online' && !isDraining(node);
    setText(reason, isWell ? '' : isDraining(node) ? 'Takes no bots until draining is ended.' : node.health_reason);
    show(reason, !isWell);
  };
  return element;
}

/** What is free on a node, and what runs there. */
function roomText(node) {
  const { resources } = node;
  const disk = fullestDisk(resources);
  return [
    resources?.memory_available_bytes && `${bytes(resources.memory_available_bytes)} memory free`,
    disk && `${bytes(disk.available_bytes)} disk free`,
    plural(botsOf(node.id).length, 'bot'),
  ].filter(Boolean).join(' · ');
}

function profileChoice({ chosen, source, choose }) {
  let parts = null;
  const name = h('strong', { class: 'cut' }), here = h('span', { class: 'label', text: 'as now' }), kind = h('span', { class: 'caption' });
  const state = badge(), what = h('code', { class: 'caption wrap' }), rules = h('span', { class: 'caption' }), reason = h('span', { class: 'caption wrap bad' });
  const element = h('label', { class: 'choice' });
  element.update = (profile) => {
    if (!parts) {
      parts = choice('deploy-profile', profile.name, choose);
      parts.title.append(name, kind, here);
      parts.note.append(state);
      parts.lines.append(what, rules, reason);
      element.append(...parts.element.childNodes);
    }
    setText(name, profile.name);
    show(here, chosen.node === source.node_id && profile.name === source.runtime_profile);
    setText(kind, profileKind(profile));
    parts.input.checked = profile.name === chosen.profile;
    state.set(profile.usable ? 'ok' : 'failed', profile.usable ? 'Usable' : 'Not usable');
    setText(what, profile.description);
    show(what, Boolean(profile.description));
    setText(rules, profileRules(profile));
    show(rules, Boolean(rules.textContent));
    setText(reason, profile.reason);
    show(reason, Boolean(profile.reason));
  };
  return element;
}

/** What a profile runs bots with: `native · nanobot 0.1.4`, `docker 20.10.24 · image present`. */
export const profileKind = (profile) => [
  [profile.backend, profile.backend_version].filter(Boolean).join(' '), [profile.engine, profile.engine_version].filter(Boolean).join(' '),
  profile.image && (profile.image_present ? 'image is on the node' : 'image is pulled first'),
].filter(Boolean).join(' · ');

/** What a profile gives and forbids. */
export const profileRules = (profile) => [
  profile.restart_policy && `restart ${profile.restart_policy}`, profile.user && `as ${profile.user}`, profile.network && `network ${profile.network}`,
  ...Object.entries(profile.limits ?? {}).map(([resource, value]) => `${limitText(resource, value)}${/bytes|milli/.test(resource) ? '' : ` ${resource.replaceAll('_', ' ')}`}`),
].filter(Boolean).join(' · ');
