// Charts of what was used over time, by a node or by a bot: a range to choose, and the hub's history behind it.
import { get } from '../core/api.js';
import { h, setAttribute, setText } from '../core/dom.js';
import { instant } from '../core/format.js';
import { problem } from './pieces.js';

const hour = 3600000;
const ranges = [
  { name: '1 h', span: hour, step: 15 }, { name: '6 h', span: 6 * hour, step: 60 }, { name: '24 h', span: 24 * hour, step: 300 },
  { name: '7 d', span: 7 * 24 * hour, step: 1800 }, { name: '30 d', span: 30 * 24 * hour, step: 7200 },
];
/** As much as a page that is just being looked at has seen. */
const shortRange = { name: '15 min', span: hour / 4, step: 5 };
const leastSpan = hour / 30;
const refreshMilliseconds = 15000;

/**
 * - `path` answers `?since&step` with points; `charts` are `{chart, of(point, previous)}` where `of` gives the values.
 * - `live(listener)` tells of new points where the hub keeps no history; returns the undo. `isLiveOnly`: it never does.
 */
export function historyPanel({ signal, path, charts, live, isLiveOnly = false }) {
  let range = isLiveOnly ? shortRange : ranges[0];
  const buttons = ranges.map((each) => h('button', { type: 'button', text: each.name, 'aria-pressed': String(each === range), on: { click: () => choose(each) } }));
  const picker = h('div', { class: 'segments', role: 'group', 'aria-label': 'Time shown' }, ...buttons);
  const note = h('p', { class: 'caption' });
  const failure = problem();
  const element = h('section', { class: 'card' },
    h('div', { class: 'card-head' }, h('h2', { text: 'Over time' }), !isLiveOnly && h('div', { class: 'actions' }, picker)),
    failure, h('div', { class: 'charts' }, ...charts.map(({ chart }) => chart)), note);

  let isAbsent = isLiveOnly;
  const seen = [];
  let kept = { items: [], step: range.step };
  signal.addEventListener('abort', live((point) => {
    seen.push(point);
    if (seen.length > 2000) seen.shift();
    if (isAbsent) draw(seen, 15);
    else if (range === ranges[0]) drawKept();
  }));

  /** The hub's points and behind them those that came since: it stores in batches. */
  function drawKept() {
    const last = instant(kept.items.at(-1)?.at) || 0;
    draw([...kept.items, ...(range === ranges[0] ? seen.filter((point) => instant(point.at) > last) : [])], kept.step);
  }

  function choose(wanted) {
    range = wanted;
    buttons.forEach((button, index) => setAttribute(button, 'aria-pressed', String(ranges[index] === range)));
    load();
  }

  let round = 0;
  async function load() {
    if (isAbsent) {
      setText(note, 'The hub keeps no history of these: what is shown came since this view was opened.');
      draw(seen, 15);
      return;
    }
    const own = round += 1;
    const since = new Date(Date.now() - range.span).toISOString();
    try {
      const answer = await get(`${path}?since=${encodeURIComponent(since)}&step=${range.step}`, { signal });
      if (own !== round) return;
      kept = { items: answer.items, step: answer.step_seconds || range.step };
      drawKept();
      failure.set(null);
    } catch (error) {
      if (own !== round || signal.aborted) return;
      isAbsent = Boolean(error.isAbsent);
      if (isAbsent) load();
      else failure.set(error, load);
    }
  }

  function draw(points, step) {
    const to = Date.now();
    const first = instant(points[0]?.at);
    // What came while one looks is too little for the whole range at first.
    const from = isLiveOnly ? Math.max(to - range.span, Math.min(first || to, to - leastSpan)) : to - range.span;
    const timed = points.map((point) => ({ ...point, time: instant(point.at) })).filter((point) => point.time >= from - step * 1000);
    const grain = Math.max(step * 1000, usualDistance(timed));
    for (const { chart, of } of charts) {
      const values = timed.map((point, index) => ({ at: point.time, values: of(point, timed[index - 1]) }));
      chart.set(values, from, to, grain);
    }
  }

  const timer = setInterval(() => { if (!document.hidden) load(); }, refreshMilliseconds);
  signal.addEventListener('abort', () => clearInterval(timer));
  load();
  return element;
}

/** A hub may ask a large fleet for heartbeats more seldom than it gives points: that makes no holes. */
function usualDistance(points) {
  const distances = points.slice(1).map((point, index) => point.time - points[index].time).sort((one, other) => one - other);
  return distances[Math.floor(distances.length / 2)] ?? 0;
}

/** What moved per second between two points of a counter, or NaN where it started again. */
export function rate(point, previous, name) {
  const moved = point[name] - previous?.[name];
  const seconds = (point.time - previous?.time) / 1000;
  return moved >= 0 && seconds > 0 ? moved / seconds : NaN;
}
