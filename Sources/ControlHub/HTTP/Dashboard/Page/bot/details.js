// What a bot is made of, and editing what may be edited.
import { allowed, getText, patch } from '../core/api.js';
import { ask, toast } from '../core/dialog.js';
import { h, keyed, setText, show } from '../core/dom.js';
import { limitText, timeElement } from '../core/format.js';
import { on } from '../core/live.js';
import { bots, put, subscribe } from '../core/store.js';
import { laidOut, withWritten, written } from '../core/written.js';
import { facts } from '../parts/pieces.js';
import { sentence, word } from '../parts/state.js';

export function detailsPanel(container, { id, signal }) {
  const list = facts(['Bot id', 'Runtime profile', 'Wanted', 'Why', 'Start refused', 'Restart policy', 'Next start', 'Process', 'Chat port', 'Launch', 'Restarts', 'Last exit', 'Placement', 'Created']);
  const created = timeElement('ago'), exited = timeElement('ago'), next = timeElement('in');
  const problems = h('ul', { class: 'rows' }), limits = h('ul', { class: 'rows' });
  const problemCard = h('section', { class: 'card' }, h('h2', { text: 'Against the bot contract' }), problems);
  const limitCard = h('section', { class: 'card' }, h('h2', { text: 'Limits' }), limits);
  const isolation = h('ul', { class: 'rows' });
  const isolationCard = h('section', { class: 'card' }, h('h2', { text: 'Isolation' }), isolation);
  const exitText = h('span');
  const exit = h('span', {}, exitText, ', ', exited);
  const errors = h('pre', { class: 'output', tabindex: '0', 'aria-label': 'Last error output' });
  const errorPart = h('div', { class: 'stack tight' }, h('h2', { class: 'small', text: 'Last lines of its error output' }), errors);
  const config = h('pre', { class: 'output', tabindex: '0', 'aria-label': 'Configuration', text: '…' });
  const edit = h('button', { type: 'button', class: 'slim', text: 'Edit', on: { click: () => editBot(id, { signal }) } });
  container.append(
    h('section', { class: 'card stack', 'aria-label': 'Facts' }, list, errorPart), problemCard, limitCard, isolationCard,
    h('section', { class: 'card' }, h('div', { class: 'card-head' }, h('h2', { text: 'Configuration' }), allowed('operator') && h('div', { class: 'actions' }, edit)),
      config, h('p', { class: 'caption', text: 'Written as config.json on the node at each start.' })));
  signal.addEventListener('abort', subscribe(() => {
    const bot = bots.get(id);
    if (!bot) return;
    list.set('Bot id', bot.id);
    list.set('Runtime profile', bot.runtime_profile || 'default of the node');
    list.set('Image', bot.image ?? '');
    list.set('Wanted', bot.desired_state && word(bot.desired_state));
    list.set('Why', bot.reason_code && sentence(bot.reason_code));
    list.set('Start refused', bot.start_refused ? bot.start_refused.message || sentence(bot.start_refused.code) : '');
    list.set('Restart policy', bot.restart_policy && sentence(bot.restart_policy.replaceAll('-', ' ')));
    next.set(bot.next_start_at);
    list.set('Next start', bot.next_start_at ? next : '');
    list.set('Process', bot.pid || '');
    list.set('Chat port', bot.chat_port);
    list.set('Launch', bot.launch_id);
    list.set('Restarts', Number.isFinite(bot.restart_count) ? bot.restart_count : '');
    list.set('Placement', Number.isFinite(bot.placement_epoch) ? `number ${bot.placement_epoch}` : '');
    const last = bot.last_exit;
    setText(exitText, exitWords(last));
    exited.set(last?.at);
    list.set('Last exit', last ? exit : '');
    setText(errors, last?.last_stderr ?? '');
    show(errorPart, Boolean(last?.last_stderr));
    keyed(problems, bot.problems ?? [], (item) => item.code, problemRow);
    show(problemCard, bot.problems?.length > 0);
    keyed(limits, bot.limits ?? [], (item) => item.resource, limitRow);
    show(limitCard, bot.limits?.length > 0);
    keyed(isolation, bot.isolation ?? [], (item) => item.aspect, isolationRow);
    show(isolationCard, bot.isolation?.length > 0);
    created.set(bot.created_at);
    list.set('Created', bot.created_at ? created : '');
  }));
  const showConfig = async () => {
    if (!allowed('operator')) return setText(config, 'Only operators see it: keys of services stand in such files.');
    try {
      setText(config, laidOut(await writtenConfig(id, signal)));
    } catch (error) {
      if (!signal.aborted) setText(config, error.message);
    }
  };
  const undo = [on('bot.updated', (data) => { if (data.bot_id === id && data.change !== 'status') showConfig(); }), on('missed', showConfig)];
  signal.addEventListener('abort', () => undo.forEach((each) => each()));
  showConfig();
}

