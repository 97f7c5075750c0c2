// Files that would change, as a tree with what each folder carries. Folders are filled when they are unfolded.
import { h } from '../core/dom.js';
import { bytes, plural } from '../core/format.js';

const signs = { added: ['+', 'new'], changed: ['~', 'changed'], removed: ['−', 'removed'], unknown: ['·', ''] };
/** So few are shown at once, without unfolding. */
const openUpTo = 12;

/** `files` are `{path, change, bytes}`; the hub names the first of them only, `total` says how many there are. */
export function changeTree(files, total) {
  const root = gather(files);
  const element = h('div', { class: 'change-tree' }, level(root, files.length <= openUpTo));
  if (total > files.length) element.append(h('p', { class: 'caption', text: `and ${plural(total - files.length, 'more file')}` }));
  return element;
}

function gather(files) {
  const root = folder('');
  for (const file of files) {
    const parts = file.path.split('/').filter(Boolean);
    let place = root;
    const way = [root];
    for (const part of parts.slice(0, -1)) {
      if (!place.folders.has(part)) place.folders.set(part, folder(part));
      place = place.folders.get(part);
      way.push(place);
    }
    place.files.push({ ...file, name: parts.at(-1) ?? file.path });
    for (const each of way) {
      each.count += 1;
      if (file.change !== 'removed') each.bytes += file.bytes;
    }
  }
  return root;
}

const folder = (name) => ({ name, folders: new Map(), files: [], count: 0, bytes: 0 });
const collator = new Intl.Collator(undefined, { numeric: true });

function level(place, isOpen) {
  const list = h('ul');
  const folders = [...place.folders.values()].map(joined).sort((one, other) => collator.compare(one.name, other.name));
  for (const each of folders) list.append(h('li', {}, folderElement(each, isOpen)));
  // What is a folder itself and has others below needs no line of its own.
  const files = place.files.filter((file) => !place.folders.has(file.name)).sort((one, other) => collator.compare(one.name, other.name));
  for (const file of files) list.append(fileElement(file));
  return list;
}

/** A folder that holds nothing but one other is one line with it. */
function joined(place) {
  let each = place;
  while (each.files.length === 0 && each.folders.size === 1) {
    const [only] = each.folders.values();
    each = { ...only, name: `${each.name}/${only.name}` };
  }
  return each;
}

function folderElement(place, isOpen) {
  const summary = h('summary', {}, h('span', { class: 'mono cut', text: `${visible(place.name)}/` }),
    h('span', { class: 'caption', text: plural(place.count, 'file') }), h('span', { class: 'size', text: bytes(place.bytes) }));
  const element = h('details', { open: isOpen }, summary);
  const fill = () => { if (element.children.length === 1) element.append(level(place, isOpen)); };
  if (isOpen) fill();
  element.addEventListener('toggle', fill, { once: true });
  return element;
}

function fileElement(file) {
  const [sign, word] = signs[file.change] ?? signs.unknown;
  return h('li', { class: 'change-file', 'data-change': file.change },
    h('span', { class: 'sign mono', 'aria-hidden': 'true', text: sign }), h('span', { class: 'visually-hidden', text: word }),
    h('span', { class: 'mono cut', text: visible(file.name), title: visible(file.path) }), h('span', { class: 'size', text: bytes(file.bytes) }));
}

/** A name may hold anything but a slash: what cannot be seen is shown by its picture. */
const visible = (name) => name.replace(/[\u0000-\u001f]/g, (character) => String.fromCharCode(0x2400 + character.charCodeAt(0))).replace('\u007f', '\u2421');
