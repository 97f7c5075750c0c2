// A line chart over time. A hole in the data is a hole in the picture, and every figure can be had without a mouse.
import { h, setAttribute, setText, svg } from '../core/dom.js';
import { clockTime, dayTime } from '../core/format.js';

const width = 1000, height = 100;
/** Points further apart than this many steps have a hole between them. */
const holeSteps = 2.6;
const dayMilliseconds = 86400000;

/**
 * - `format(value)` makes a figure readable; `ceiling` is the least top of the scale.
 * - `isOptional`: not shown while there are no figures, which not every machine has.
 * - `series` are names, one or two; a point is `{at, values: [...]}` with a value for each.
 */
export function chart({ title, format, ceiling = 0, fixed = false, isOptional = false, series = [title] }) {
  const now = h('span', { class: 'chart-now' });
  const areas = svg('g'), curves = svg('g'), holes = svg('g');
  const cursor = svg('line', { class: 'cursor', y1: 0, y2: height });
  cursor.setAttribute('visibility', 'hidden');
  const grid = [0, 50, 100].map((y) => svg('line', { class: 'grid', x1: 0, x2: width, y1: y, y2: y }));
  const picture = svg('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', tabindex: 0 }, ...grid, holes, areas, curves, cursor);
  const top = h('span', { class: 'axis top', 'aria-hidden': 'true' }), low = h('span', { class: 'axis low', 'aria-hidden': 'true' });
  const begin = h('span'), end = h('span');
  const note = h('p', { class: 'chart-note', 'aria-live': 'polite' });
  const keys = series.length > 1 ? series.map((name, index) => h('span', { class: 'chart-key caption', 'data-series': index, text: name })) : [];
  const element = h('figure', { class: 'chart' },
    h('figcaption', { class: 'chart-head' }, h('span', { class: 'chart-title', text: title }), ...keys, now),
    h('div', { class: 'chart-plot' }, picture, top, low),
    h('div', { class: 'chart-times', 'aria-hidden': 'true' }, begin, end), note);

  let data = { points: [], from: 0, to: 1, high: 1 };
  let at = null;
  const x = (time) => (width * (time - data.from)) / (data.to - data.from || 1);
  const y = (value) => height - (height * value) / data.high;
  const timeText = (time) => (data.to - data.from > dayMilliseconds ? dayTime(time) : clockTime(time));

  element.set = (points, from, to, step) => {
    const known = points.filter((point) => point.values.some(Number.isFinite));
    if (isOptional) element.hidden = known.length === 0;
    const highest = Math.max(0, ...known.flatMap((point) => point.values.filter(Number.isFinite)));
    data = { points: known, from, to, high: fixed ? ceiling : roundUp(Math.max(ceiling, highest)) };
    const runs = runsOf(known, step * holeSteps);
    curves.replaceChildren();
    areas.replaceChildren();
    series.forEach((_, index) => {
      const lines = runs.map((run) => run.filter((point) => Number.isFinite(point.values[index]))).filter((run) => run.length > 0);
      const path = lines.map((run) => lineOf(run, index)).join('');
      curves.append(svg('path', { class: 'curve', 'data-series': index, d: path || 'M0 0' }));
      if (index === 0) areas.append(svg('path', { class: 'area', d: lines.map((run) => `${lineOf(run, 0)}L${x(run.at(-1).at).toFixed(1)} ${height}L${x(run[0].at).toFixed(1)} ${height}Z`).join('') || 'M0 0' }));
    });
    holes.replaceChildren(...holesOf(runs).map(([start, stop]) => svg('rect', { class: 'hole', x: x(start), y: 0, width: Math.max(0, x(stop) - x(start)), height })));
    setText(top, known.length ? format(data.high) : '');
    setText(low, known.length ? format(0) : '');
    setText(begin, timeText(from));
    setText(end, timeText(to));
    tell();
  };

  const lineOf = (run, index) => run.map((point, place) => `${place ? 'L' : 'M'}${x(point.at).toFixed(1)} ${y(point.values[index]).toFixed(1)}`).join('') + (run.length === 1 ? 'h1' : '');
  const figures = (point) => point.values.map((value, index) => (Number.isFinite(value) ? `${series.length > 1 ? `${series[index]} ` : ''}${format(value)}` : null)).filter(Boolean).join(', ') || '–';

  function tell() {
    const { points } = data;
    const last = points.at(-1);
    const chosen = at === null ? null : points[Math.min(at, points.length - 1)];
    setText(now, last ? figures(chosen ?? last) : '–');
    cursor.setAttribute('visibility', chosen ? 'visible' : 'hidden');
    if (chosen) {
      for (const name of ['x1', 'x2']) cursor.setAttribute(name, x(chosen.at));
      setText(note, timeText(chosen.at));
    } else if (points.length > 0) {
      const first = points.map((point) => point.values[0]).filter(Number.isFinite);
      setText(note, first.length ? `lowest ${format(Math.min(...first))}, mean ${format(first.reduce((sum, value) => sum + value, 0) / first.length)}, highest ${format(Math.max(...first))}` : '');
    } else setText(note, 'No figures for this time.');
    setAttribute(picture, 'aria-label', `${title}: ${points.length ? `now ${figures(last)}; ${note.textContent}. Arrow keys read single points.` : 'no figures'}`);
  }

  picture.addEventListener('pointermove', (event) => {
    if (data.points.length === 0) return;
    const box = picture.getBoundingClientRect();
    const time = data.from + ((event.clientX - box.left) / box.width) * (data.to - data.from);
    at = nearest(data.points, time);
    tell();
  });
  picture.addEventListener('pointerleave', () => { at = null; tell(); });
  picture.addEventListener('blur', () => { at = null; tell(); });
  picture.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (!step || data.points.length === 0) return;
    event.preventDefault();
    at = Math.max(0, Math.min(data.points.length - 1, (at ?? data.points.length - 1) + step));
    tell();
  });
  element.hidden = isOptional;
  tell();
  return element;
}

function runsOf(points, longest) {
  const runs = [];
  for (const point of points) {
    const run = runs.at(-1);
    if (run && point.at - run.at(-1).at <= longest) run.push(point);
    else runs.push([point]);
  }
  return runs;
}

const holesOf = (runs) => runs.slice(1).map((run, index) => [runs[index].at(-1).at, run[0].at]);

function nearest(points, time) {
  let best = 0;
  points.forEach((point, index) => { if (Math.abs(point.at - time) < Math.abs(points[best].at - time)) best = index; });
  return best;
}

/** The next of 1, 2, 5 times a power of ten, so that the scale does not move with every point. */
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((bound) => bound >= value);
}