/** The configuration as somebody wrote it. */
async function writtenConfig(id, signal) {
  return written(await getText(`/api/bots/${encodeURIComponent(id)}`, { signal }), 'config')[0] ?? '{}';
}

function problemRow() {
  const what = h('strong'), times = h('span', { class: 'caption' }), detail = h('p', { class: 'small wrap' });
  const since = timeElement('ago');
  const row = h('li', {}, h('div', { class: 'row-head' }, what, times, h('span', { class: 'caption' }, since)), detail);
  row.update = (item) => {
    setText(what, sentence(item.code));
    setText(times, item.count > 1 ? `${item.count} times` : '');
    since.set(item.since);
    setText(detail, item.detail);
  };
  return row;
}

function limitRow() {
  const what = h('strong'), value = h('span'), note = h('p', { class: 'small quiet wrap' });
  const row = h('li', {}, h('div', { class: 'row-head' }, what, value), note);
  row.update = (item) => {
    setText(what, sentence(item.resource.replace(/_(bytes|milli)$/, '')));
    setText(value, limitText(item.resource, item.value));
    setText(note, [item.mechanism && `kept by ${item.mechanism}`, item.note].filter(Boolean).join(': '));
  };
  return row;
}

function isolationRow() {
  const what = h('strong'), by = h('span'), note = h('p', { class: 'small quiet wrap' });
  const row = h('li', {}, h('div', { class: 'row-head' }, what, by), note);
  row.update = (item) => {
    setText(what, sentence(item.aspect.replaceAll('_', ' ')));
    setText(by, item.mechanism === 'none' ? 'open' : `kept by ${item.mechanism}`);
    setText(note, item.note);
  };
  return row;
}

function exitWords(exit) {
  if (!exit) return '';
  if (exit.out_of_memory) return 'ended because it used more memory than it may';
  if (exit.lost) return 'ended while nobody watched';
  const how = exit.signal ? `ended by signal ${exit.signal}` : `exit code ${exit.code ?? 0}`;
  return exit.requested ? `${how} (asked for)` : how;
}

/** Name and configuration; where a bot runs is changed by deploying it. */
export async function editBot(id, { signal }) {
  const bot = bots.get(id);
  let shown;
  try { shown = laidOut(await writtenConfig(id, signal)); } catch (error) {
    if (!signal.aborted) toast(error.message);
    return false;
  }
  const name = h('input', { id: 'edit-name', value: bot.name, required: true, maxlength: '100', autocomplete: 'off', spellcheck: 'false' });
  const config = h('textarea', { id: 'edit-config', class: 'mono', rows: '12', spellcheck: 'false', autocapitalize: 'off', text: shown });
  return ask({
    title: `Edit ${bot.name}`, confirm: 'Save', large: true,
    content: [
      h('div', { class: 'field' }, h('label', { for: 'edit-name', text: 'Name' }), name),
      h('div', { class: 'field' }, h('label', { for: 'edit-config', text: 'Configuration (JSON)' }), config,
        h('p', { class: 'help', text: 'Takes effect at the next start. Node, runtime profile and image are changed together, by deploying.' })),
    ],
    action: async () => {
      const text = config.value.trim() || '{}';
      try { JSON.parse(text); } catch (error) { throw new Error(`This is not valid JSON. ${error.message}`); }
      // Only what was changed: somebody else may have changed the rest meanwhile.
      const members = name.value.trim() === bot.name ? {} : { name: name.value.trim() };
      const body = text === shown ? members : withWritten(members, 'config', text);
      if (body !== members || members.name) put(bots, await patch(`/api/bots/${encodeURIComponent(id)}`, body, { signal }));
    },
  });
}
