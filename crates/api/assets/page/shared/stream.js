// Reads server-sent events with `fetch`. Unlike `EventSource`, it gives the status, so that a missing
// route, a missing session and an outage differ. It also resumes after a refusal.

import { Unreachable, login, problem, request, whenRestored } from './api.js';
import { sleep } from './dom.js';

/** The server sends something at least every 15 s. After this time without data the connection is dead. */
const IDLE_MS = 40_000;
const MIN_PAUSE_MS = 400;
const MAX_PAUSE_MS = 6_000;

/**
 * Follows the stream at `path` until it ends or `signal` aborts. `onEvent(name, data)` is called for each
 * event, `onOpen()` after each connect. Resolves with "ended" (no more events), "missing" (no such
 * stream) or "stopped" (aborted).
 */
export async function follow(path, { after, onEvent, onOpen, signal }) {
  let last = after;
  let pause = MIN_PAUSE_MS;
  while (!signal.aborted) {
    const url = last ? `${path}?after=${encodeURIComponent(last)}` : path;
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener('abort', stop, { once: true });
    try {
      const response = await request('GET', url, {
        headers: { Accept: 'text/event-stream' },
        signal: attempt.signal,
        timeoutMs: 0,
      });
      if (response.status === 204) return 'ended';
      if (response.status === 401) {
        await login();
        continue;
      }
      if (!response.ok) {
        const refusal = await problem(response);
        // The server cannot read the last event id, perhaps from an older version: continue without it.
        if (refusal.status === 400 && last) last = undefined;
        else if (!refusal.retryable && refusal.status < 500) return 'missing';
      } else {
        onOpen?.();
        await read(response, attempt, (event) => {
          pause = MIN_PAUSE_MS;
          if (event.id) last = event.id;
          onEvent(event.name, event.data);
        });
      }
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof Unreachable) await whenRestored(signal);
    } finally {
      signal.removeEventListener('abort', stop);
    }
    await sleep(pause + Math.random() * pause, signal);
    pause = Math.min(pause * 2, MAX_PAUSE_MS);
  }
  return 'stopped';
}

async function read(response, attempt, onEvent) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const timer = setTimeout(() => attempt.abort(), IDLE_MS);
    let part;
    try {
      part = await reader.read();
    } finally {
      clearTimeout(timer);
    }
    if (part.done) return;
    const blocks = (rest + part.value).replaceAll('\r\n', '\n').split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parse(block);
      if (event) onEvent(event);
    }
  }
}

function parse(block) {
  const event = { name: 'message', data: '' };
  let any = false;
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const field = line.slice(0, colon);
    const value = line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') event.name = value;
    else if (field === 'id') event.id = value;
    else if (field === 'data') {
      event.data += any ? `\n${value}` : value;
      any = true;
    }
  }
  if (!any) return null;
  try {
    event.data = JSON.parse(event.data);
  } catch {
    return null;
  }
  return event;
}
