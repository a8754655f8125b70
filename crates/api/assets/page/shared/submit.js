// Hands jobs to the queue so that none is lost and none is made twice: what has been asked for is
// remembered with its key until the server has answered, over outages and reloads.

import { Away, Problem, call, whenBack } from './api.js';
import { sleep, uuid } from './dom.js';
import { jobs } from './jobs.js';
import { mine, recall, remember } from './storage.js';
import { duration } from './format.js';

const RETRY_MS = 2_000;
/** The server knows a key for a day; after that, sending again could draw twice. */
const KEY_LIFE_MS = 20 * 3_600_000;

/** Tells of "sending", "accepted", "refused" and "dropped". */
export const outbox = new EventTarget();

const stops = new Map();

/** Sends a job; returns the key under which the outbox speaks of it. */
export function submit(body) {
  const letter = { key: uuid(), body, at: Date.now() };
  keep([...letters(), letter]);
  deliver(letter);
  return letter.key;
}

/** Gives up on a job that has not been accepted. */
export function withdraw(key) {
  stops.get(key)?.abort();
  drop(key);
  tell('dropped', { key });
}

/** Sends what an earlier page could not. */
export function resume() {
  for (const letter of letters()) {
    if (Date.now() - letter.at < KEY_LIFE_MS) deliver(letter);
    else drop(letter.key);
  }
}

async function deliver(letter) {
  const { key, body } = letter;
  const stop = new AbortController();
  stops.set(key, stop);
  tell('sending', { key, body });
  while (!stop.signal.aborted) {
    try {
      const accepted = await call('POST', '/v1/jobs', { body, headers: { 'Idempotency-Key': key } });
      drop(key);
      mine.add(accepted.id);
      jobs.put({
        version: 0,
        step: 0,
        of: 0,
        attempt: 0,
        submitted_ms: Date.now(),
        class: accepted.spec?.class,
        ...accepted,
      });
      tell('accepted', { key, id: accepted.id });
      // The record has more than the answer, such as the place in the queue.
      jobs.read(accepted.id).catch(() => {});
      return;
    } catch (error) {
      if (stop.signal.aborted) return;
      if (error instanceof Away) {
        tell('sending', { key, body, note: 'The server is away; this is sent when it is back' });
        await whenBack(stop.signal);
      } else if (error instanceof Problem && error.retryable) {
        const pause = error.retryAfterMs ?? RETRY_MS;
        tell('sending', { key, body, note: `${sentence(error.message)} Trying again in ${duration(pause)}` });
        await sleep(pause, stop.signal);
      } else {
        drop(key);
        tell('refused', { key, body, error });
        return;
      }
    }
  }
}

export function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

function letters() {
  const kept = recall('outbox', []);
  return Array.isArray(kept) ? kept : [];
}

function keep(list) {
  remember('outbox', list);
}

function drop(key) {
  stops.delete(key);
  keep(letters().filter((letter) => letter.key !== key));
}

function tell(name, detail) {
  outbox.dispatchEvent(new CustomEvent(name, { detail }));
}
