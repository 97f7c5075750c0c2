// What a bot uses, over its whole tree of processes.
import { bytes, instant, percent, timeElement } from '../core/format.js';
import { h, show } from '../core/dom.js';
import { bots, refreshBot, subscribe } from '../core/store.js';
import { chart } from '../parts/chart.js';
import { historyPanel, rate } from '../parts/history.js';
import { facts } from '../parts/pieces.js';

/** Bots' figures come with their node's heartbeats; events do not carry them. */
const refreshMilliseconds = 5000;
const first = (...values) => values.find(Number.isFinite) ?? NaN;
const memoryOf = (usage) => first(usage.pss_bytes, usage.cgroup_memory_bytes, usage.rss_bytes);

const figures = [
  ['CPU', (usage) => (Number.isFinite(usage.cpu_percent) ? percent(usage.cpu_percent) : '')],
  ['CPU time', (usage) => (Number.isFinite(usage.cpu_seconds_total) ? `${usage.cpu_seconds_total.toFixed(1)} s` : '')],
  ['Memory of its own', (usage) => known(usage.pss_bytes, bytes)],
  ['Resident memory', (usage) => known(usage.rss_bytes, bytes)],
  ['Memory of its group', (usage) => known(usage.cgroup_memory_bytes, bytes)],
  ['Read', (usage) => known(usage.io_read_bytes_total, bytes)],
  ['Written', (usage) => known(usage.io_written_bytes_total, bytes)],
  ['Processes', (usage) => usage.process_count || ''],
  ['Threads', (usage) => usage.thread_count || ''],
  ['Open files', (usage) => usage.open_file_count || ''],
  ['Counted by', (usage) => ({ cgroup2: 'control group', cgroup1: 'control group (v1)', processes: 'its processes' })[usage.cpu_source] ?? usage.cpu_source],
];
const known = (value, format) => (Number.isFinite(value) ? format(value) : '');

export function usagePanel(container, { id, path, signal }) {
  const list = facts(figures.map(([title]) => title));
  const sampled = timeElement('ago');
  const when = h('p', { class: 'caption' }, 'Measured on the node ', sampled);
  const none = h('p', { class: 'quiet', text: 'No figures yet. They come with the node’s heartbeats while the bot runs.' });
  const charts = [
    { chart: chart({ title: 'CPU', format: percent, ceiling: 10 }), of: (point) => [first(point.cpu_percent)] },
    { chart: chart({ title: 'Memory', format: bytes, ceiling: 16 << 20 }), of: (point) => [memoryOf(point)] },
    { chart: chart({ title: 'Disk', format: (value) => `${bytes(value)}/s`, ceiling: 1024, series: ['read', 'written'] }),
      of: (point, previous) => [rate(point, previous, 'io_read_bytes_total'), rate(point, previous, 'io_written_bytes_total')] },
  ];
  let last = null;
  const live = (listener) => subscribe(() => {
    const usage = bots.get(id)?.usage;
    const at = usage?.sampled_at ?? null;
    if (!at || at === last) return;
    last = at;
    listener({ ...usage, at });
  });
  container.append(h('section', { class: 'card stack' }, h('h2', { text: 'Now' }), list, none, when), historyPanel({ signal, path: `${path}/resources`, charts, live, isLiveOnly: true }));
  const timer = setInterval(() => { if (!document.hidden) refreshBot(id); }, refreshMilliseconds);
  signal.addEventListener('abort', () => clearInterval(timer));
  refreshBot(id);
  signal.addEventListener('abort', subscribe(() => {
    const usage = bots.get(id)?.usage;
    for (const [title, figure] of figures) list.set(title, usage ? figure(usage) : '');
    show(none, !usage);
    show(when, !Number.isNaN(instant(usage?.sampled_at)));
    sampled.set(usage?.sampled_at);
  }));
}
