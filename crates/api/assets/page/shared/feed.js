// Keeps the jobs of this page up to date: by one stream of everything that the tenant does where the
// server has it, else by a stream for each live job. Browsers open six connections to a server, so
// only a few of those, and the rest are asked after.

import { connection } from './api.js';
import { answer } from './bus.js';
import { sleep } from './dom.js';
import { jobs } from './jobs.js';
import { follow } from './stream.js';
import { mine } from './storage.js';
import { ended } from './format.js';

const STREAMS = 3;
/** How often places in the queue are looked at; no event tells of them. */
const LOOK_MS = 3_000;
const LOOKED_AT = 12;
/** Previews are made for those who follow a job; one without any for so long is followed by itself. */
const NO_PREVIEW_MS = 4_000;

const followed = new Map();
let single = true;
/** The job that is looked at alone. */
let watched = null;

/** Starts; never ends. */
export function startFeed() {
  connection.addEventListener('back', lookAtLive);
  jobs.addEventListener('change', ({ detail: job }) => {
    if (ended(job.state) || (!single && mine.list().includes(job.id))) followOne(job);
  });
  answer('watch', ({ id }) => {
    watched = id;
    watch(jobs.get(id));
  });
  wholeTenant();
  look();
}

/** Follows the job that somebody looks at, whoever asked for it, in the place of another if there is no more room. */
function watch(job) {
  if (!job || ended(job.state) || followed.has(job.id)) return;
  const other = followed.size >= most() && followed.keys().next().value;
  if (other) unfollow(other);
  followOne(job);
}

function unfollow(id) {
  followed.get(id)?.abort();
  followed.delete(id);
}

function most() {
  return single ? 1 : STREAMS;
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
  live().forEach(followOne);
}

function followOne(job) {
  if (ended(job.state)) {
    unfollow(job.id);
    return;
  }
  if (followed.has(job.id) || followed.size >= most()) return;
  const stop = new AbortController();
  followed.set(job.id, stop);
  follow(`/v1/jobs/${encodeURIComponent(job.id)}/events`, {
    after: job.last_event,
    hear: (name, data) => jobs.hear(name, data),
    signal: stop.signal,
  }).then(() => {
    // Another follower may have taken this one's place.
    if (followed.get(job.id) === stop) followed.delete(job.id);
    const next = live().find((other) => !followed.has(other.id));
    if (next && !single) followOne(next);
  });
}

/** Other jobs of the tenant are shown by views that ask for themselves. */
function live() {
  return [...new Set([watched, ...mine.list()])]
    .map((id) => jobs.get(id))
    .filter((job) => job && !ended(job.state));
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
    await Promise.allSettled(asked.slice(0, LOOKED_AT).map((job) => jobs.read(job.id)));
    const unseen =
      single &&
      live().find(
        (job) =>
          job.state === 'running' && job.previews === 0 && Date.now() - (job.began ?? Date.now()) > NO_PREVIEW_MS,
      );
    if (unseen) followOne(unseen);
  }
}
