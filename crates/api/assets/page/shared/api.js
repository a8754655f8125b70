// Sends every request to the server. A refusal throws `Problem`, no answer throws `Unreachable`. When
// the session is missing or has expired, one login serves all requests that wait for it.

import { sleep } from './dom.js';

/** A refusal by the server, with its problem document (RFC 9457). */
export class Problem extends Error {
  constructor(status, body, retryAfterMs) {
    super(body.detail || body.title || `the server answered ${status}`);
    this.status = status;
    this.code = body.code ?? '';
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.retryable = Boolean(body.retryable);
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the server has no such route. False when the route exists and the resource does not. */
  get noSuchRoute() {
    return (
      [404, 405, 501].includes(this.status) &&
      (this.code === 'no_such_route' || this.code === 'no_such_method' || !this.code)
    );
  }
}

/** The server did not answer. */
export class Unreachable extends Error {
  constructor() {
    super('The server does not answer');
  }
}

/** The connection to the server: `lost` while it does not answer. Sends "lost" and "restored" events. */
export const connection = Object.assign(new EventTarget(), { lost: false });

const TIMEOUT_MS = 30_000;
const MIN_PAUSE_MS = 500;
const MAX_PAUSE_MS = 5_000;

let signIn = () => Promise.reject(new Error('the login is not set up'));
let signingIn = null;

/** Sets the function that shows the login; its promise resolves when there is a session. */
export function onLoginNeeded(showLogin) {
  signIn = showLogin;
}

/** Sends a request and returns the JSON of the answer; null if the answer has no body. */
export async function call(method, path, { body, headers, signal } = {}) {
  for (;;) {
    const response = await request(method, path, { body, headers, signal });
    if (response.ok) return read(response);
    if (response.status !== 401 || path === '/v1/session') throw await problem(response);
    await login();
  }
}

/** Like `call` with GET, but returns null if the server has no such route or the key may not use it. */
export async function getIfAvailable(path, options) {
  try {
    return await call('GET', path, options);
  } catch (error) {
    if (error instanceof Problem && (error.noSuchRoute || error.status === 403)) return null;
    throw error;
  }
}

/** Sends a request and returns the response as it is. */
export async function request(
  method,
  path,
  { body, headers = {}, signal, timeoutMs = TIMEOUT_MS, keepalive = false } = {},
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
  init.signal = withTimeout(signal, timeoutMs);
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    return connectionLost();
  }
  // A gateway answers like this when the server is down. The server itself sends a problem document.
  if ([502, 503, 504].includes(response.status) && !isProblem(response)) return connectionLost();
  return response;
}

export function login() {
  signingIn ??= signIn().finally(() => (signingIn = null));
  return signingIn;
}

/** Resolves when the server answers again; at once if it does now. */
export function whenRestored(signal) {
  if (!connection.lost) return Promise.resolve();
  return new Promise((resolve) => {
    connection.addEventListener('restored', resolve, { once: true });
    signal?.addEventListener('abort', resolve, { once: true });
  });
}

export async function problem(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // There is no JSON: use the status alone.
  }
  const after = Number(response.headers.get('Retry-After'));
  return new Problem(response.status, body ?? {}, after > 0 ? after * 1000 : undefined);
}

function connectionLost() {
  if (!connection.lost) {
    connection.lost = true;
    connection.dispatchEvent(new Event('lost'));
    waitForServer();
  }
  throw new Unreachable();
}

/** Polls until the server answers. Polls at once when the network or the tab becomes active. */
async function waitForServer() {
  let pause = MIN_PAUSE_MS;
  while (connection.lost) {
    const wake = new AbortController();
    const wakeNow = () => wake.abort();
    addEventListener('online', wakeNow);
    document.addEventListener('visibilitychange', wakeNow);
    await sleep(pause, wake.signal);
    removeEventListener('online', wakeNow);
    document.removeEventListener('visibilitychange', wakeNow);
    pause = Math.min(pause * 1.6, MAX_PAUSE_MS);
    try {
      const response = await fetch('/healthz', { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (![502, 503, 504].includes(response.status)) connection.lost = false;
    } catch {
      // Try again after the pause.
    }
  }
  connection.dispatchEvent(new Event('restored'));
}

async function read(response) {
  if (response.status === 204) return null;
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

function isProblem(response) {
  return (response.headers.get('Content-Type') ?? '').includes('json');
}

function withTimeout(signal, timeoutMs) {
  if (!timeoutMs) return signal;
  const limit = AbortSignal.timeout(timeoutMs);
  return signal ? AbortSignal.any([signal, limit]) : limit;
}

function cookie(name) {
  const pair = document.cookie.split('; ').find((part) => part.startsWith(`${name}=`));
  return pair ? decodeURIComponent(pair.slice(name.length + 1)) : '';
}
