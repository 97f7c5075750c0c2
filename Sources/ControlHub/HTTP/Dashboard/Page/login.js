// Sign-in: by the one-time link of the hub (`/login#TOKEN`) or by an operator's token.
import { setText, show } from './core/dom.js';

const form = document.getElementById('sign-in');
const field = document.getElementById('token');
const button = form.querySelector('[type=submit]');
const problem = document.getElementById('problem');
const otherWay = document.getElementById('other-way');

let loginToken = decodeURIComponent(location.hash.slice(1));
// Out of the address bar and the history, where others may see it.
if (loginToken) history.replaceState(null, '', location.pathname);
arrange();

function arrange() {
  const byLink = Boolean(loginToken);
  show(document.getElementById('by-link'), byLink);
  show(document.getElementById('by-token'), !byLink);
  show(otherWay, byLink);
  (byLink ? button : field).focus();
}

otherWay.addEventListener('click', () => {
  loginToken = '';
  tell('');
  arrange();
});

window.addEventListener('hashchange', () => location.reload());

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const token = field.value.trim();
  if (!loginToken && !token) {
    tell('Paste your operator token, or open a sign-in link.');
    field.focus();
    return;
  }
  tell('');
  button.disabled = true;
  try {
    const response = await fetch('/api/session', {
      method: 'POST', credentials: 'same-origin', cache: 'no-store',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
      body: JSON.stringify(loginToken ? { login_token: loginToken } : { token }),
      signal: AbortSignal.timeout(20000),
    });
    if (response.ok) {
      location.replace('/');
      return;
    }
    const body = await response.json().catch(() => null);
    if (loginToken && response.status === 401) {
      loginToken = '';
      arrange();
      tell('This sign-in link was used already or has expired. Ask the hub for a new one, or paste an operator token.');
    } else {
      tell(body?.detail ?? body?.title ?? `The hub answered with HTTP ${response.status}. Try again.`);
    }
  } catch {
    tell('The hub does not answer. Check that it runs and that this device is online, then try again.');
  } finally {
    button.disabled = false;
  }
});

function tell(text) {
  setText(problem, text);
  show(problem, Boolean(text));
}
