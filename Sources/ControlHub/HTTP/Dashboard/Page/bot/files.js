// A bot's workspace: looking around, reading, editing, bringing and taking files.
import { allowed, get, send } from '../core/api.js';
import { ask, busy } from '../core/dialog.js';
import { announce, h, keyed, setAttribute, setText, show } from '../core/dom.js';
import { bytes, timeElement } from '../core/format.js';
import { problem, waiting } from '../parts/pieces.js';
import { openFile } from './file-view.js';
import { upload } from './upload.js';

export function filesPanel(container, { path, signal }) {
  const files = `${path}/workspace`;
  const mayWrite = allowed('operator');
  const crumbs = h('nav', { class: 'row files-path', 'aria-label': 'Folder' });
  const pick = h('input', { type: 'file', multiple: true, class: 'visually-hidden', tabindex: '-1', 'aria-hidden': 'true' });
  const uploadButton = h('button', { type: 'button', class: 'slim', text: 'Upload' });
  const create = h('button', { type: 'button', class: 'slim', text: 'New file' });
  const failure = problem();
  const loading = waiting('Asking the node for its files…');
  const none = h('p', { class: 'quiet', text: 'This folder is empty. Files the bot keeps in its workspace appear here; you can also drop some onto this page.' });
  const transfers = h('ul', { class: 'rows' });
  const table = h('table', { class: 'table stacking files' }, h('thead', {}, h('tr', {}, ...[['Name'], ['Size', 'end'], ['Changed'], ['', 'end']].map(([text, name]) => h(text ? 'th' : 'td', { text, class: name, scope: text ? 'col' : null })))));
  const rows = h('tbody');
  table.append(rows);
  const list = h('section', { class: 'card', 'aria-label': 'Files' },
    h('div', { class: 'panel-bar' }, crumbs, h('span', { class: 'spacer' }), mayWrite && create, mayWrite && uploadButton, pick),
    failure, transfers, loading, none, h('div', { class: 'table-frame' }, table));
  const viewer = h('div');
  container.append(list, viewer);

  for (const part of [none, table]) show(part, false);
  // Paths are percent-encoded throughout, as the hub gives and takes them: a name need not be text.
  let folder = '';
  const address = (place) => `${files}/${place}`;
  const inside = (name, place = folder) => [place, ...name.split('/').map(encodeURIComponent)].filter(Boolean).join('/');

  let round = 0;
  async function open(to = folder) {
    const own = round += 1;
    show(loading, rows.childElementCount === 0);
    // At once: what is made or brought from now on is meant for where one goes, not for where one was.
    const isOther = folder !== to;
    const hadFocus = list.contains(document.activeElement);
    folder = to;
    fillCrumbs();
    try {
      const items = await listing(files, to, signal);
      if (own !== round) return;
      keyed(rows, items, (item) => item.path, () => fileRow({ open, view, address, removeFile }));
      show(none, items.length === 0);
      show(table, items.length > 0);
      failure.set(null);
    } catch (error) {
      if (own !== round) return;
      rows.replaceChildren();
      for (const part of [none, table]) show(part, false);
      failure.set(error, () => open(to));
    }
    show(loading, false);
    // What was pressed is gone now.
    if (isOther && hadFocus && !list.contains(document.activeElement)) crumbs.querySelector('[aria-current]').focus();
  }

  function fillCrumbs() {
    const parts = folder ? folder.split('/') : [];
    crumbs.replaceChildren(folderButton('workspace', ''), ...parts.flatMap((part, index) => [h('span', { class: 'quiet', 'aria-hidden': 'true', text: '/' }), folderButton(readable(part), parts.slice(0, index + 1).join('/'))]));
  }
  const folderButton = (text, to) => h('button', { type: 'button', class: 'plain slim', text, 'aria-current': to === folder ? 'location' : null, on: { click: () => open(to) } });

  function view(item) {
    openFile(viewer, { item, address: address(item.path), path: readable(item.path), mayWrite, signal, onSaved: () => open() });
  }

  function removeFile(item) {
    return ask({
      title: `Delete ${item.name}?`, confirm: 'Delete', danger: true,
      content: [h('p', { text: item.isFolder ? 'The folder and everything in it is deleted on the node.' : 'The file is deleted on the node. There is no way back.' })],
      action: async () => {
        await send('DELETE', `${address(item.path)}${item.isFolder ? '?recursive=true' : ''}`, { signal });
        viewer.replaceChildren();
        await open();
      },
    });
  }

  create.addEventListener('click', () => {
    const place = folder;
    const name = h('input', { id: 'file-name', required: true, autocomplete: 'off', spellcheck: 'false', placeholder: 'notes.md' });
    ask({
      title: 'New file', confirm: 'Create', content: [h('div', { class: 'field' }, h('label', { for: 'file-name', text: `Name, in ${readable(place) || 'workspace'}` }), name,
        h('p', { class: 'help', text: 'With / at the end it becomes a folder. Folders on the way are made.' }))],
      action: async () => {
        const wanted = name.value.trim(), isFolder = wanted.endsWith('/');
        const made = inside(wanted.replace(/\/+$/, ''), place);
        await send('PUT', `${address(made)}${isFolder ? '/' : ''}`, {
          body: new Blob([]), headers: { 'Content-Type': 'application/octet-stream', ...(isFolder ? {} : { 'If-None-Match': '*' }) }, signal,
        });
        await open();
        if (!isFolder) view({ path: made, size: 0 });
      },
    });
  });

  uploadButton.addEventListener('click', () => pick.click());
  pick.addEventListener('change', () => {
    bring([...pick.files]);
    pick.value = '';
  });
  list.addEventListener('dragover', (event) => {
    if (!mayWrite || !event.dataTransfer.types.includes('Files')) return;
    event.preventDefault();
    list.classList.add('dropping');
  });
  list.addEventListener('dragleave', () => list.classList.remove('dropping'));
  list.addEventListener('drop', (event) => {
    list.classList.remove('dropping');
    if (!mayWrite) return;
    event.preventDefault();
    bring([...event.dataTransfer.files]);
  });

  function bring(picked) {
    busy(uploadButton, failure, async () => {
      for (const file of picked) await upload(transfers, { file, address: address(inside(file.name)), signal });
      announce('Uploaded.');
      await open();
    });
  }

  open('');
}

