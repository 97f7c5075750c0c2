// The monitor packets of a bot, newest first.
import { getText } from '../core/api.js';
import { h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { bytes, clockTime, fullTime, instant, plural } from '../core/format.js';
import { on } from '../core/live.js';
import { laidOut, written } from '../core/written.js';
import { continuation, problem } from '../parts/pieces.js';

const pageSize = 100, mostPackets = 2000;
/** The types of the bot contract, and the hub's own word for a hole. */
const types = ['ready', 'state', 'user_message', 'progress', 'tool', 'assistant_message', 'notice', 'usage', 'fatal', 'stopping', 'stopped', 'gap'];

export function packetsPanel(container, { id, path, signal }) {
  const failure = problem();
  const nothing = h('p', { class: 'quiet', text: 'No packets yet. A bot sends them to tell what it does: ready, progress, tool calls, answers.' });
  const rows = h('ul', { class: 'packets' });
  nothing.hidden = true;
  const type = h('select', { id: 'packet-type', class: 'slim' }, ...['', ...types].map((name) => h('option', { value: name, text: name || 'every type' })));
  const more = h('button', { type: 'button', class: 'slim', text: 'Show older packets' });
  more.hidden = true;
  container.append(h('section', { class: 'card', 'aria-label': 'Packets' },
    h('div', { class: 'panel-bar' }, h('label', { for: 'packet-type', text: 'Type' }), type), failure, nothing, rows, more));
  let items = [], cursor = null, timer = null;
  const query = () => `${path}/packets?limit=${pageSize}&order=desc${type.value ? `&type=${encodeURIComponent(type.value)}` : ''}`;
  const draw = () => {
    show(nothing, items.length === 0);
    show(more, Boolean(cursor) && items.length < mostPackets);
    keyed(rows, items, (packet) => `${packet.journal_id ?? ''}:${sequence(packet)}`, packetElement);
  };
  type.addEventListener('change', () => {
    items = [];
    load();
  });
  more.addEventListener('click', loadMore);
  async function loadMore() {
    try {
      const page = readPage(await getText(`${query()}&cursor=${encodeURIComponent(cursor)}`, { signal }));
      items = [...items, ...page.items];
      cursor = page.next_cursor;
      draw();
      failure.set(null);
    } catch (error) {
      failure.set(error, loadMore);
    }
  }

  async function load() {
    try {
      const page = readPage(await getText(query(), { signal }));
      const older = continuation(items, page.items, sequence);
      if (older.length === 0) cursor = page.next_cursor;
      items = [...page.items, ...older];
      draw();
      failure.set(null);
    } catch (error) {
      failure.set(error, load);
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

/** A page with the packets as their bot wrote them. */
function readPage(text) {
  const page = JSON.parse(text), texts = written(text, 'json');
  page.items.forEach((packet, index) => { packet.written = texts[index]; });
  return page;
}

const sequence = (packet) => packet.id ?? packet.sequence ?? 0;

function packetElement() {
  const type = h('span', { class: 'packet-type' });
  const digest = h('span', { class: 'packet-digest quiet' });
  const time = h('time', { class: 'quiet' });
  const body = h('pre', { class: 'output', tabindex: '0' });
  const element = h('li', {}, h('details', {}, h('summary', {}, time, type, digest), body));
  element.update = (packet) => {
    setText(type, packet.gap ? 'missing' : packet.type);
    setAttribute(element, 'data-type', packet.type);
    setAttribute(element, 'data-tone', packet.gap || packet.type === 'fatal' ? 'bad' : null);
    const content = packet.gap ?? packet.json ?? packet;
    setText(body, typeof content === 'string' ? content : !packet.gap && packet.written ? laidOut(packet.written) : JSON.stringify(content, null, 2));
    setText(digest, packet.gap ? gapText(packet.gap) : digestOf(content));
    show(digest, Boolean(digest.textContent));
    const at = instant(packet.bot_at ?? packet.received_at);
    setText(time, Number.isNaN(at) ? '' : clockTime(at));
    setAttribute(time, 'title', Number.isNaN(at) ? null : fullTime(at));
  };
  return element;
}

function digestOf(content) {
  if (typeof content === 'string') return content.slice(0, 160);
  const text = content.text ?? content.error ?? content.message ?? content.reason ?? content.state ?? content.tool ?? content.name ?? content.engine ?? '';
  return String(text).replace(/\s+/g, ' ').slice(0, 160);
}

const gapReasons = {
  journal_full: 'the agent’s journal was full', journal_age: 'they had grown too old before they could be sent', journal_damaged: 'the agent’s journal was damaged',
  bot_sequence: 'the bot’s own numbers leave them out', log_rotated: 'the log was rotated away before it was read', disk_full: 'the node’s disk was full',
  hub_lost: 'the hub was put back from a backup',
  supervisor_lost: 'the bot’s supervisor was lost',
};

/** What is not there, how much of it, and why. */
function gapText(gap) {
  const what = gap.missing_packets ? plural(gap.missing_packets, 'packet') : gap.missing_bytes ? bytes(gap.missing_bytes) : 'An unknown number of packets';
  const when = gap.from ? ` from ${fullTime(instant(gap.from))}${gap.to ? ` to ${fullTime(instant(gap.to))}` : ''}` : '';
  return `${what} missing${when}: ${gapReasons[gap.reason] ?? gap.reason}`;
}
