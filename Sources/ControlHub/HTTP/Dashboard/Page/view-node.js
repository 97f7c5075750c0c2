// One node: what it is, how it is, and what runs on it.
import { allowed } from './api.js';
import { h, keyed, setAttribute, setText, show } from './dom.js';
import { bytes, span, timeElement } from './format.js';
import { badge, botLine, byName, facts, fullestDisk, link, meter, nodeFigures, pageHead, problem, setUsage, stateLine } from './parts.js';
import { bots, nodes, status, subscribe } from './store.js';

export function nodeView(container, { id, signal, setTitle }) {
  const newBot = link(`#/add-bot?node=${encodeURIComponent(id)}`, 'New bot', 'button primary');
  const head = pageHead('Node', newBot);
  const failure = problem();
  const gone = h('p', { class: 'notice' }, 'There is no such node. ', link('#/', 'Show all nodes'));
  const body = h('div', { class: 'stack' });
  const health = stateLine();

  const linkState = stateLine(), agentState = stateLine(), workloadState = stateLine();
  const layers = h('dl', { class: 'layers' },
    h('div', {}, h('dt', { text: 'Link' }), h('dd', {}, linkState)),
    h('div', {}, h('dt', { text: 'Agent' }), h('dd', {}, agentState)),
    h('div', {}, h('dt', { text: 'Bots' }), h('dd', {}, workloadState)));

  const figures = nodeFigures();
  const disks = h('div', { class: 'disks' });
  const more = facts(['Load', 'Swap', 'Network', 'Started', 'Agent memory']);
  const since = timeElement('ago');

  const botList = h('ul', { class: 'rows' });
  const noBots = h('p', { class: 'muted' }, 'Nothing runs here yet. ',
    allowed('operator') && link(`#/add-bot?node=${encodeURIComponent(id)}`, 'Create a bot on this node'));

  const profiles = h('ul', { class: 'rows' });
  const noProfiles = h('p', { class: 'muted', text: 'The node has not told yet what it can run. It does so when it connects.' });

  const identity = facts(['Node id', 'Host name', 'System', 'Kernel', 'Architecture', 'Agent version', 'Address', 'Connected', 'Last seen', 'Added', 'Round trip', 'Clock']);
  const connected = timeElement('ago'), seen = timeElement('ago'), added = timeElement('ago');

  body.append(
    section('Health', layers),
    section('Resources', figures, disks, more),
    section('Bots', botList, noBots),
    section('Runtime profiles', profiles, noProfiles),
    section('Identity', identity));
  container.append(head, h('p', { class: 'lead' }, health), failure, gone, body);

  signal.addEventListener('abort', subscribe(() => {
    const node = nodes.get(id);
    failure.set(status.error);
    show(gone, status.loaded && !node);
    show(body, Boolean(node));
    show(newBot, Boolean(node) && allowed('operator'));
    show(health, Boolean(node));
    if (!node) return;
    const name = node.name || node.host_name || node.id;
    setTitle(name);
    setText(head.heading, name);
    health.set(node.health, node.health_reason, node.health_since);
    linkState.set(node.link?.state, node.link?.reason, node.link?.since);
    agentState.set(node.agent?.state, node.agent?.reason, node.agent?.since);
    workloadState.set(node.workload?.state, node.workload?.reason, node.workload?.since);

    const resources = node.resources ?? {};
    figures.set(node);
    const allDisks = resources.disks ?? [];
    const fullest = fullestDisk(resources);
    keyed(disks, allDisks.filter((disk) => disk !== fullest), (disk) => disk.mount_point, diskMeter);
    more.set('Load', Number.isFinite(resources.load_1m)
      ? [resources.load_1m, resources.load_5m, resources.load_15m].map((load) => Number(load ?? 0).toFixed(2)).join('  ') : '');
    more.set('Swap', resources.swap_total_bytes
      ? `${bytes(resources.swap_total_bytes - (resources.swap_free_bytes ?? 0))} of ${bytes(resources.swap_total_bytes)} used` : '');
    more.set('Network', Number.isFinite(resources.network_received_bytes_total)
      ? `${bytes(resources.network_received_bytes_total)} in, ${bytes(resources.network_transmitted_bytes_total)} out since boot` : '');
    since.set(resources.boot_at);
    more.set('Started', resources.boot_at ? since : '');
    more.set('Agent memory', resources.agent_rss_bytes ? bytes(resources.agent_rss_bytes) : '');

    const own = [...bots.values()].filter((bot) => bot.node_id === id).sort(byName);
    keyed(botList, own, (bot) => bot.id, botLine);
    show(noBots, own.length === 0);
    keyed(profiles, node.runtime_profiles ?? [], (profile) => profile.name, profileRow);
    show(noProfiles, !node.runtime_profiles?.length);

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
    identity.set('Round trip', Number.isFinite(node.link_rtt_ms) ? `${node.link_rtt_ms < 10 ? node.link_rtt_ms.toFixed(1) : Math.round(node.link_rtt_ms)} ms` : '');
    identity.set('Clock', clockText(node.clock_offset_ms));
  }));
}

export function section(title, ...content) {
  return h('section', { class: 'card' }, h('h2', { text: title }), ...content);
}

function clockText(offset) {
  if (!Number.isFinite(offset)) return '';
  if (Math.abs(offset) < 1000) return 'agrees with the hub';
  return `${span(Math.abs(offset))} ${offset > 0 ? 'ahead of' : 'behind'} the hub; set the time on the node`;
}

function diskMeter(disk) {
  const element = meter(disk.mount_point);
  element.update = (value) => setUsage(element, value.total_bytes, value.available_bytes);
  return element;
}

function profileRow() {
  const name = h('strong');
  const version = h('span', { class: 'muted' });
  const usable = badge();
  const description = h('code', { class: 'wrap' });
  const reason = h('p', { class: 'small' });
  const row = h('li', {}, h('div', { class: 'row-head' }, name, version, usable), description, reason);
  row.update = (profile) => {
    setText(name, profile.name);
    setText(version, [profile.backend, [profile.engine, profile.engine_version].filter(Boolean).join(' ')].filter(Boolean).join(' · '));
    usable.set(profile.usable ? 'ready' : 'failed');
    setText(usable, profile.usable ? 'Usable' : 'Not usable');
    setText(description, profile.description);
    show(description, Boolean(profile.description));
    setText(reason, profile.reason);
    show(reason, Boolean(profile.reason));
    setAttribute(row, 'data-usable', profile.usable ? null : 'false');
  };
  return row;
}
