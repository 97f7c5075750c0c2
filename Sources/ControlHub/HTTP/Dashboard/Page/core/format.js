// Numbers and times as people read them.
import { h, setAttribute, setText } from './dom.js';

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(count) {
  if (!Number.isFinite(count)) return '–';
  let value = count, unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A limit as people write it. */
export function limitText(resource, value) {
  if (resource.includes('bytes') || resource === 'memory') return bytes(value);
  if (resource.includes('milli') || resource === 'cpu') return `${value / 1000} cores`;
  return value.toLocaleString();
}

export function percent(value) {
  return Number.isFinite(value) ? `${Math.round(value)} %` : '–';
}

/** A round trip: `0.4 ms`, `38 ms`. */
export function milliseconds(value) {
  return Number.isFinite(value) ? `${value < 10 ? value.toFixed(1) : Math.round(value)} ms` : '–';
}

// Controls, marks of direction, and what takes no room: names made of them look like others. Joiners stay, for pictures.
const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;

/** A name with what nobody would see written out: `kit\u{202E}chen`. New ones are refused; older ones are still there. */
export const visible = (name) => name?.replace(hidden, (character) => `\\u{${character.codePointAt(0).toString(16).toUpperCase()}}`);

export const plural = (count, noun) => `${count.toLocaleString()} ${noun}${count === 1 ? '' : 's'}`;

/** Milliseconds since 1970 of what the hub sends, or NaN. */
export function instant(value) {
  if (value === null || value === undefined || value === '' || value === 0) return NaN;
  return typeof value === 'number' ? value : Date.parse(value);
}

/** A span in its one or two largest units: `4 min`, `2 h 5 min`, `3 d`. */
export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return days < 10 && hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

function ago(at, now = Date.now()) {
  const elapsed = now - at;
  if (elapsed < 5000) return 'just now';
  return `${span(elapsed)} ago`;
}

const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

export const fullTime = (at) => full.format(at);
export const clockTime = (at) => clock.format(at);

const day = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
export const dayTime = (at) => day.format(at);

/** A `<time>` that keeps itself current. `style` is `ago`, `for` (how long something has lasted) or `in` (how soon it is). */
export function timeElement(style = 'ago') {
  const element = h('time', { 'data-live': style });
  element.set = (value) => {
    const at = instant(value);
    if (Number.isNaN(at)) {
      setText(element, '–');
      element.removeAttribute('datetime');
      return;
    }
    const iso = new Date(at).toISOString();
    if (element.dateTime !== iso) {
      setAttribute(element, 'datetime', iso);
      setAttribute(element, 'title', fullTime(at));
    }
    refresh(element);
  };
  return element;
}

function refresh(element) {
  if (!element.dateTime) return;
  const at = Date.parse(element.dateTime);
  const texts = { ago: () => ago(at), for: () => span(Date.now() - at), in: () => (at > Date.now() ? `in ${span(at - Date.now())}` : 'now') };
  setText(element, texts[element.dataset.live]());
}

setInterval(() => {
  if (!document.hidden) for (const element of document.querySelectorAll('time[data-live]')) refresh(element);
}, 1000);
