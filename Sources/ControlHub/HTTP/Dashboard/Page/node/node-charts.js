// A node's figures over time.
import { bytes, milliseconds, percent } from '../core/format.js';
import { nodes, subscribe } from '../core/store.js';
import { chart } from '../parts/chart.js';
import { historyPanel, rate } from '../parts/history.js';
import { fullestDisk, usedPercent } from '../parts/pieces.js';

const perSecond = (value) => `${bytes(value)}/s`;
const first = (...values) => values.find(Number.isFinite) ?? NaN;

export function nodeCharts({ id, signal }) {
  const charts = [
    { chart: chart({ title: 'CPU', format: percent, ceiling: 100, fixed: true }), of: (point) => [first(point.cpu_percent)] },
    { chart: chart({ title: 'Memory used', format: percent, ceiling: 100, fixed: true }), of: (point) => [first(point.memory_percent, point.memory_used_percent, memoryOf(point))] },
    { chart: chart({ title: 'Fullest disk', format: percent, ceiling: 100, fixed: true }), of: (point) => [first(point.disk_used_percent, point.disk_percent, diskOf(point))] },
    { chart: chart({ title: 'Network', format: perSecond, ceiling: 1024, series: ['in', 'out'] }), of: networkOf },
    { chart: chart({ title: 'Round trip', format: milliseconds, ceiling: 1 }), of: (point) => [first(point.link_rtt_ms)] },
    { chart: chart({ title: 'Load', format: (value) => value.toFixed(2), ceiling: 1 }), of: (point) => [first(point.load_1m)] },
    { chart: chart({ title: 'Temperature', format: (value) => `${value.toFixed(0)} °C`, ceiling: 50, isOptional: true }), of: (point) => [first(point.temperature_celsius, hottest(point))] },
  ];
  let lastSeen = null;
  const live = (listener) => subscribe(() => {
    const node = nodes.get(id);
    if (!node?.resources || node.last_seen_at === lastSeen) return;
    lastSeen = node.last_seen_at;
    listener({ ...node.resources, at: node.last_seen_at, link_rtt_ms: node.link_rtt_ms });
  });
  return historyPanel({ signal, path: `/api/nodes/${encodeURIComponent(id)}/resources`, charts, live });
}

const hottest = (point) => Math.max(...(point.temperatures ?? []).map((sensor) => sensor.celsius), -Infinity);
const memoryOf = (point) => (Number.isFinite(point.memory_used_bytes) && point.memory_total_bytes
  ? (100 * point.memory_used_bytes) / point.memory_total_bytes : usedPercent(point.memory_total_bytes, point.memory_available_bytes));

function diskOf(point) {
  if (point.disk_total_bytes) return usedPercent(point.disk_total_bytes, point.disk_available_bytes);
  const disk = fullestDisk(point);
  return disk ? usedPercent(disk.total_bytes, disk.available_bytes) : NaN;
}

const networkOf = (point, previous) => [
  first(point.network_received_bytes_per_second, rate(point, previous, 'network_received_bytes_total')),
  first(point.network_transmitted_bytes_per_second, rate(point, previous, 'network_transmitted_bytes_total')),
];
