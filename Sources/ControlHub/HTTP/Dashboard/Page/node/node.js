// One node: what it is, how it is, and what runs on it.
import { allowed } from '../core/api.js';
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { bytes, milliseconds, percent, span, timeElement } from '../core/format.js';
import { botsOf, nodes, refreshNode, status, subscribe } from '../core/store.js';
import { profileKind, profileRules } from '../deploy/placement-form.js';
import { happeningsList } from '../parts/happenings-list.js';
import { botLine, byName, crumbs, facts, labelTexts, link, meter, pageHead, problem, section, setUsage } from '../parts/pieces.js';
import { badge, glyph, reasonText, stateLine, tone, word } from '../parts/state.js';
import { nodeActions } from './node-actions.js';
import { nodeCharts } from './node-charts.js';
import { nodePolicy } from './node-policy.js';
import { intakeProblems } from './intake-problems.js';
import { quarantineNotice } from './quarantine.js';
import { straysSection } from './strays.js';

/** What events leave out (disks, profiles) is asked for this often while the page is open. */
const refreshMilliseconds = 30000;

export function nodeView(container, { id, signal, setTitle }) {
  const failure = problem();
  const newBot = link(`#/add-bot?node=${encodeURIComponent(id)}`, 'New bot', 'button primary');
  const actions = nodeActions(id, { signal, failure });
  const head = pageHead('Node', actions, newBot);
  const gone = h('p', { class: 'notice' }, 'There is no such node. ', link('#/', 'Show all nodes'));
  const health = stateLine();
  const labels = h('span', { class: 'labels' });
  const lead = h('div', { class: 'row' }, health, labels);
  const quarantine = quarantineNotice(id, { failure });
  const intake = intakeProblems();

  const stops = [stop('Link'), stop('Agent'), stop('Bots')];
  const way = h('section', { class: 'card way-card', 'aria-label': 'From the hub to the bots' }, ...stops);

  const cpu = meter('CPU', { isCalm: true }), memory = meter('Memory'), disks = h('div', { class: 'meters inner' });
  const more = facts(['Load', 'Swap', 'Network', 'Temperature', 'Limits', 'Started', 'Agent memory']);
  const started = timeElement('ago');
  const resources = section('Now', h('div', { class: 'stack' }, h('div', { class: 'meters' }, cpu, memory, disks), more));

  const botList = h('ul', { class: 'rows' });
  const noBots = h('p', { class: 'quiet' }, 'Nothing runs here yet. ', allowed('operator') && link(`#/add-bot?node=${encodeURIComponent(id)}`, 'Create a bot on this node'));
  const profiles = h('ul', { class: 'rows' });
  const noProfiles = h('p', { class: 'quiet', text: 'The node has not told yet what it can run. It does so when it connects.' });
  const identity = facts(['Node id', 'Host name', 'System', 'Kernel', 'Architecture', 'Agent version', 'Address', 'Connected', 'Last seen', 'Added', 'Round trip', 'Clock', 'Session'], { list: true });
  const connected = timeElement('ago'), seen = timeElement('ago'), added = timeElement('ago');
  const policy = nodePolicy();
  const strays = straysSection(id, { signal });
  const events = section('Events', happeningsList({
    signal, matches: (item) => item.node_id === id, query: `&node_id=${encodeURIComponent(id)}`, limit: 12, nothing: 'Nothing has happened here since this page was opened.',
  }));

  const body = h('div', { class: 'stack' }, way, intake, h('div', { class: 'columns' },
    h('div', { class: 'stack' }, section('Bots', botList, noBots), strays, resources, nodeCharts({ id, signal }), events),
    h('div', { class: 'stack' }, section('Identity', identity), section('Runtime profiles', profiles, noProfiles), policy)));
  container.append(crumbs(link('#/', 'Nodes')), head, lead, failure, gone, quarantine, body);

  refreshNode(id);
  const timer = setInterval(() => { if (!document.hidden) refreshNode(id); }, refreshMilliseconds);
  signal.addEventListener('abort', () => clearInterval(timer));
  signal.addEventListener('abort', subscribe(() => {
    const node = nodes.get(id);
    if (status.error && !node) failure.set(status.error);
    show(gone, status.loaded && !node);
    for (const part of [body, lead]) show(part, Boolean(node));
    if (actions) show(actions, Boolean(node));
    show(newBot, Boolean(node) && allowed('operator'));
    if (!node?.quarantine) show(quarantine, false);
    if (!node) return;
    const name = node.name || node.host_name || node.id;
    setTitle(name);
    setText(head.heading, name);
    health.set(node.health, node.health_reason, node.health_since);
    keyed(labels, labelTexts(node), (text) => text, labelElement);
    quarantine.set(node);
    intake.set(node);
    stops[0].set(node.link);
    stops[1].set(node.agent);
    stops[2].set(node.workload);
    tellResources(node.resources ?? {});
    const own = [...botsOf(id)].sort(byName);
    keyed(botList, own, (bot) => bot.id, botLine);
    show(noBots, own.length === 0);
    keyed(profiles, node.runtime_profiles ?? [], (profile) => profile.name, profileRow);
    show(noProfiles, !node.runtime_profiles?.length);
    policy.set(node);
    strays.set(node);
    tellIdentity(node);
  }));

  function tellResources(value) {
    cpu.set(value.cpu_percent ?? NaN, percent(value.cpu_percent), value.cpu_count ? `${value.cpu_count} ${value.cpu_count === 1 ? 'core' : 'cores'}` : '');
    setUsage(memory, value.memory_total_bytes, value.memory_available_bytes);
    keyed(disks, value.disks ?? [], (disk) => disk.mount_point, diskMeter);
    more.set('Load', Number.isFinite(value.load_1m) ? [value.load_1m, value.load_5m, value.load_15m].map((load) => Number(load ?? 0).toFixed(2)).join('  ') : '');
    more.set('Swap', value.swap_total_bytes ? `${bytes(value.swap_total_bytes - (value.swap_free_bytes ?? 0))} of ${bytes(value.swap_total_bytes)} used` : '');
    more.set('Network', Number.isFinite(value.network_received_bytes_total) ? `${bytes(value.network_received_bytes_total)} in, ${bytes(value.network_transmitted_bytes_total)} out since boot` : '');
    const hottest = [...(value.temperatures ?? [])].sort((one, other) => other.celsius - one.celsius)[0];
    more.set('Temperature', hottest ? `${hottest.celsius.toFixed(0)} °C (${hottest.sensor})` : '');
    more.set('Limits', [value.cpu_limit_cores && `${value.cpu_limit_cores} cores`, value.memory_limit_bytes && bytes(value.memory_limit_bytes)].filter(Boolean).join(', '));
    started.set(value.boot_at);
    more.set('Started', value.boot_at ? started : '');
    more.set('Agent memory', value.agent_rss_bytes ? bytes(value.agent_rss_bytes) : '');
  }

  function tellIdentity(node) {
    connected.set(node.connected_at);
    seen.set(node.last_seen_at);
    added.set(node.created_at);
    identity.set('Node id', node.id);
    identity.set('Host name', node.host_name);
    identity.set('System', node.os_version || node.os);
    identity.set('Kernel', node.kernel);
    identity.set('Architecture', node.architecture);
    identity.set('Agent version', node.agent_version);
    identity.set('Address', node.remote_address);
    identity.set('Connected', node.connected_at ? connected : '');
    identity.set('Last seen', node.last_seen_at ? seen : 'never');
    identity.set('Added', node.created_at ? added : '');
    identity.set('Round trip', Number.isFinite(node.link_rtt_ms) ? milliseconds(node.link_rtt_ms) : '');
    identity.set('Clock', clockText(node.clock_offset_ms));
    identity.set('Session', node.session_epoch ? `number ${node.session_epoch}` : '');
  }
}

