// Creating a bot: its name, where it runs, how, and its configuration.
import { post } from '../core/api.js';
import { toast } from '../core/dialog.js';
import { h, setAttribute, setText, show } from '../core/dom.js';
import { bots, nodes, put, status, subscribe } from '../core/store.js';
import { withWritten } from '../core/written.js';
import { isDraining } from '../fleet/filter.js';
import { botLink, byName, crumbs, empty, link, pageHead, problem, waiting } from '../parts/pieces.js';
import { word } from '../parts/state.js';

export function addBotView(container, { signal, setTitle, query }) {
  setTitle('New bot');
  const failure = problem();
  const loading = waiting('Asking the hub for its nodes…');
  const noNodes = empty('A bot needs a node',
    h('p', { text: 'Add a machine first; then you can create a bot on it.' }), h('p', {}, link('#/add-node', 'Add node', 'button primary')));

  const name = h('input', { id: 'bot-name', required: true, maxlength: '100', autocomplete: 'off', spellcheck: 'false' });
  const node = h('select', { id: 'bot-node', required: true });
  const nodeHelp = h('p', { class: 'help' });
  const profile = h('select', { id: 'bot-profile', 'aria-describedby': 'bot-profile-help' });
  const profileHelp = h('p', { class: 'help', id: 'bot-profile-help' });
  const config = h('textarea', { id: 'bot-config', class: 'mono', rows: '8', spellcheck: 'false', autocapitalize: 'off', 'aria-describedby': 'bot-config-help bot-config-problem', placeholder: '{}' });
  const configProblem = h('p', { class: 'problem', id: 'bot-config-problem', role: 'alert' });
  configProblem.hidden = true;
  const startNow = h('input', { type: 'checkbox', id: 'bot-start', checked: true });
  const submit = h('button', { type: 'submit', class: 'primary', text: 'Create bot' });
  const form = h('form', { class: 'card stack pairing' },
    h('div', { class: 'field' }, h('label', { for: 'bot-name', text: 'Name' }), name),
    h('div', { class: 'field' }, h('label', { for: 'bot-node', text: 'Node' }), node, nodeHelp),
    h('div', { class: 'field' }, h('label', { for: 'bot-profile', text: 'Runtime profile' }), profile, profileHelp),
    h('div', { class: 'field' }, h('label', { for: 'bot-config', text: 'Configuration (JSON, optional)' }), config, configProblem,
      h('p', { class: 'help', id: 'bot-config-help', text: 'Becomes the bot’s config.json on the node.' })),
    h('div', { class: 'check' }, startNow, h('label', { for: 'bot-start', text: 'Start it right away' })),
    h('div', { class: 'actions' }, submit, link('#/bots', 'Cancel', 'button')));
  container.append(crumbs(link('#/bots', 'Bots')), pageHead('New bot'), failure, loading, noNodes, form);

  let wantedNode = query.get('node');
  const fill = (select, options, wanted) => {
    const description = JSON.stringify(options);
    if (select.dataset.options === description) return;
    select.dataset.options = description;
    const kept = wanted ?? select.value;
    select.replaceChildren(...options.map((option) => {
      const element = h('option', { value: option.value, text: option.text, disabled: option.disabled });
      element.selected = option.value === kept && !option.disabled;
      return element;
    }));
  };

  // The node this form was opened for; else, at first, one that can run a bot now.
  const preselected = () => {
    if (nodes.has(wantedNode)) return wantedNode;
    return node.value ? undefined : [...nodes.values()].sort(byName).find((item) => item.health === 'online')?.id;
  };

  const helpFor = (chosen) => {
    if (chosen && isDraining(chosen)) return 'This node is being drained and takes no new bots.';
    if (!chosen || chosen.health === 'online') return '';
    if (chosen.health === 'never_seen') return 'This node has not connected yet. The bot starts when it does.';
    return `This node is ${word(chosen.health).toLowerCase()}. The bot starts when it is back.`;
  };

  const arrange = () => {
    const chosen = nodes.get(node.value);
    setText(nodeHelp, helpFor(chosen));
    show(nodeHelp, Boolean(nodeHelp.textContent));
    const offered = chosen?.runtime_profiles ?? [];
    fill(profile, [
      { value: '', text: 'Default of the node', disabled: false },
      ...offered.map((item) => ({ value: item.name, text: item.usable ? item.name : `${item.name} (not usable)`, disabled: !item.usable })),
    ]);
    const selected = offered.find((item) => item.name === profile.value);
    const unusable = offered.filter((item) => !item.usable);
    setText(profileHelp, selected
      ? [selected.backend, selected.engine, selected.engine_version, selected.description].filter(Boolean).join(' · ')
      : unusable.map((item) => `${item.name}: ${item.reason || 'not usable'}`).join(' '));
    show(profileHelp, Boolean(profileHelp.textContent));
  };
  node.addEventListener('change', arrange);
  profile.addEventListener('change', arrange);

  const parsed = () => {
    const text = config.value.trim();
    if (!text) return { value: undefined };
    try {
      const value = JSON.parse(text);
      if (value === null || typeof value !== 'object' || Array.isArray(value)) return { error: 'The configuration must be a JSON object: { … }.' };
      return { value, text };
    } catch (error) {
      return { error: `This is not valid JSON. ${error.message}` };
    }
  };
  const check = () => {
    const { error } = parsed();
    setText(configProblem, error ?? '');
    show(configProblem, Boolean(error));
    setAttribute(config, 'aria-invalid', error ? 'true' : null);
    return !error;
  };
  config.addEventListener('change', check);
  config.addEventListener('input', () => { if (!configProblem.hidden) check(); });

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    failure.set(null);
    if (!check()) {
      config.focus();
      return;
    }
    submit.disabled = true;
    submit.setAttribute('aria-busy', 'true');
    try {
      const members = { name: name.value.trim(), node_id: node.value, ...(profile.value ? { runtime_profile: profile.value } : {}) };
      const { text } = parsed();
      const bot = await post('/api/bots', text ? withWritten(members, 'config', text) : members, { signal });
      put(bots, bot);
      // The bot exists now whatever comes of its start; its own page tells that.
      if (startNow.checked) await post(`/api/bots/${encodeURIComponent(bot.id)}/start`, {}, { signal }).catch((error) => toast(`Created, but not started: ${error.message}`));
      location.hash = botLink(bot.id);
    } catch (error) {
      failure.set(error);
      failure.scrollIntoView({ block: 'nearest' });
    } finally {
      submit.disabled = false;
      submit.removeAttribute('aria-busy');
    }
  });

  let focused = false;
  signal.addEventListener('abort', subscribe(() => {
    show(loading, !status.loaded && !status.error);
    if (!status.loaded) failure.set(status.error);
    show(noNodes, status.loaded && nodes.size === 0);
    show(form, nodes.size > 0);
    fill(node, [...nodes.values()].sort(byName).map((item) => ({
      value: item.id, text: item.health === 'online' ? item.name : `${item.name} (${word(item.health).toLowerCase()})`, disabled: false,
    })), preselected());
    if (nodes.has(wantedNode)) wantedNode = null;
    arrange();
    if (!focused && nodes.size > 0) {
      focused = true;
      name.focus();
    }
  }));
}
