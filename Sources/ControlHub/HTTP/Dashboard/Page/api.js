// Talking to the hub. Every failure comes out as an ApiError whose message says what to do.
import { randomKey } from './dom.js';

export class ApiError extends Error {
  constructor(status, code, title, detail) {
    super(detail || title);
    Object.assign(this, { status, code, title });
  }
}

let csrfToken = null;
let role = null;

const roles = ['viewer', 'operator', 'admin'];

/** Whether the hub lets this operator do what needs `wanted`. The hub decides; this only hides what it would refuse. */
export const allowed = (wanted) => roles.indexOf(role) >= roles.indexOf(wanted);

/** Who is signed in: `{operator: {name, role}, csrf_token}`. Leaves for the sign-in page where nobody is. */
export async function session() {
  const current = await request('GET', '/api/session');
  csrfToken = current.csrf_token;
  role = current.operator?.role ?? 'admin';
  return current;
}

export const get = (path, options) => request('GET', path, undefined, options);
export const post = (path, body = {}, options) => request('POST', path, body, options);

export async function signOut() {
  await request('DELETE', '/api/session');
  location.assign('/login');
}

/** All pages of a list, up to a bound that no browser should be asked to show more than. */
export async function list(path, options) {
  const items = [];
  let cursor = null;
  do {
    const separator = path.includes('?') ? '&' : '?';
    const page = await get(cursor ? `${path}${separator}cursor=${encodeURIComponent(cursor)}` : path, options);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < 5000);
  return items;
}

export function toSignIn() {
  sessionStorage.setItem('return-to', location.hash);
  location.assign('/login');
}

async function request(method, path, body, { signal, idempotencyKey } = {}) {
  const headers = { Accept: 'application/json' };
  if (method !== 'GET' && csrfToken) headers['X-CSRF-Token'] = csrfToken;
  if (method === 'POST') headers['Idempotency-Key'] = idempotencyKey ?? randomKey();
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const deadline = AbortSignal.timeout(20000);
  let response;
  try {
    response = await fetch(path, {
      method, headers, credentials: 'same-origin', cache: 'no-store',
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'unreachable', 'No answer', 'The hub does not answer. Check that it runs and that this device is online, then try again.');
  }
  const text = await response.text();
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { /* A proxy's page, not the hub's words; the status tells. */ }
  if (response.ok) return value;
  if (response.status === 401) toSignIn();
  throw new ApiError(
    response.status, value?.code ?? 'http_error', value?.title ?? `HTTP ${response.status}`,
    value?.detail ?? `The hub answered with HTTP ${response.status}. Try again; if it stays, look at the hub's log.`,
  );
}
