// Questions, menus and short notes.
import { announce, h, setText, show } from './dom.js';

/**
 * Asks in a dialog. `content` are elements between title and buttons; `action(form)` does the work while the dialog
 * shows that it is under way, and keeps it open with the reason where it fails. Resolves to whether it was done.
 */
export function ask({ title, content = [], confirm = 'OK', danger = false, large = false, action = async () => {} }) {
  return new Promise((resolve) => {
    const failure = h('p', { class: 'problem', role: 'alert' });
    failure.hidden = true;
    const submit = h('button', { type: 'submit', class: danger ? 'danger' : 'primary', text: confirm });
    const cancel = h('button', { type: 'button', text: 'Cancel' });
    const heading = h('h2', { id: 'dialog-title', text: title });
    const form = h('form', { method: 'dialog' }, heading, ...content, failure, h('div', { class: 'actions' }, cancel, submit));
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title', class: large ? 'large' : undefined }, form);
    let done = false;
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      show(failure, false);
      submit.disabled = true;
      submit.setAttribute('aria-busy', 'true');
      try {
        await action(form);
        done = true;
        dialog.close();
      } catch (error) {
        setText(failure, error.message);
        show(failure, true);
      } finally {
        submit.disabled = false;
        submit.removeAttribute('aria-busy');
      }
    });
    cancel.addEventListener('click', () => dialog.close());
    modal(dialog).then(() => resolve(done));
  });
}

/** Shows a dialog above everything until it is closed, at the latest when another view is opened. */
export function modal(dialog) {
  const shown = new AbortController();
  // Another view is another question.
  addEventListener('hashchange', () => dialog.close(), { signal: shown.signal });
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      shown.abort();
      dialog.remove();
      resolve();
    });
  });
}

/** Tells something that is only to be read once, such as a new token. */
export function tell(title, ...content) {
  const close = h('button', { type: 'button', class: 'primary', text: 'Done' });
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' },
    h('div', { class: 'dialog-body' }, h('h2', { id: 'dialog-title', text: title }), ...content, h('div', { class: 'actions' }, close)));
  close.addEventListener('click', () => dialog.close());
  modal(dialog);
}

let menus = 0;

/** A button that opens a menu of `[text, action, {danger}]`; null makes a line. */
export function menuButton(text, entries) {
  const id = `menu-${menus += 1}`;
  const menu = h('div', { id, class: 'menu', popover: 'auto' });
  const button = h('button', { type: 'button', popovertarget: id, 'aria-haspopup': 'true', text });
  for (const entry of entries) {
    if (!entry) {
      menu.append(h('hr'));
      continue;
    }
    const [label, action, { danger = false, name } = {}] = entry;
    menu.append(h('button', { type: 'button', class: danger ? 'danger' : undefined, text: label, 'data-action': name, on: { click: () => {
      menu.hidePopover();
      action();
    } } }));
  }
  menu.addEventListener('toggle', (event) => {
    if (event.newState !== 'open') return;
    const box = button.getBoundingClientRect();
    menu.style.top = `${Math.min(box.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
    menu.style.left = `${Math.max(8, Math.min(box.right - menu.offsetWidth, innerWidth - menu.offsetWidth - 8))}px`;
    menu.querySelector('button')?.focus();
  });
  menu.addEventListener('keydown', (event) => {
    const items = [...menu.querySelectorAll('button')];
    const at = items.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    items[(at + step + items.length) % items.length].focus();
  });
  const element = h('span', {}, button, menu);
  element.button = button;
  return element;
}

/** A note that goes by itself, and is read out. */
export function toast(text) {
  const element = h('p', { text });
  document.getElementById('toasts').append(element);
  announce(text);
  setTimeout(() => element.remove(), 6000);
}

/** Runs `action` while `button` shows that it is under way; a failure goes to `failure`. */
export async function busy(button, failure, action) {
  if (button.disabled) return;
  button.disabled = true;
  button.setAttribute('aria-busy', 'true');
  failure.set(null);
  try {
    await action();
  } catch (error) {
    failure.set(error);
  } finally {
    button.disabled = false;
    button.removeAttribute('aria-busy');
  }
}