/** A path as people read it. */
function readable(path) {
  try { return decodeURIComponent(path); } catch { return path; }
}

/** The entries of a folder, folders first. */
async function listing(files, folder, signal) {
  const items = [];
  let cursor = null;
  do {
    const answer = await get(`${files}?list=${folder}&limit=500${cursor ? `&cursor=${cursor}` : ''}`, { signal });
    for (const item of answer.items) {
      items.push({ name: item.name, path: item.path, size: item.size_bytes, at: item.modified_at, isFolder: item.type === 'directory', target: item.link_target });
    }
    cursor = answer.next_cursor;
  } while (cursor && items.length < 5000);
  return items.sort((one, other) => Number(other.isFolder) - Number(one.isFolder) || one.name.localeCompare(other.name, undefined, { numeric: true }));
}

function fileRow({ open, view, address, removeFile }) {
  let item = null;
  const name = h('button', { type: 'button', class: 'plain slim file-name', on: { click: () => (item.isFolder ? open(item.path) : view(item)) } });
  const size = h('td', { class: 'end nowrap', 'data-head': 'Size' });
  const at = timeElement('ago');
  const take = h('a', { class: 'button plain slim', text: 'Download' });
  const erase = h('button', { type: 'button', class: 'plain slim', text: 'Delete', on: { click: () => removeFile(item) } });
  const row = h('tr', {}, h('td', {}, name), size, h('td', { class: 'nowrap', 'data-head': 'Changed' }, at), h('td', { class: 'end' }, h('span', { class: 'row files-actions' }, take, allowed('operator') && erase)));
  row.update = (value) => {
    item = value;
    setText(name, value.isFolder ? `${value.name}/` : value.target ? `${value.name} → ${value.target}` : value.name);
    setAttribute(name, 'data-folder', value.isFolder ? 'true' : null);
    setText(size, value.isFolder ? '' : bytes(value.size));
    at.set(value.at);
    show(take, !value.isFolder);
    setAttribute(take, 'href', value.isFolder ? null : `${address(value.path)}?download=true`);
    setAttribute(take, 'download', value.name);
    setAttribute(take, 'aria-label', `Download ${value.name}`);
    setAttribute(erase, 'aria-label', `Delete ${value.name}`);
  };
  return row;
}
