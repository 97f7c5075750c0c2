// What a bot is made of, and editing what may be edited.
import { allowed, patch } from '../core/api.js';
import { ask } from '../core/dialog.js';
import { h, setText, show } from '../core/dom.js';
import { timeElement } from '../core/format.js';
import { bots, put, subscribe } from '../core/store.js';
import { facts } from '../parts/pieces.js';
import { word } from '../parts/state.js';

export function detailsPanel(container, { id, signal }) {
  const list = facts(['Bot id', 'Runtime profile', 'Wanted', 'Process', 'Launch', 'Restarts', 'Last exit', 'Placement', 'Created']);
  const created = timeElement('ago'), exited = timeElement('ago');
  const exitText = h('span');
  const exit = h('span', {}, exitText, ', ', exited);
  const errors = h('pre', { class: 'output', tabindex: '0', 'aria-label': 'Last error output' });
  const errorPart = h('div', { class: 'stack tight' }, h('h3', { text: 'Last lines of its error output' }), errors);
  const config = h('pre', { class: 'output', tabindex: '0', 'aria-label': 'Configuration' });
  const edit = h('button', { type: 'button', class: 'slim', text: 'Edit', on: { click: () => editBot(id, { signal }) } });
  container.append(
    h('section', { class: 'card stack', 'aria-label': 'Facts' }, list, errorPart),
    h('section', { class: 'card' }, h('div', { class: 'card-head' }, h('h2', { text: 'Configuration' }), allowed('operator') && h('div', { class: 'actions' }, edit)),
      config, h('p', { class: 'caption', text: 'Written as config.json on the node at each start.' })));
  signal.addEventListener('abort', subscribe(() => {
    const bot = bots.get(id);
    if (!bot) return;
    list.set('Bot id', bot.id);
    list.set('Runtime profile', bot.runtime_profile || 'default of the node');
    list.set('Wanted', bot.desired_state && word(bot.desired_state));
    list.set('Process', bot.pid || '');
    list.set('Launch', bot.launch_id);
    list.set('Restarts', Number.isFinite(bot.restart_count) ? bot.restart_count : '');
    list.set('Placement', Number.isFinite(bot.placement_epoch) ? `number ${bot.placement_epoch}` : '');
    const last = bot.last_exit;
    setText(exitText, exitWords(last));
    exited.set(last?.at);
    list.set('Last exit', last ? exit : '');
    setText(errors, last?.last_stderr ?? '');
    show(errorPart, Boolean(last?.last_stderr));
    created.set(bot.created_at);
    list.set('Created', bot.created_at ? created : '');
    setText(config, JSON.stringify(bot.config ?? {}, null, 2));
  }));
}

function exitWords(exit) {
  if (!exit) return '';
  const how = exit.signal ? `ended by signal ${exit.signal}` : `exit code ${exit.code ?? 0}`;
  return exit.requested ? `${how} (asked for)` : how;
}

/** Name and configuration; where a bot runs is changed by deploying it. */
export function editBot(id, { signal }) {
  const bot = bots.get(id);
  const name = h('input', { id: 'edit-name', value: bot.name, required: true, maxlength: '100', autocomplete: 'off', spellcheck: 'false' });
  const config = h('textarea', { id: 'edit-config', class: 'mono', rows: '12', spellcheck: 'false', autocapitalize: 'off', text: JSON.stringify(bot.config ?? {}, null, 2) });
  return ask({
    title: `Edit ${bot.name}`, confirm: 'Save', large: true,
    content: [
      h('div', { class: 'field' }, h('label', { for: 'edit-name', text: 'Name' }), name),
      h('div', { class: 'field' }, h('label', { for: 'edit-config', text: 'Configuration (JSON)' }), config,
        h('p', { class: 'help', text: 'Takes effect at the next start. Node, runtime profile and image are changed together, by deploying.' })),
    ],
    action: async () => {
      let value;
      try { value = JSON.parse(config.value || '{}'); } catch (error) { throw new Error(`This is not valid JSON. ${error.message}`); }
      put(bots, await patch(`/api/bots/${encodeURIComponent(id)}`, { name: name.value.trim(), config: value }, { signal }));
    },
  });
}
