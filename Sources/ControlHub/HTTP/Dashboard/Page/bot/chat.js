// Talking to a bot. Progress and tool calls of a turn fold into the answer they led to.
import { allowed, get, list, post } from '../core/api.js';
import { announce, h, keyed, randomKey, setText, show } from '../core/dom.js';
import { fullTime, instant } from '../core/format.js';
import { on } from '../core/live.js';
import { bots, subscribe } from '../core/store.js';
import { underWay } from '../deploy/deployments.js';
import { problem } from '../parts/pieces.js';
import { isDone, isFailed, messageElement } from './message.js';

const refetchMilliseconds = 150;
const relistMilliseconds = 1000;

export function chatPanel(container, { id, path, signal }) {
  const picker = h('select', { id: 'conversation' });
  const fresh = h('button', { type: 'button', class: 'plain', text: 'New conversation' });
  const bar = h('div', { class: 'chat-bar' }, h('label', { for: 'conversation', text: 'Conversation' }), picker, fresh);
  const messages = h('ol', { class: 'messages' });
  const earlier = h('button', { type: 'button', class: 'earlier', text: 'Show earlier messages' });
  earlier.hidden = true;
  const hint = h('p', { class: 'chat-hint quiet' });
  const scroller = h('div', { class: 'scroller', tabindex: '0', role: 'region', 'aria-label': 'Messages' }, hint, earlier, messages);
  const toEnd = h('button', { type: 'button', class: 'to-end', text: 'Newest messages ↓' });
  toEnd.hidden = true;
  const failure = problem();
  const mayTalk = allowed('operator');
  const input = h('textarea', { id: 'message', rows: '1', 'aria-label': 'Message', placeholder: 'Write a message', maxlength: '100000' });
  const send = h('button', { type: 'submit', class: 'primary', text: 'Send' });
  const form = h('form', { class: 'composer' }, input, send);
  const note = h('p', { class: 'help chat-note' });
  container.append(h('section', { class: 'card chat', 'aria-label': 'Chat' }, bar, h('div', { class: 'scroll-frame' }, scroller, toEnd), failure, form, note));
  show(form, mayTalk);

  let conversations = [];
  let conversation = null;
  let items = [];
  let earlierCursor = null;
  let pending = [];
  let loadTimer = null, listTimer = null;
  let loading = false, again = false;
  // What is shown of `failure` is about reading, and over when that works again.
  let isUnread = false;

  const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
  const scrollToEnd = () => { scroller.scrollTop = scroller.scrollHeight; };
  scroller.addEventListener('scroll', () => { if (atEnd()) show(toEnd, false); });
  toEnd.addEventListener('click', scrollToEnd);

  function render() {
    const stick = atEnd();
    const known = new Set(items.map((item) => item.message_id));
    pending = pending.filter((item) => !known.has(item.message_id));
    const shown = [...items, ...pending];
    const waitsFor = waiting(shown);
    const before = messages.childElementCount;
    keyed(messages, withKeys(waitsFor ? [...shown, waitsFor] : shown), (item) => item.key, () => messageElement(id));
    show(hint, shown.length === 0);
    setText(hint, 'Nothing said yet. Write below; what the bot does on the way to its answer shows up here as it happens.');
    if (stick) scrollToEnd();
    else if (messages.childElementCount > before) show(toEnd, true);
  }

  // Between a question and the first sign of its answer.
  function waiting(shown) {
    const last = shown.at(-1);
    if (!last || last.role !== 'user' || last.state === 'queued' || isFailed(last.state) || isDone(last.state)) return null;
    return { role: 'assistant', message_id: last.message_id, turn_id: last.key, state: 'waiting', text: '', steps: [] };
  }

  function fillPicker() {
    const options = conversations.map((item) => ({ value: item.conversation_id, text: conversationText(item) }));
    if (conversation && !conversations.some((item) => item.conversation_id === conversation)) options.unshift({ value: conversation, text: 'This conversation' });
    if (!conversation) options.unshift({ value: '', text: 'New conversation' });
    const description = JSON.stringify(options);
    if (picker.dataset.options !== description) {
      picker.dataset.options = description;
      picker.replaceChildren(...options.map((option) => h('option', option.value === '' ? { value: '', text: option.text } : option)));
    }
    picker.value = conversation ?? '';
    show(bar, conversations.length > 0);
  }

  async function loadConversations() {
    conversations = await list(`${path}/conversations`, { signal });
    conversations.sort((one, other) => (instant(other.last_message_at) || 0) - (instant(one.last_message_at) || 0));
  }

  async function load() {
    if (loading) {
      again = true;
      return;
    }
    loading = true;
    try {
      const wanted = conversation;
      if (wanted) {
        const answer = await get(`${path}/conversations/${encodeURIComponent(wanted)}`, { signal });
        if (wanted === conversation) {
          tellNews(answer.items);
          if (items.length === 0) earlierCursor = answer.next_cursor ?? null;
          items = joined(items, answer.items);
        }
      } else items = [];
      show(earlier, Boolean(earlierCursor));
      render();
      if (isUnread) failure.set(null);
      isUnread = false;
    } catch (error) {
      isUnread = true;
      failure.set(error, load);
    } finally {
      loading = false;
      if (again && !signal.aborted) {
        again = false;
        load();
      }
    }
  }

  function tellNews(news) {
    const answer = news.findLast((item) => item.role === 'assistant' && item.text);
    if (answer && items.length > 0 && !items.some((item) => item.text === answer.text && item.at === answer.at)) {
      announce(`Answer: ${answer.text.slice(0, 400)}`);
    }
  }

  earlier.addEventListener('click', async () => {
    earlier.disabled = true;
    try {
      const page = await get(`${path}/conversations/${encodeURIComponent(conversation)}?cursor=${encodeURIComponent(earlierCursor)}`, { signal });
      earlierCursor = page.next_cursor ?? null;
      items = joined(page.items, items);
      // The line being read stays where it is.
      const fromEnd = scroller.scrollHeight - scroller.scrollTop;
      show(earlier, Boolean(earlierCursor));
      render();
      scroller.scrollTop = scroller.scrollHeight - fromEnd;
      show(toEnd, false);
    } catch (error) {
      failure.set(error);
    } finally {
      earlier.disabled = false;
    }
  });

  function soon() {
    loadTimer ??= setTimeout(() => {
      loadTimer = null;
      if (!signal.aborted) load();
    }, refetchMilliseconds);
  }

  // A message moves its conversation up and counts in the picker.
  function relistSoon() {
    listTimer ??= setTimeout(() => {
      listTimer = null;
      if (!signal.aborted) loadConversations().then(fillPicker).catch(() => {});
    }, relistMilliseconds);
  }

  const concerns = (data) => (!data.bot_id || data.bot_id === id) && (!data.conversation_id || !conversation || data.conversation_id === conversation);
  const undo = [
    on('message.updated', (data) => {
      if (!concerns(data)) return;
      soon();
      if (data.bot_id === id) relistSoon();
    }),
    on('packet', (data) => { if (concerns(data) && data.bot_id === id) soon(); }),
    on('missed', () => {
      soon();
      relistSoon();
    }),
  ];
  signal.addEventListener('abort', () => {
    clearTimeout(loadTimer);
    clearTimeout(listTimer);
    undo.forEach((each) => each());
  });

  picker.addEventListener('change', () => select(picker.value || null));
  fresh.addEventListener('click', () => {
    select(null);
    input.focus();
  });

  function select(value) {
    conversation = value;
    items = [];
    earlierCursor = null;
    pending = [];
    failure.set(null);
    messages.replaceChildren();
    show(toEnd, false);
    fillPicker();
    load().then(scrollToEnd);
  }

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    failure.set(null);
    const item = { key: `pending:${randomKey()}`, role: 'user', text, state: 'sending', at: Date.now(), steps: [] };
    pending.push(item);
    input.value = '';
    grow();
    render();
    scrollToEnd();
    try {
      const answer = await post(`${path}/messages`, conversation ? { text, conversation_id: conversation } : { text }, { signal, idempotencyKey: item.key.slice(8) });
      item.message_id = answer.message_id;
      item.state = 'accepted';
      if (conversation !== answer.conversation_id) {
        conversation = answer.conversation_id;
        loadConversations().then(fillPicker).catch(() => {});
      }
      await load();
    } catch (error) {
      if (signal.aborted) return;
      // The words go back to where they can be sent again.
      pending = pending.filter((other) => other !== item);
      if (!input.value) input.value = text;
      grow();
      failure.set(error);
      render();
    }
  });

  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  input.addEventListener('input', grow);
  function grow() {
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight + 2, 200)}px`;
  }

  signal.addEventListener('abort', subscribe(() => {
    const bot = bots.get(id);
    const notes = {
      stopped: 'The bot is stopped. Start it to get an answer.',
      failed: 'The bot has failed and does not answer. Its log tells why; then start it again.',
      starting: 'The bot is starting.', stopping: 'The bot is stopping.', backoff: 'The bot ended by itself and is started again soon.',
    };
    setText(note, !mayTalk ? 'Your role lets you read. An operator can write.' : (underWay.has(id) && bot?.phase !== 'ready' ? 'The bot is being deployed. What you write waits and is answered when it is back.' : notes[bot?.phase]) ?? 'Enter sends, Shift+Enter starts a new line.');
  }));

  async function begin() {
    try {
      await loadConversations();
      failure.set(null);
    } catch (error) {
      failure.set(error, begin);
      return;
    }
    conversation ??= conversations[0]?.conversation_id ?? null;
    fillPicker();
    await load();
    scrollToEnd();
  }
  begin();
}

/** A page of a conversation and what was known before it; of what both have, the newer counts. */
function joined(earlier, later) {
  const known = new Set(later.map((item) => item.message_id));
  const start = instant(later[0]?.at);
  return [...earlier.filter((item) => !known.has(item.message_id) && !(instant(item.at) > start)), ...later];
}

/**
 * Names each entry by the message it belongs to and its place there, so that the sign of waiting, the progress and the
 * answer are one element after the other's words, and what a reader has unfolded stays unfolded.
 */
function withKeys(entries) {
  const counts = new Map();
  return entries.map((item) => {
    if (item.key) return item;
    const base = `${item.role === 'user' ? 'user' : 'answer'}:${item.message_id ?? item.turn_id}`;
    const count = counts.get(base) ?? 0;
    counts.set(base, count + 1);
    return { ...item, key: `${base}:${count}` };
  });
}

function conversationText(item) {
  const at = instant(item.last_message_at);
  const count = item.message_count === 1 ? '1 message' : `${item.message_count ?? 0} messages`;
  return `${Number.isNaN(at) ? item.conversation_id : fullTime(at)} · ${count}`;
}
