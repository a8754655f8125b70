// What waits, what is being drawn, and who draws. Everything is asked for again while it is in sight.

import { connection, optional } from '../shared/api.js';
import { ask } from '../shared/bus.js';
import { button } from '../shared/controls.js';
import { fill, h, setText } from '../shared/dom.js';
import { cancelJob, jobs, retryJob } from '../shared/jobs.js';
import { recall, remember } from '../shared/storage.js';
import { complain, notice } from '../shared/notices.js';
import { plot } from './plot.js';
import { server } from '../shared/server.js';
import { ago, bytes, count, duration, jobTitle, standing } from '../shared/format.js';

const EVERY_MS = 2_000;
const POINTS = 450;
/** Not heard of for longer than this, a worker is probably gone. */
const SILENT_MS = 10_000;
const SHOWN = 50;

const at = (id) => document.getElementById(id);
const rows = new Map();

let points = recall('depth', [], sessionStorage);
let live = [];
let hasLetters = true;

export function startQueue() {
  // A gap is no curve: what was seen before a long pause is left out.
  if (Date.now() - (points.at(-1)?.at ?? 0) > 60_000) points = [];
  setInterval(() => {
    if (!at('view-queue').hidden && !document.hidden && !connection.away) refresh();
  }, EVERY_MS);
  jobs.addEventListener('change', ({ detail: job }) => rows.get(job.id)?.update(job));
}

export function enterQueue() {
  refresh();
}

let refreshing = false;

async function refresh() {
  if (refreshing) return;
  refreshing = true;
  try {
    await Promise.allSettled([readDepth(), readLive(), readWorkers(), readLetters()]);
  } finally {
    refreshing = false;
  }
}

async function readDepth() {
  const told = await optional('/v1/queue');
  at('depth').hidden = at('figures').hidden = !told;
  if (!told) return;
  const names = Object.keys(told.classes).sort((a, b) => server.classes.indexOf(a) - server.classes.indexOf(b));
  const own = told.tenant;
  setText(at('live-count'), own ? `${count(own.running)} being drawn · ${count(own.queued)} waiting` : '');
  points = [
    ...points,
    {
      at: Date.now(),
      ...Object.fromEntries(names.map((name) => [name, told.classes[name].queued + (told.classes[name].delayed ?? 0)])),
    },
  ].slice(-POINTS);
  remember('depth', points, sessionStorage);
  fill(
    at('figures'),
    names.map((name) => figure(name, told.classes[name])),
    single('Workers', told.workers, told.workers === 0 ? 'none is up' : 'up'),
    single('Dead letters', told.dead, told.dead ? 'need a look' : 'all is well', told.dead > 0),
  );
  fill(
    at('depth-legend'),
    names.map((name) => h('span', {}, h('i', { class: `dot plot-${name}`, 'aria-hidden': 'true' }), name)),
  );
  plot(at('depth-plot'), points, names);
}

function figure(name, numbers) {
  const more = [
    numbers.delayed && `${count(numbers.delayed)} delayed`,
    numbers.paused === true ? 'paused' : numbers.paused > 0 && `${count(numbers.paused)} paused`,
  ].filter(Boolean);
  return h(
    'div',
    { class: 'figure' },
    h('dt', {}, name),
    h(
      'dd',
      {},
      h('b', {}, count(numbers.queued)),
      ' waiting',
      h('span', { class: 'muted' }, [`${count(numbers.running)} being drawn`, ...more].join(' · ')),
    ),
  );
}

function single(name, value, words, wrong) {
  return h(
    'div',
    { class: wrong ? 'figure wrong' : 'figure' },
    h('dt', {}, name),
    h('dd', {}, h('b', {}, count(value)), h('span', { class: 'muted' }, words)),
  );
}

async function readLive() {
  const [running, queued] = await Promise.all(
    ['running', 'queued'].map((state) => optional(`/v1/jobs?state=${state}&limit=${SHOWN}`)),
  );
  // Oldest of the waiting ones first: that is nearly the order in which they are drawn.
  live =
    running && queued
      ? [...running.jobs, ...queued.jobs.toReversed()]
      : jobs.all().filter((job) => ['queued', 'running'].includes(job.state));
  // Only known ones get events; for the time that they are in sight these are known.
  live = live.map((job) => jobs.put(job));
  const wanted = new Set(live.map((job) => job.id));
  for (const [id, row] of rows) {
    if (wanted.has(id)) continue;
    row.element.remove();
    rows.delete(id);
  }
  for (const job of live) {
    if (!rows.has(job.id)) rows.set(job.id, new Row(job));
    at('live').append(rows.get(job.id).element);
  }
  const none = live.length === 0 && 'Nothing waits and nothing is being drawn.';
  setText(at('live-note'), none || (queued?.next ? `Of those that wait, these are the newest ${SHOWN}.` : ''));
}

