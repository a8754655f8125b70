// Server-sent events over fetch: unlike EventSource it shows the status, so that a missing path, a
// missing session and an outage can be told apart, and it resumes after a refusal too.

import { Away, login, problem, request, whenBack } from './api.js';
import { sleep } from './dom.js';

/** The server sends something at least every 15 s; a connection quieter than this is dead. */
const SILENCE = 40_000;
const FIRST_PAUSE = 400;
const LONGEST_PAUSE = 6_000;

/**
 * Follows `path` until it ends for good or `signal` aborts. `hear(name, data)` gets every event,
 * `opened()` is called after each connect. Resolves with "over" (the server has no more to tell),
 * "missing" (no such path) or "stopped".
 */
export async function follow(path, { after, hear, opened, signal }) {
  let last = after;
  let pause = FIRST_PAUSE;
  while (!signal.aborted) {
    const url = last ? `${path}?after=${encodeURIComponent(last)}` : path;
    const ear = new AbortController();
    const stop = () => ear.abort();
    signal.addEventListener('abort', stop, { once: true });
    try {
      const response = await request('GET', url, {
        headers: { Accept: 'text/event-stream' },
        signal: ear.signal,
        patience: 0,
      });
      if (response.status === 204) return 'over';
      if (response.status === 401) {
        await login();
        continue;
      }
      if (!response.ok) {
        const refusal = await problem(response);
        // An id that the server cannot read, perhaps of an older version: begin again from now.
        if (refusal.status === 400 && last) last = undefined;
        else if (!refusal.retryable && refusal.status < 500) return 'missing';
      } else {
        opened?.();
        await read(response, ear, (event) => {
          pause = FIRST_PAUSE;
          if (event.id) last = event.id;
          hear(event.name, event.data);
        });
      }
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof Away) await whenBack(signal);
    } finally {
      signal.removeEventListener('abort', stop);
    }
    await sleep(pause + Math.random() * pause, signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
  return 'stopped';
}

async function read(response, ear, hear) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const timer = setTimeout(() => ear.abort(), SILENCE);
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
      if (event) hear(event);
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
