// Keeps the jobs of this page up to date: by one stream of everything that the tenant does where the
// server has it, else by a stream for each live job. Browsers open six connections to a server, so
// only a few of those, and the rest are asked after.

import { connection } from './api.js';
import { sleep } from './dom.js';
import { jobs } from './jobs.js';
import { follow } from './stream.js';
import { ended } from './words.js';

const STREAMS = 3;
/** How often places in the queue are looked at; no event tells of them. */
const LOOK_MS = 3_000;
const LOOKED_AT = 12;

const followed = new Map();
let single = true;

/** Starts; never ends. */
export function startFeed() {
  connection.addEventListener('back', lookAtLive);
  jobs.addEventListener('change', ({ detail: job }) => {
    if (!single) followOne(job);
  });
  wholeTenant();
  look();
}

async function wholeTenant() {
  const never = new AbortController().signal;
  const end = await follow('/v1/events', {
    hear: (name, data) => jobs.hear(name, data),
    // What happened before the stream was open is in the records.
    opened: lookAtLive,
    signal: never,
  });
  if (end === 'stopped') return;
  single = false;
  jobs.all().forEach(followOne);
}

function followOne(job) {
  if (ended(job.state)) {
    followed.get(job.id)?.abort();
    followed.delete(job.id);
    return;
  }
  if (followed.has(job.id) || followed.size >= STREAMS) return;
  const stop = new AbortController();
  followed.set(job.id, stop);
  follow(`/v1/jobs/${encodeURIComponent(job.id)}/events`, {
    after: job.last_event,
    hear: (name, data) => jobs.hear(name, data),
    signal: stop.signal,
  }).then(() => {
    followed.delete(job.id);
    const next = live().find((other) => !followed.has(other.id));
    if (next && !single) followOne(next);
  });
}

function live() {
  return jobs.all().filter((job) => job.submitted_ms && !ended(job.state));
}

function lookAtLive() {
  for (const job of live()) jobs.read(job.id).catch(() => {});
}

/** Asks after what no stream tells: places in the queue, jobs without a stream, ends that were missed. */
async function look() {
  for (;;) {
    await sleep(LOOK_MS);
    if (connection.away || document.hidden) continue;
    const asked = live().filter((job) => job.state === 'queued' || job.stale || (!single && !followed.has(job.id)));
    await Promise.allSettled(asked.slice(-LOOKED_AT).map((job) => jobs.read(job.id)));
  }
}
