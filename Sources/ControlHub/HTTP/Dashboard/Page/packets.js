// The last monitor packets of a bot, newest first.
import { h, keyed, setAttribute, setText, show } from './dom.js';
import { get } from './api.js';
import { clockTime, fullTime, instant } from './format.js';
import { on } from './live.js';
import { problem } from './parts.js';

const shownPackets = 100;

export function packetsPanel(container, { id, path, signal }) {
  const failure = problem();
  const nothing = h('p', { class: 'muted', text: 'No packets yet. A bot sends them to tell what it does: ready, progress, tool calls, answers.' });
  const rows = h('ul', { class: 'packets' });
  nothing.hidden = true;
  container.append(h('section', { class: 'card' }, failure, nothing, rows));

  let timer = null;
  async function load() {
    try {
      const { items } = await get(`${path}/packets?limit=${shownPackets}&order=desc`, { signal });
      const newest = [...items].sort((one, other) => sequence(other) - sequence(one)).slice(0, shownPackets);
      show(nothing, newest.length === 0);
      keyed(rows, newest, (packet) => `${packet.journal_id ?? ''}:${sequence(packet)}`, packetElement);
      failure.set(null);
    } catch (error) {
      failure.set(error);
    }
  }
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = null;
      load();
    }, 300);
  };
  const undo = [on('packet', (data) => { if (data.bot_id === id) soon(); }), on('missed', soon)];
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    undo.forEach((each) => each());
  });
  load();
}

const sequence = (packet) => packet.id ?? packet.sequence ?? 0;

function packetElement() {
  const type = h('span', { class: 'packet-type' });
  const digest = h('span', { class: 'packet-digest muted' });
  const time = h('time', { class: 'muted' });
  const body = h('pre', { class: 'output', tabindex: '0' });
  const element = h('li', {}, h('details', {}, h('summary', {}, time, type, digest), body));
  element.update = (packet) => {
    setText(type, packet.type);
    setAttribute(element, 'data-type', packet.type);
    const content = packet.json ?? packet.packet ?? packet.body ?? packet.data ?? packet;
    const value = typeof content === 'string' ? content : JSON.stringify(content, null, 2);
    setText(body, value);
    setText(digest, digestOf(content));
    show(digest, Boolean(digest.textContent));
    const at = instant(packet.received_at ?? packet.at ?? packet.bot_time);
    setText(time, Number.isNaN(at) ? '' : clockTime(at));
    setAttribute(time, 'title', Number.isNaN(at) ? null : fullTime(at));
  };
  return element;
}

function digestOf(content) {
  if (typeof content === 'string') return content.slice(0, 160);
  const text = content.text ?? content.message ?? content.reason ?? content.tool ?? content.name ?? '';
  return String(text).replace(/\s+/g, ' ').slice(0, 160);
}
