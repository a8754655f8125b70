// The queue view: waiting and running jobs, workers and dead letters, polled while it is visible.

import { connection, getIfAvailable } from '../shared/api.js';
import { emit } from '../shared/bus.js';
import { button } from '../shared/controls.js';
import { fill, h, setText } from '../shared/dom.js';
import { cancelJob, jobs, retryJob } from '../shared/jobs.js';
import { loadItem, saveItem } from '../shared/storage.js';
import { showError, showNotice } from '../shared/notices.js';
import { plot } from '../shared/plot.js';
import { server } from '../shared/server.js';
import { ago, bytes, count, duration, jobTitle, statusText } from '../shared/format.js';

const POLL_MS = 2_000;
const MAX_POINTS = 450;
/** A worker without a heartbeat for this long is shown as silent. */
const SILENT_MS = 10_000;
const MAX_SHOWN = 50;

const byId = (id) => document.getElementById(id);
const rows = new Map();

let points = loadItem('depth', [], sessionStorage);
let live = [];
let hasDeadLetters = true;

export function startQueue() {
  // Leave out points from before a long pause: the graph would show a line across it.
  if (Date.now() - (points.at(-1)?.at ?? 0) > 60_000) points = [];
  setInterval(() => {
    if (!byId('view-queue').hidden && !document.hidden && !connection.lost) refresh();
  }, POLL_MS);
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
    await Promise.allSettled([readDepth(), readLive(), readWorkers(), readDeadLetters()]);
  } finally {
    refreshing = false;
  }
}

async function readDepth() {
  const data = await getIfAvailable('/v1/queue');
  byId('depth').hidden = byId('figures').hidden = !data;
  if (!data) return;
  const names = Object.keys(data.classes).sort((a, b) => server.classes.indexOf(a) - server.classes.indexOf(b));
  const own = data.tenant;
  setText(byId('live-count'), own ? `${count(own.running)} running · ${count(own.queued)} waiting` : '');
  points = [
    ...points,
    {
      at: Date.now(),
      ...Object.fromEntries(names.map((name) => [name, data.classes[name].queued + (data.classes[name].delayed ?? 0)])),
    },
  ].slice(-MAX_POINTS);
  saveItem('depth', points, sessionStorage);
  fill(
    byId('figures'),
    names.map((name) => figure(name, data.classes[name])),
    simpleFigure('Workers', data.workers, data.workers === 0 ? 'none is running' : 'running'),
    simpleFigure('Dead letters', data.dead, data.dead ? 'need your attention' : 'nothing to do', data.dead > 0),
  );
  fill(
    byId('depth-legend'),
    names.map((name) => h('span', {}, h('i', { class: `dot plot-${name}`, 'aria-hidden': 'true' }), name)),
  );
  plot(byId('depth-plot'), points, names, { title: 'Waiting jobs' });
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
      h('span', { class: 'muted' }, [`${count(numbers.running)} running`, ...more].join(' · ')),
    ),
  );
}

function simpleFigure(name, value, note, problem) {
  return h(
    'div',
    { class: problem ? 'figure problem' : 'figure' },
    h('dt', {}, name),
    h('dd', {}, h('b', {}, count(value)), h('span', { class: 'muted' }, note)),
  );
}

async function readLive() {
  const [running, queued] = await Promise.all(
    ['running', 'queued'].map((state) => getIfAvailable(`/v1/jobs?state=${state}&limit=${MAX_SHOWN}`)),
  );
  // The oldest waiting job first, which is nearly the order in which they start.
  live =
    running && queued
      ? [...running.jobs, ...queued.jobs.toReversed()]
      : jobs.all().filter((job) => ['queued', 'running'].includes(job.state));
  // Store them in `jobs`, because only stored jobs get events.
  live = live.map((job) => jobs.put(job));
  const wanted = new Set(live.map((job) => job.id));
  for (const [id, row] of rows) {
    if (wanted.has(id)) continue;
    row.element.remove();
    rows.delete(id);
  }
  for (const job of live) {
    if (!rows.has(job.id)) rows.set(job.id, new Row(job));
    byId('live').append(rows.get(job.id).element);
  }
  const none = live.length === 0 && 'No jobs are waiting or running.';
  setText(byId('live-note'), none || (queued?.next ? `Only the newest ${MAX_SHOWN} waiting jobs are shown.` : ''));
}