/** One station of the way from the hub to the bots. */
function stop(title) {
  const mark = glyph();
  const state = h('p', { class: 'state' });
  const reason = h('p', { class: 'small wrap' });
  const since = timeElement('for');
  const lasting = h('p', { class: 'caption' }, 'for ', since);
  const element = h('div', {}, h('p', { class: 'stop' }, mark, h('span', { text: title })), state, reason, lasting);
  element.set = (fact) => {
    const name = fact?.state ?? 'unknown';
    mark.set(tone(name));
    setAttribute(element, 'data-tone', tone(name));
    setText(state, word(name));
    setText(reason, reasonText(fact?.reason));
    since.set(fact?.since);
    show(lasting, Boolean(fact?.since));
  };
  return element;
}

function labelElement(text) {
  const element = h('a', { class: 'label cut', text, href: `#/?q=${encodeURIComponent(`label:${text}`)}` });
  element.update = () => {};
  return element;
}

function clockText(offset) {
  if (!Number.isFinite(offset)) return '';
  if (Math.abs(offset) < 1000) return 'agrees with the hub';
  return `${span(Math.abs(offset))} ${offset > 0 ? 'ahead of' : 'behind'} the hub; set the time on the node`;
}

function diskMeter(disk) {
  const element = meter(`Disk ${disk.mount_point}`);
  element.update = (value) => setUsage(element, value.total_bytes, value.available_bytes);
  return element;
}

function profileRow() {
  const name = h('strong');
  const version = h('span', { class: 'quiet small' });
  const usable = badge();
  const description = h('code', { class: 'wrap small' });
  const reason = h('p', { class: 'small' }), rules = h('p', { class: 'caption' });
  const row = h('li', { class: 'stack tight' }, h('div', { class: 'row-head' }, name, version, usable), description, rules, reason);
  row.update = (profile) => {
    setText(name, profile.name);
    setText(version, profileKind(profile));
    usable.set(profile.usable ? 'ok' : 'failed', profile.usable ? 'Usable' : 'Not usable');
    setText(description, profile.description);
    show(description, Boolean(profile.description));
    setText(rules, profileRules(profile));
    show(rules, Boolean(rules.textContent));
    setText(reason, reasonText(profile.reason));
    show(reason, Boolean(profile.reason));
  };
  return row;
}
