// The list of nodes. Only the rows in sight exist, so that thousands cost no more than a few.
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { bytes, milliseconds, percent, timeElement } from '../core/format.js';
import { botsOf, structureVersion } from '../core/store.js';
import { byName, botLink, fullestDisk, labelTexts, nodeLink, setBar, usedPercent } from '../parts/pieces.js';
import { badge, wayLine } from '../parts/state.js';
import { isDraining } from './filter.js';

const columns = [
  ['attention', 'State'], ['name', 'Node'], ['cpu', 'CPU'], ['memory', 'Memory'], ['disk', 'Disk'], ['rtt', 'Round trip'], ['bots', 'Bots'],
];
/** The direction that a first press on a column's head asks for. */
const firstDirection = { cpu: '-', memory: '-', disk: '-', rtt: '-', bots: '-' };
const rowsBeyondSight = 6;
const mostSpare = 60;

/** `onSort(sort)` is called when a head is pressed. */
export function nodeTable({ signal, onSort }) {
  const heads = new Map();
  const headRow = h('div', { role: 'row', class: 'fleet-row fleet-head' });
  for (const [name, title] of columns) {
    const button = h('button', { type: 'button', text: title });
    button.addEventListener('click', () => {
      const { sort } = button.dataset;
      const first = `${firstDirection[name] ?? ''}${name}`;
      onSort(sort === first ? (first.startsWith('-') ? name : `-${name}`) : first);
    });
    const head = h('div', { role: 'columnheader', class: `cell-${name}` }, button);
    heads.set(name, { head, button });
    headRow.append(head);
  }
  const body = h('div', { role: 'rowgroup', class: 'fleet-body' });
  const element = h('div', { role: 'table', class: 'fleet-table', 'aria-label': 'Nodes' }, h('div', { role: 'rowgroup' }, headRow), body);

  let items = [];
  // Rows that have left the sight are used again: making one costs more than filling it.
  const spare = [];
  let rowHeight = 0;
  let frame = null;

  function render() {
    frame = null;
    if (!element.isConnected) return;
    const top = body.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / rowHeight) - rowsBeyondSight);
    const last = Math.min(items.length, Math.ceil((innerHeight - top) / rowHeight) + rowsBeyondSight);
    const shown = items.slice(first, Math.max(first, last)).map((node, index) => ({ node, index: first + index }));
    // The row with the focus stays, wherever it is.
    const focused = document.activeElement?.closest?.('.fleet-row')?.dataset.node;
    if (focused && !shown.some(({ node }) => node.id === focused)) {
      const index = items.findIndex((node) => node.id === focused);
      if (index >= 0) shown.splice(index < first ? 0 : shown.length, 0, { node: items[index], index });
    }
    keyed(body, shown, ({ node }) => node.id, () => spare.pop() ?? nodeRow(), spare);
    spare.length = Math.min(spare.length, mostSpare);
  }
  const renderSoon = () => { frame ??= requestAnimationFrame(render); };

  // Asking for a style makes the browser work it out for the whole page, so it is asked for only when it may have changed.
  function measure() {
    rowHeight = parseFloat(getComputedStyle(element).getPropertyValue('--row')) * parseFloat(getComputedStyle(document.documentElement).fontSize);
    setHeight();
  }
  const setHeight = () => {
    const height = `${items.length * rowHeight}px`;
    if (body.style.height !== height) body.style.height = height;
  };

  addEventListener('scroll', renderSoon, { passive: true, signal });
  addEventListener('resize', () => { measure(); renderSoon(); }, { passive: true, signal });
  signal.addEventListener('abort', () => cancelAnimationFrame(frame));

  body.addEventListener('keydown', (event) => {
    const row = event.target.closest('.fleet-row');
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (!row || !step) return;
    event.preventDefault();
    const at = items.findIndex((node) => node.id === row.dataset.node);
    focusRow(Math.max(0, Math.min(items.length - 1, at + step)));
  });

  function focusRow(index) {
    const top = body.getBoundingClientRect().top + scrollY + index * rowHeight;
    const margin = 90;
    if (top < scrollY + margin) scrollTo(scrollX, top - margin);
    else if (top + rowHeight > scrollY + innerHeight - margin) scrollTo(scrollX, top + rowHeight - innerHeight + margin);
    render();
    body.querySelector(`[data-node="${CSS.escape(items[index].id)}"] .fleet-name`)?.focus({ preventScroll: true });
  }

  /** Whether someone is about to press a row: then the order must not change under the pointer. */
  element.isHeld = () => body.matches(':hover') || body.contains(document.activeElement);

  element.set = (nodes, sort) => {
    items = nodes;
    // A few nodes may show more of themselves than two thousand.
    const density = nodes.length <= 12 ? 'roomy' : 'dense';
    const isOther = element.dataset.density !== density || !rowHeight;
    setAttribute(element, 'data-density', density);
    setAttribute(element, 'aria-rowcount', nodes.length + 1);
    for (const [name, { head, button }] of heads) {
      const isOwn = sort.replace('-', '') === name;
      setAttribute(head, 'aria-sort', isOwn ? (sort.startsWith('-') ? 'descending' : 'ascending') : null);
      button.dataset.sort = isOwn ? sort : '';
    }
    if (isOther) measure();
    else setHeight();
    render();
  };
  element.focusFirst = () => { if (items.length) focusRow(0); };
  return element;
}

