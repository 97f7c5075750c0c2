// What a bot uses, over its whole tree of processes.
import { bytes, percent } from '../core/format.js';
import { h, show } from '../core/dom.js';
import { bots, subscribe } from '../core/store.js';
import { chart } from '../parts/chart.js';
import { historyPanel, rate } from '../parts/history.js';
import { facts } from '../parts/pieces.js';
import { sentence } from '../parts/state.js';

const first = (...values) => values.find(Number.isFinite) ?? NaN;
const memoryOf = (point) => first(point.memory_bytes, point.pss_bytes, point.rss_bytes);

export function usagePanel(container, { id, path, signal }) {
  const list = facts([]);
  const none = h('p', { class: 'quiet', text: 'No figures yet. They come with the node’s heartbeats while the bot runs.' });
  const charts = [
    { chart: chart({ title: 'CPU', format: percent, ceiling: 10 }), of: (point) => [first(point.cpu_percent)] },
    { chart: chart({ title: 'Memory', format: bytes, ceiling: 16 << 20 }), of: (point) => [memoryOf(point)] },
    { chart: chart({ title: 'Disk', format: (value) => `${bytes(value)}/s`, ceiling: 1024, series: ['read', 'written'] }), of: (point, previous) => [
      first(point.io_read_bytes_per_second, rate(point, previous, 'io_read_bytes'), rate(point, previous, 'io_read_bytes_total')),
      first(point.io_write_bytes_per_second, rate(point, previous, 'io_write_bytes'), rate(point, previous, 'io_write_bytes_total')),
    ] },
  ];
  let last = null;
  const live = (listener) => subscribe(() => {
    const usage = bots.get(id)?.usage;
    const description = JSON.stringify(usage ?? null);
    if (!usage || description === last) return;
    last = description;
    listener({ ...usage, at: usage.at ?? new Date().toISOString() });
  });
  container.append(h('section', { class: 'card' }, h('h2', { text: 'Now' }), list, none), historyPanel({ signal, path: `${path}/resources`, charts, live }));
  signal.addEventListener('abort', subscribe(() => {
    const usage = bots.get(id)?.usage ?? {};
    let count = 0;
    for (const [name, value] of Object.entries(usage)) {
      if (name === 'at' || name.endsWith('_id') || value === null || typeof value === 'object') continue;
      count += 1;
      list.set(title(name), figure(name, value));
    }
    show(none, count === 0);
  }));
}

const title = (name) => sentence(name.replace(/_(bytes|percent)(?=_|$)/, '').replace(/_total$/, '')).replace(/^(Cpu|Rss|Pss|Io)\b/, (word) => word.toUpperCase());

function figure(name, value) {
  if (name.includes('bytes')) return bytes(value);
  if (name.includes('percent')) return percent(value);
  if (name.includes('seconds')) return `${Number(value).toFixed(1)} s`;
  return String(value);
}
