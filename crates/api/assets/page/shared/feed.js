// Keeps the jobs on this page up to date. It follows the tenant's event stream. If the server has none, it
// follows the streams of a few jobs and polls the others: browsers open at most six connections to a server.

import { connection } from './api.js';
import { on } from './bus.js';
import { sleep } from './dom.js';
import { jobs } from './jobs.js';
import { follow } from './stream.js';
import { ownJobs } from './storage.js';
import { ended } from './format.js';

const MAX_STREAMS = 3;
/** How often queue positions are read: events do not contain them. */
const POLL_MS = 3_000;
const MAX_POLLED = 12;
/** Workers make previews of a job that a client follows. A job without previews for this long is followed. */
const NO_PREVIEW_MS = 4_000;

const followed = new Map();
let tenantStream = true;
/** The id of the job in the viewer. */
let watched = null;

/** Starts the updates, which run as long as the page is open. */
export function startFeed() {
  connection.addEventListener('restored', readLive);
  jobs.addEventListener('change', ({ detail: job }) => {
    if (ended(job.state) || (!tenantStream && ownJobs.list().includes(job.id))) followOne(job);
  });
  on('watch', ({ id }) => {
    watched = id;
    watch(jobs.get(id));
  });
  followTenant();
  poll();
}

/** Follows the job in the viewer, in place of another one if all streams are in use. */
function watch(job) {
  if (!job || ended(job.state) || followed.has(job.id)) return;
  const other = followed.size >= maxStreams() && followed.keys().next().value;
  if (other) unfollow(other);
  followOne(job);
}

function unfollow(id) {
  followed.get(id)?.abort();
  followed.delete(id);
}

function maxStreams() {
  return tenantStream ? 1 : MAX_STREAMS;
}

async function followTenant() {
  const never = new AbortController().signal;
  const end = await follow('/v1/events', {
    onEvent: (name, data) => jobs.applyEvent(name, data),
    // The stream has no earlier events, so read the jobs.
    onOpen: readLive,
    signal: never,
  });
  if (end === 'stopped') return;
  tenantStream = false;
  liveJobs().forEach(followOne);
}

function followOne(job) {
  if (ended(job.state)) {
    unfollow(job.id);
    return;
  }
  if (followed.has(job.id) || followed.size >= maxStreams()) return;
  const stop = new AbortController();
  followed.set(job.id, stop);
  follow(`/v1/jobs/${encodeURIComponent(job.id)}/events`, {
    after: job.last_event,
    onEvent: (name, data) => jobs.applyEvent(name, data),
    signal: stop.signal,
  }).then(() => {
    // A newer stream may have replaced this one.
    if (followed.get(job.id) === stop) followed.delete(job.id);
    const next = liveJobs().find((other) => !followed.has(other.id));
    if (next && !tenantStream) followOne(next);
  });
}

/** The unfinished jobs of this browser and the one in the viewer. The queue reads the other jobs itself. */
function liveJobs() {
  return [...new Set([watched, ...ownJobs.list()])].map((id) => jobs.get(id)).filter((job) => job && !ended(job.state));
}

function readLive() {
  for (const job of liveJobs()) jobs.read(job.id).catch(() => {});
}

/** Reads what no stream sends: queue positions, jobs without a stream, finished jobs that could not be read. */
async function poll() {
  for (;;) {
    await sleep(POLL_MS);
    if (connection.lost || document.hidden) continue;
    const due = liveJobs().filter(
      (job) => job.state === 'queued' || job.stale || (!tenantStream && !followed.has(job.id)),
    );
    await Promise.allSettled(due.slice(0, MAX_POLLED).map((job) => jobs.read(job.id)));
    const withoutPreview =
      tenantStream &&
      liveJobs().find(
        (job) =>
          job.state === 'running' && job.previews === 0 && Date.now() - (job.startedAt ?? Date.now()) > NO_PREVIEW_MS,
      );
    if (withoutPreview) followOne(withoutPreview);
  }
}
