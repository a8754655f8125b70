// Every request goes through here: refusals become `Problem`, silence becomes `Away`, and a session
// that is missing or over is asked for once for all requests that wait for it.

import { sleep } from './dom.js';

/** A refusal in the server's own words (RFC 9457). */
export class Problem extends Error {
  constructor(status, body, retryAfterMs) {
    super(body.detail || body.title || `the server answered ${status}`);
    this.status = status;
    this.code = body.code ?? '';
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.retryable = Boolean(body.retryable);
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the server does not know this path at all, rather than the thing asked for. */
  get noSuchRoute() {
    return (
      [404, 405, 501].includes(this.status) &&
      (this.code === 'no_such_route' || this.code === 'no_such_method' || !this.code)
    );
  }
}

/** The server did not answer. */
export class Away extends Error {
  constructor() {
    super('The server does not answer');
  }
}

/** Tells of "away" and "back". */
export const connection = Object.assign(new EventTarget(), { away: false });

const PATIENCE = 30_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;

let signIn = () => Promise.reject(new Error('nobody can sign in'));
let signingIn = null;

/** `ask` shows the login and resolves once there is a session. */
export function onLogin(ask) {
  signIn = ask;
}

/** Sends a request and reads its JSON; null where there is nothing to read. */
export async function call(method, path, { body, headers, signal } = {}) {
  for (;;) {
    const response = await request(method, path, { body, headers, signal });
    if (response.ok) return read(response);
    if (response.status !== 401 || path === '/v1/session') throw await problem(response);
    await login();
  }
}

/** Like `call` for GET, but null where this server has no such path, or this key may not use it. */
export async function optional(path, options) {
  try {
    return await call('GET', path, options);
  } catch (error) {
    if (error instanceof Problem && (error.noSuchRoute || error.status === 403)) return null;
    throw error;
  }
}

/** The raw response, for event streams and pictures. */
export async function request(
  method,
  path,
  { body, headers = {}, signal, patience = PATIENCE, keepalive = false } = {},
) {
  const init = { method, keepalive, headers: { Accept: 'application/json', ...headers }, credentials: 'same-origin' };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers['Content-Type'] = 'application/json';
  }
  if (method !== 'GET') {
    const token = cookie('uso_csrf');
    if (token) init.headers['X-CSRF-Token'] = token;
  }
  init.signal = within(signal, patience);
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    return away();
  }
  // A gateway speaks for a server that is gone; our own refusals are problem documents.
  if ([502, 503, 504].includes(response.status) && !isProblem(response)) return away();
  return response;
}

export function login() {
  signingIn ??= signIn().finally(() => (signingIn = null));
  return signingIn;
}

/** Resolves when the server answers, at once if it does. */
export function whenBack(signal) {
  if (!connection.away) return Promise.resolve();
  return new Promise((resolve) => {
    connection.addEventListener('back', resolve, { once: true });
    signal?.addEventListener('abort', resolve, { once: true });
  });
}

export async function problem(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // The status alone has to do.
  }
  const after = Number(response.headers.get('Retry-After'));
  return new Problem(response.status, body ?? {}, after > 0 ? after * 1000 : undefined);
}

function away() {
  if (!connection.away) {
    connection.away = true;
    connection.dispatchEvent(new Event('away'));
    ping();
  }
  throw new Away();
}

/** Asks until somebody answers; looks at once when the network or the tab comes back. */
async function ping() {
  let pause = FIRST_PAUSE;
  while (connection.away) {
    const hurry = new AbortController();
    const now = () => hurry.abort();
    addEventListener('online', now);
    document.addEventListener('visibilitychange', now);
    await sleep(pause, hurry.signal);
    removeEventListener('online', now);
    document.removeEventListener('visibilitychange', now);
    pause = Math.min(pause * 1.6, LONGEST_PAUSE);
    try {
      const response = await fetch('/healthz', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
      if (![502, 503, 504].includes(response.status)) connection.away = false;
    } catch {
      // Not yet.
    }
  }
  connection.dispatchEvent(new Event('back'));
}

async function read(response) {
  if (response.status === 204) return null;
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

function isProblem(response) {
  return (response.headers.get('Content-Type') ?? '').includes('json');
}

function within(signal, patience) {
  if (!patience) return signal;
  const limit = AbortSignal.timeout(patience);
  return signal ? AbortSignal.any([signal, limit]) : limit;
}

function cookie(name) {
  const pair = document.cookie.split('; ').find((part) => part.startsWith(`${name}=`));
  return pair ? decodeURIComponent(pair.slice(name.length + 1)) : '';
}