function figureCell(name, title, isCalm = false) {
  const figure = h('span', { class: 'figure' });
  const fill = h('span', { class: 'meter-fill' });
  const cell = h('div', { role: 'cell', class: `cell-figure cell-${name}` },
    h('span', { class: 'cell-title', text: title }), figure, h('span', { class: 'meter-bar', 'aria-hidden': 'true' }, fill));
  cell.set = (share, note) => {
    setText(figure, percent(share));
    setBar(fill, share, isCalm);
    setAttribute(cell, 'title', note);
  };
  return cell;
}

const botChips = 4;

function nodeRow() {
  const name = h('a', { class: 'fleet-name cut' });
  const labels = h('span', { class: 'cut caption fleet-under' });
  const state = badge(), way = wayLine();
  const reason = h('span', { class: 'cut caption fleet-under' });
  const since = timeElement('for');
  const sinceText = h('span', { class: 'caption nowrap' }, since);
  const cpu = figureCell('cpu', 'CPU', true), memory = figureCell('memory', 'RAM'), disk = figureCell('disk', 'Disk');
  const trip = h('span', { class: 'figure' });
  const bots = h('span', { class: 'figure' });
  const chips = h('span', { class: 'fleet-bots' });
  const row = h('div', { role: 'row', class: 'fleet-row' },
    h('div', { role: 'cell', class: 'cell-attention' }, h('div', { class: 'fleet-state' }, state, sinceText), way),
    h('div', { role: 'cell', class: 'cell-name' }, name, labels, reason),
    cpu, memory, disk,
    h('div', { role: 'cell', class: 'cell-rtt' }, h('span', { class: 'cell-title', text: 'Round trip' }), trip),
    h('div', { role: 'cell', class: 'cell-bots' }, bots, chips));
  let place = null, shown = null, shownAt = -1;
  row.update = ({ node, index }) => {
    // A node that has changed is another object; its bots change with the store's structure.
    if (node === shown && index === place && shownAt === structureVersion()) return;
    if (node.id !== shown?.id) {
      row.dataset.node = node.id;
      name.href = nodeLink(node.id);
    }
    [shown, shownAt] = [node, structureVersion()];
    if (place !== index) {
      place = index;
      row.style.setProperty('--at', index);
      row.setAttribute('aria-rowindex', index + 2);
    }
    setText(name, node.name || node.host_name || node.id);
    const isFine = node.health === 'online' && !node.quarantine;
    state.set(node.quarantine ? 'quarantined' : node.revoked_at ? 'revoked' : node.health === 'online' && isDraining(node) ? 'draining' : node.health);
    setAttribute(row, 'data-health', node.health);
    since.set(node.health_since);
    way.set(node);
    const texts = labelTexts(node);
    setText(labels, texts.length ? texts.join(' · ') : [node.host_name !== node.name && node.host_name, node.os_version || node.os].filter(Boolean).join(' · '));
    const why = node.quarantine?.reason ?? (isFine ? '' : node.health_reason);
    setText(reason, why);
    setAttribute(reason, 'title', why || null);
    show(labels, !why);
    show(reason, Boolean(why));

    const resources = node.resources ?? {};
    cpu.set(resources.cpu_percent ?? NaN, resources.cpu_count ? `${resources.cpu_count} cores` : null);
    memory.set(usedPercent(resources.memory_total_bytes, resources.memory_available_bytes),
      resources.memory_total_bytes ? `${bytes(resources.memory_available_bytes)} free of ${bytes(resources.memory_total_bytes)}` : null);
    const fullest = fullestDisk(resources);
    disk.set(fullest ? usedPercent(fullest.total_bytes, fullest.available_bytes) : NaN,
      fullest ? `${fullest.mount_point}: ${bytes(fullest.available_bytes)} free of ${bytes(fullest.total_bytes)}` : null);
    setText(trip, milliseconds(node.link_rtt_ms));

    const own = botsOf(node.id);
    const running = own.filter((bot) => bot.phase === 'ready').length;
    setAttribute(bots, 'data-none', own.length === 0 ? 'true' : null);
    setText(bots, own.length === 0 ? 'No bots' : running === own.length ? `${own.length} running` : `${running} of ${own.length} run`);
    setAttribute(chips, 'data-stale', node.health === 'offline' ? 'true' : null);
    setAttribute(chips, 'title', node.health === 'offline' ? 'As last known: the node is away.' : null);
    keyed(chips, [...own].sort(byName).slice(0, botChips), (bot) => bot.id, botChip);
  };
  return row;
}

function botChip(first) {
  const state = badge({ chip: true });
  const element = h('a', { class: 'bot-chip', href: botLink(first.id) }, state);
  element.update = (bot) => {
    state.set(bot.phase, bot.name);
    setAttribute(element, 'title', bot.reason || null);
    setAttribute(element, 'aria-label', `${bot.name}, ${bot.phase}`);
  };
  return element;
}
