// Who may use the hub, what was done, and what the hub is. A part is `(container, {signal})`.
import { allowed } from '../core/api.js';
import { h } from '../core/dom.js';
import { pageHead, tabs } from '../parts/pieces.js';
import { aboutPart } from './about.js';
import { auditPart } from './audit.js';
import { enrollmentsPart } from './enrollments.js';
import { operatorsPart } from './operators.js';
import { tokensPart } from './tokens.js';

const parts = {
  about: ['This hub', aboutPart, 'viewer'], tokens: ['My tokens', tokensPart, 'viewer'], operators: ['Operators', operatorsPart, 'admin'],
  enrollments: ['Pairing codes', enrollmentsPart, 'admin'], audit: ['Audit log', auditPart, 'admin'],
};
export const settingsParts = Object.keys(parts);

export function settingsView(container, { part, signal, setTitle }) {
  setTitle('Settings');
  const offered = Object.entries(parts).filter(([, [, , role]]) => allowed(role));
  const bar = tabs('Settings', offered.map(([name, [title]]) => [name, title, `#/settings/${name}`]));
  const place = h('div', { class: 'stack' });
  container.append(pageHead('Settings'), bar, place);
  let controller = null;
  const open = (name = 'about') => {
    controller?.abort();
    controller = new AbortController();
    place.replaceChildren();
    bar.show(name);
    if (allowed(parts[name][2])) parts[name][1](place, { signal: controller.signal });
    else place.append(h('p', { class: 'notice', text: `Only an ${parts[name][2]} sees this.` }));
  };
  signal.addEventListener('abort', () => controller?.abort());
  open(part);
  return open;
}
