// One file of a workspace: its text, to read and to edit.
import { send } from '../core/api.js';
import { announce, h, setText, show } from '../core/dom.js';
import { bytes } from '../core/format.js';
import { problem, waiting } from '../parts/pieces.js';

/** Larger files are downloaded, not shown. */
const mostShownBytes = 1 << 20;

export async function openFile(place, { item, address, path, mayWrite, signal, onSaved }) {
  const failure = problem();
  const loading = waiting('Asking the node for the file…');
  const close = h('button', { type: 'button', class: 'slim', text: 'Close', on: { click: () => place.replaceChildren() } });
  const save = h('button', { type: 'button', class: 'slim primary', text: 'Save' });
  const note = h('span', { class: 'caption', role: 'status' });
  const text = h('textarea', { class: 'mono file-text', spellcheck: 'false', autocapitalize: 'off', wrap: 'off', 'aria-label': `Content of ${path}`, readonly: !mayWrite });
  const card = h('section', { class: 'card stack', 'aria-label': `File ${path}` },
    h('div', { class: 'panel-bar' }, h('h2', { class: 'mono', text: path }), note, h('span', { class: 'spacer' }), mayWrite && save, close), failure, loading, text);
  show(text, false);
  save.disabled = true;
  place.replaceChildren(card);
  card.scrollIntoView({ block: 'nearest' });

  if (item.size > mostShownBytes) {
    show(loading, false);
    failure.set(new Error(`${bytes(item.size)} are too much to show here. Download it instead.`));
    return;
  }
  let tag = null;
  try {
    const response = await send('GET', address, { headers: { Accept: '*/*' }, signal });
    tag = response.headers.get('ETag');
    const content = new Uint8Array(await response.arrayBuffer());
    const decoded = decode(content);
    if (decoded === null) {
      failure.set(new Error('This file is not text. Download it to look at it.'));
      return;
    }
    text.value = decoded;
    show(text, true);
    setText(note, bytes(content.length));
  } catch (error) {
    failure.set(error);
    return;
  } finally {
    show(loading, false);
  }

  text.addEventListener('input', () => {
    save.disabled = false;
    setText(note, 'Changed, not saved');
  });
  text.addEventListener('keydown', (event) => {
    if (event.key !== 's' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (!save.disabled) save.click();
  });
  save.addEventListener('click', async () => {
    failure.set(null);
    save.disabled = true;
    save.setAttribute('aria-busy', 'true');
    try {
      const headers = { 'Content-Type': 'application/octet-stream', ...(tag ? { 'If-Match': tag } : {}) };
      const response = await send('PUT', address, { body: new Blob([text.value]), headers, signal });
      tag = response.headers.get('ETag') ?? (await response.json())?.etag ?? null;
      setText(note, 'Saved');
      announce('Saved.');
      onSaved();
    } catch (error) {
      save.disabled = false;
      failure.set(error.status === 412 ? new Error('The file has changed on the node since it was opened here. Copy your text, open the file again, and make your change there.') : error);
    } finally {
      save.removeAttribute('aria-busy');
    }
  });
}

/** The bytes as text, or null where they are none. */
function decode(content) {
  if (content.includes(0)) return null;
  try { return new TextDecoder('utf-8', { fatal: true }).decode(content); } catch { return null; }
}
