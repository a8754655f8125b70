// Submits jobs so that none is lost and none runs twice. Each job is stored with its idempotency key until
// the server answers, also over outages and reloads.

import { Unreachable, Problem, call, whenRestored } from './api.js';
import { sleep, uuid } from './dom.js';
import { jobs } from './jobs.js';
import { ownJobs, loadItem, saveItem } from './storage.js';
import { duration } from './format.js';

const RETRY_MS = 2_000;
/** The server keeps an idempotency key for a day. After that, the same job could run twice. */
const KEY_LIFE_MS = 20 * 3_600_000;

/** Sends "sending", "accepted", "refused" and "withdrawn" events. */
export const outbox = new EventTarget();

const controllers = new Map();

/** Submits a job; returns its key in the events of the outbox. */
export function submit(body) {
  const entry = { key: uuid(), body, at: Date.now() };
  saveEntries([...entries(), entry]);
  send(entry);
  return entry.key;
}

/** Stops sending a job that has not been accepted. */
export function withdraw(key) {
  controllers.get(key)?.abort();
  removeEntry(key);
  dispatch('withdrawn', { key });
}

/** Sends the jobs that are stored from before a reload. */
export function resumeSending() {
  for (const entry of entries()) {
    if (Date.now() - entry.at < KEY_LIFE_MS) send(entry);
    else removeEntry(entry.key);
  }
}

async function send(entry) {
  const { key, body } = entry;
  const controller = new AbortController();
  controllers.set(key, controller);
  dispatch('sending', { key, body });
  while (!controller.signal.aborted) {
    try {
      const accepted = await call('POST', '/v1/jobs', { body, headers: { 'Idempotency-Key': key } });
      removeEntry(key);
      ownJobs.add(accepted.id);
      jobs.put({
        version: 0,
        step: 0,
        of: 0,
        attempt: 0,
        submitted_ms: Date.now(),
        class: accepted.spec?.class,
        ...accepted,
      });
      dispatch('accepted', { key, id: accepted.id });
      // The view has more fields than the answer, such as the queue position.
      jobs.read(accepted.id).catch(() => {});
      return;
    } catch (error) {
      if (controller.signal.aborted) return;
      if (error instanceof Unreachable) {
        dispatch('sending', { key, body, note: 'The server does not answer. The job will be sent when it does.' });
        await whenRestored(controller.signal);
      } else if (error instanceof Problem && error.retryable) {
        const pause = error.retryAfterMs ?? RETRY_MS;
        dispatch('sending', { key, body, note: `${sentence(error.message)} Trying again in ${duration(pause)}` });
        await sleep(pause, controller.signal);
      } else {
        removeEntry(key);
        dispatch('refused', { key, body, error });
        return;
      }
    }
  }
}

/** The text with a capital letter and a full stop. */
export function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

function entries() {
  const saved = loadItem('outbox', []);
  return Array.isArray(saved) ? saved : [];
}

function saveEntries(list) {
  saveItem('outbox', list);
}

function removeEntry(key) {
  controllers.delete(key);
  saveEntries(entries().filter((entry) => entry.key !== key));
}

function dispatch(name, detail) {
  outbox.dispatchEvent(new CustomEvent(name, { detail }));
}