class Row {
  constructor(job) {
    this.title = h('button', {
      type: 'button',
      class: 'plain',
      onclick: () => emit('open', { id: job.id, list: { jobs: () => live, complete: true } }),
    });
    this.status = h('span', { class: 'muted' });
    this.progress = h('progress', { max: 1, 'aria-label': 'Progress' });
    this.stop = button('stop', 'Cancel', () =>
      cancelJob(job.id).catch((error) => showError(error, 'The job was not canceled')),
    );
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
    setText(this.status, statusText(job) + since);
    if (job.state === 'running' && job.of) this.progress.value = job.step / job.of;
    else this.progress.removeAttribute('value');
    this.progress.classList.toggle('idle', job.state !== 'running');
    this.stop.disabled = Boolean(job.canceling);
  }
}

async function readWorkers() {
  const data = await getIfAvailable('/v1/workers');
  byId('workers').hidden = !data;
  if (!data) return;
  setText(byId('workers-note'), data.workers.length === 0 ? 'No worker is running. Jobs wait until one starts.' : '');
  fill(byId('worker-list'), data.workers.map(worker));
}

function workerState(item) {
  const loads = item.state === 'starting' && item.loading !== null && item.loading !== undefined;
  return loads ? `loading, ${Math.round(item.loading * 100)} %` : item.state;
}

function worker(item) {
  const silent = item.heard_ms_ago > SILENT_MS;
  const facts = [
    item.slots && `${item.running ?? 0} of ${item.slots} ${item.slots === 1 ? 'slot' : 'slots'} in use`,
    item.step_ms > 0 && `${duration(item.step_ms)} per step`,
    item.free_memory > 0 && `${bytes(item.free_memory)} free`,
    Number.isFinite(item.cache_hit_rate) &&
      item.cache_hit_rate !== null &&
      `${Math.round(item.cache_hit_rate * 100)} % cache hits`,
    item.classes?.length && `runs ${item.classes.join(' and ')} jobs`,
  ];
  return h(
    'li',
    { class: 'worker', data: { state: silent ? 'silent' : item.state } },
    h(
      'div',
      { class: 'worker-head' },
      h('b', {}, item.device || 'worker'),
      h(
        'span',
        { class: 'state', data: { state: silent ? 'failed' : item.state } },
        silent ? `no heartbeat for ${duration(item.heard_ms_ago)}` : workerState(item),
      ),
    ),
    h('p', {}, [item.model, item.scripted && 'test engine'].filter(Boolean).join(' · ')),
    h('p', { class: 'muted' }, facts.filter(Boolean).join(' · ')),
    item.plan && h('p', { class: 'muted plan' }, item.plan),
    h('p', { class: 'muted' }, h('code', { title: item.id }, item.id)),
  );
}

async function readDeadLetters() {
  const section = byId('dead');
  if (!hasDeadLetters || (server.scopes.length > 0 && !server.scopes.includes('admin'))) {
    section.hidden = true;
    return;
  }
  const data = await getIfAvailable('/v1/dead?limit=20');
  if (!data) hasDeadLetters = false;
  section.hidden = !data || data.letters.length === 0;
  if (section.hidden) return;
  fill(byId('dead-list'), data.letters.map(deadLetter));
  setText(byId('dead-note'), data.next ? 'Only the newest 20 are shown.' : '');
}

function deadLetter(item) {
  const retry = async () => {
    try {
      const job = await retryJob(item.job);
      showNotice(`Queued again as ${job?.id ?? 'a new job'}`);
    } catch (error) {
      showError(error, 'The job was not retried');
    }
  };
  return h(
    'li',
    { class: 'row' },
    h(
      'div',
      { class: 'row-text' },
      h('span', {}, item.message || item.reason),
      h('span', { class: 'muted' }, `${item.reason} · ${ago(item.at_ms)}`),
      item.job && h('code', {}, item.job),
    ),
    item.job && button('again', 'Retry', retry, { text: true, class: 'quiet' }),
  );
}
