// The hub itself, and how the page looks.
import { get } from '../core/api.js';
import { h, setAttribute } from '../core/dom.js';
import { bytes } from '../core/format.js';
import { facts, problem, section } from '../parts/pieces.js';

const themes = [['system', 'As the system'], ['light', 'Light'], ['dark', 'Dark']];

export function aboutPart(container, { signal }) {
  const list = facts(['Name', 'Address', 'Version', 'API', 'Node protocol', 'Database']);
  const failure = problem();
  const buttons = themes.map(([name, text]) => h('button', { type: 'button', text, on: { click: () => {
    window.hubTheme.set(name);
    tell();
  } } }));
  const tell = () => buttons.forEach((button, index) => setAttribute(button, 'aria-pressed', String(window.hubTheme.current === themes[index][0])));
  container.append(section('This hub', failure, list),
    section('Appearance', h('div', { class: 'segments', role: 'group', 'aria-label': 'Colours' }, ...buttons)),
    section('For scripts', h('p', {}, 'Everything here is done by an API that scripts can use too: ', h('a', { href: '/api/openapi.json', text: 'its OpenAPI document' }), '. ',
      'Figures for Prometheus are at ', h('code', { text: '/metrics' }), '.')));
  tell();
  async function load() {
    try {
      const version = await get('/api/version', { signal });
      list.set('Name', version.hub_name);
      list.set('Address', version.public_url);
      list.set('Version', version.version);
      list.set('API', version.api_version);
      list.set('Node protocol', version.node_protocol);
      const kept = await get('/api/retention', { signal });
      const packets = kept.kinds.find((each) => each.kind === 'packets');
      list.set('Database', `${bytes(kept.database_bytes)}, ${packets.rows.toLocaleString('en')} packets${packets.limits.bytes ? `, ${bytes(packets.bytes)} of ${bytes(packets.limits.bytes)}` : ''}`);
      failure.set(null);
    } catch (error) { failure.set(error, load); }
  }
  load();
}