class Row {
  constructor(job) {
    this.title = h('button', {
      type: 'button',
      class: 'plain',
      onclick: () => ask('open', { id: job.id, list: live.map((other) => other.id) }),
    });
    this.status = h('span', { class: 'muted' });
    this.progress = h('progress', { max: 1, 'aria-label': 'Progress' });
    this.stop = button('stop', 'Cancel', () => cancelJob(job.id).catch((error) => complain(error, 'Not canceled')));
    this.kind = h('span', { class: 'tag' }, job.class);
    this.element = h(
      'li',
      { class: 'row', data: { id: job.id } },
      h('div', { class: 'row-text' }, this.title, this.status),
      this.kind,
      this.progress,
      this.stop,
    );
    this.update(job);
  }

  update(job) {
    this.element.dataset.state = job.state;
    setText(this.title, jobTitle(job.spec));
    const since = job.state === 'queued' ? ` · ${ago(job.submitted_ms)}` : '';
    setText(this.status, standing(job) + since);
    if (job.state === 'running' && job.of) this.progress.value = job.step / job.of;
    else this.progress.removeAttribute('value');
    this.progress.classList.toggle('idle', job.state !== 'running');
    this.stop.disabled = Boolean(job.canceling);
  }
}

async function readWorkers() {
  const told = await optional('/v1/workers');
  at('workers').hidden = !told;
  if (!told) return;
  setText(at('workers-note'), told.workers.length === 0 ? 'No worker is up: jobs wait until one is.' : '');
  fill(at('worker-list'), told.workers.map(worker));
}

function workerState(one) {
  const loads = one.state === 'starting' && one.loading !== null && one.loading !== undefined;
  return loads ? `loading, ${Math.round(one.loading * 100)} % read` : one.state;
}

function worker(one) {
  const silent = one.heard_ms_ago > SILENT_MS;
  const facts = [
    one.slots && `${one.running ?? 0} of ${one.slots} ${one.slots === 1 ? 'slot' : 'slots'} in use`,
    one.step_ms > 0 && `${duration(one.step_ms)} a step`,
    one.free_memory > 0 && `${bytes(one.free_memory)} free`,
    Number.isFinite(one.cache_hit_rate) &&
      one.cache_hit_rate !== null &&
      `${Math.round(one.cache_hit_rate * 100)} % from the cache`,
    one.classes?.length && `draws ${one.classes.join(' and ')}`,
  ];
  return h(
    'li',
    { class: 'worker', data: { state: silent ? 'silent' : one.state } },
    h(
      'div',
      { class: 'worker-head' },
      h('b', {}, one.device || 'worker'),
      h(
        'span',
        { class: 'state', data: { state: silent ? 'failed' : one.state } },
        silent ? `silent for ${duration(one.heard_ms_ago)}` : workerState(one),
      ),
    ),
    h('p', {}, [one.model, one.scripted && 'test engine'].filter(Boolean).join(' · ')),
    h('p', { class: 'muted' }, facts.filter(Boolean).join(' · ')),
    one.plan && h('p', { class: 'muted plan' }, one.plan),
    h('p', { class: 'muted' }, h('code', { title: one.id }, one.id)),
  );
}

async function readLetters() {
  const place = at('dead');
  if (!hasLetters || (server.scopes.length > 0 && !server.scopes.includes('admin'))) {
    place.hidden = true;
    return;
  }
  const told = await optional('/v1/dead?limit=20');
  if (!told) hasLetters = false;
  place.hidden = !told || told.letters.length === 0;
  if (place.hidden) return;
  fill(at('dead-list'), told.letters.map(letter));
  setText(at('dead-note'), told.next ? 'The newest 20.' : '');
}

function letter(one) {
  const repeat = async () => {
    try {
      const job = await retryJob(one.job);
      notice(`It waits again as ${job?.id ?? 'a new job'}`);
    } catch (error) {
      complain(error, 'Not repeated');
    }
  };
  return h(
    'li',
    { class: 'row' },
    h(
      'div',
      { class: 'row-text' },
      h('span', {}, one.message || one.reason),
      h('span', { class: 'muted' }, `${one.reason} · ${ago(one.at_ms)}`),
      one.job && h('code', {}, one.job),
    ),
    one.job && button('again', 'Try again', repeat, { text: true, class: 'quiet' }),
  );
}
