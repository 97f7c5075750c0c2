// Small helpers that change the page only where something changed, so that nothing jumps under a reader's eyes or
// a keyboard's focus.

/** Makes an element. `class`, `text` and `on` (listeners by event name) are special, other props become attributes. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'class') element.className = value;
    else if (name === 'text') element.textContent = value;
    else if (name === 'on') for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(name, value === true ? '' : value);
  }
  // What is not there is left out, so that callers can write `condition && element`.
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function setText(element, text) {
  const value = text ?? '';
  if (element.textContent !== value) element.textContent = value;
}

export function setAttribute(element, name, value) {
  if (value === undefined || value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? '' : value);
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Replaces the children unless they already are these. */
export function setChildren(element, ...children) {
  const wanted = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  const same = wanted.length === element.childNodes.length && wanted.every((child, index) => child === element.childNodes[index]);
  if (!same) element.replaceChildren(...wanted);
}

const keys = new WeakMap();

/**
 * Keeps one child for each item, found again by its key. `create(item)` returns an element with an `update(item, index)`.
 * What stays is not moved unless its order changed, so that it keeps focus, selection and scroll position. What goes is
 * put into `pool`, if there is one, from which `create` may take it again.
 */
export function keyed(parent, items, keyOf, create, pool = null) {
  const wanted = new Set(items.map(keyOf));
  const known = new Map();
  for (const child of [...parent.children]) {
    if (!keys.has(child)) continue;
    if (wanted.has(keys.get(child))) known.set(keys.get(child), child);
    else {
      child.remove();
      pool?.push(child);
    }
  }
  let position = parent.firstChild;
  items.forEach((item, index) => {
    const key = keyOf(item);
    let child = known.get(key);
    if (!child) {
      child = create(item);
      keys.set(child, key);
    }
    child.update(item, index);
    if (child === position) position = position.nextSibling;
    else parent.insertBefore(child, position);
  });
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(props)) if (value !== undefined && value !== null) element.setAttribute(name, value);
  element.append(...children.filter(Boolean));
  return element;
}

/** Tells screen readers something that sighted people see happen. */
export function announce(text) {
  document.getElementById('announce').textContent = text;
}

/** A random key for requests that make something, so that sending one twice makes one thing. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** A button that puts a text on the clipboard and says so. */
export function copyButton(textOf, label = 'Copy') {
  const button = h('button', { type: 'button', class: 'copy slim', text: label });
  button.addEventListener('click', async () => {
    const copied = await copy(textOf());
    button.textContent = copied ? 'Copied' : 'Select and copy by hand';
    announce(button.textContent);
    setTimeout(() => { button.textContent = label; }, 2000);
  });
  return button;
}

async function copy(text) {
  try {
    // Only there in a secure context; a hub on a plain LAN address has to do with the old way below.
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch { /* Refused: the old way may still be allowed. */ }
  const area = h('textarea', { class: 'visually-hidden', readonly: true });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  return copied;
}
