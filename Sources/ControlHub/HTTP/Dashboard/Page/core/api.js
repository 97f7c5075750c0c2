// Talking to the hub. Every failure comes out as an ApiError whose message says what to do.
import { randomKey } from './dom.js';

export class ApiError extends Error {
  constructor(status, code, title, detail) {
    super(detail || title);
    Object.assign(this, { status, code, title });
  }

  /** Whether the hub has no such call: it is older than this page's part of it. Only for calls on things that exist. */
  get isAbsent() { return this.status === 404 || this.status === 405 || this.status === 501; }
}

let csrfToken = null;
let role = null;

/** The header that proves a change comes from this page; for the few requests that `send` does not make. */
export const csrfHeader = () => csrfToken;

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
/** The answer as the hub wrote it: see written.js. */
export const getText = (path, options) => requestText('GET', path, undefined, options);
export const post = (path, body = {}, options) => request('POST', path, body, options);
export const put = (path, body, options) => request('PUT', path, body, options);
export const patch = (path, body, options) => request('PATCH', path, body, options);
export const remove = (path, options) => request('DELETE', path, undefined, options);

export async function signOut() {
  await request('DELETE', '/api/session');
  location.assign('/login');
}

/**
 * All pages of a list, up to a bound that no browser should be asked to show more than. `onPage` sees each as it comes;
 * `first` asks for a first page of that size, so that there is something to see soon.
 */
export async function list(path, { onPage, first, limit = 20000, ...options } = {}) {
  const items = [];
  let cursor = null;
  do {
    const query = new URLSearchParams({ limit: String(cursor === null && first ? first : mostPerPage), ...(cursor === null ? {} : { cursor }) });
    const page = await get(`${path}${path.includes('?') ? '&' : '?'}${query}`, options);
    items.push(...page.items);
    onPage?.(page.items);
    cursor = page.next_cursor ?? null;
  } while (cursor !== null && items.length < limit);
  return items;
}

/** The most a hub puts on one page of a list. */
const mostPerPage = 500;

function toSignIn() {
  sessionStorage.setItem('return-to', location.hash);
  location.assign('/login');
}

async function request(method, path, body, options) {
  const text = await requestText(method, path, body, options);
  try { return text ? JSON.parse(text) : null; } catch { return null; }
}

/** A body that is a text is sent as it is. */
async function requestText(method, path, body, { idempotencyKey, ...options } = {}) {
  const headers = { Accept: 'application/json' };
  if (method === 'POST') headers['Idempotency-Key'] = idempotencyKey ?? randomKey();
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const sent = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  const response = await send(method, path, { headers, body: sent, ...options });
  return response.text();
}

/**
 * One exchange with the hub, whatever its content. Throws an `ApiError` for every answer that is no success. `signal`
 * ends only reading (`reads`): what was asked to be done is done, also when the view is left meanwhile.
 */
export async function send(method, path, { headers = {}, body, signal, timeout = 30000, reads = method === 'GET' } = {}) {
  if (method !== 'GET' && csrfToken) headers['X-CSRF-Token'] = csrfToken;
  const deadline = AbortSignal.timeout(timeout);
  let response;
  try {
    response = await fetch(path, {
      method, headers, body, credentials: 'same-origin', cache: 'no-store',
      signal: signal && reads ? AbortSignal.any([signal, deadline]) : deadline,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'unreachable', 'No answer', 'The hub does not answer. Check that it runs and that this device is online, then try again.');
  }
  if (response.ok) return response;
  let value = null;
  try { value = JSON.parse(await response.text()); } catch { /* A proxy's page, not the hub's words; the status tells. */ }
  if (response.status === 401) toSignIn();
  throw new ApiError(
    response.status, value?.code ?? 'http_error', value?.title ?? `HTTP ${response.status}`,
    value?.detail ?? `The hub answered with HTTP ${response.status}. Try again; if it stays, look at the hub's log.`,
  );
}
