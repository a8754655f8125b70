// One job in full: its picture or how far it is, everything it was made from, and where the time went.

import { again, copyCurl, download, pictureOf, remove, resultPath, reuse, useAs } from '../shared/actions.js';
import { answer, ask } from '../shared/bus.js';
import { button, picture } from '../shared/controls.js';
import { fill, h, refill, setText } from '../shared/dom.js';
import { cancelJob, jobs } from '../shared/jobs.js';
import { thumbs } from '../shared/storage.js';
import { complain } from '../shared/notices.js';
import { previewOf } from '../shared/pictures.js';
import { bytes, duration, ended, jobTitle, moment, promptLength, promptLoss, standing, stateWord } from '../shared/format.js';

/** Characters of a prompt beyond which it is a text and no title. */
const LONG = 120;
/** The parts of a job's time, in the order in which they pass. */
const PARTS = [
  ['wait_ms', 'Waiting'],
  ['fetch_ms', 'Fetching'],
  ['encode_ms', 'Reading'],
  ['sample_ms', 'Drawing'],
  ['decode_ms', 'Developing'],
  ['upload_ms', 'Storing'],
];

let dialog, stage, side, current;
/** The job that was asked for last. */
let wanted = null;
/** What the arrows go through: `jobs()`, whether these are all (`over`), and `more()` to have more. */
let list = null;
/** What changes with each step of a job under way. */
let live = null;

export function startViewer() {
  dialog = document.getElementById('viewer');
  // Where the keyboard is while no control of it is.
  dialog.tabIndex = -1;
  stage = h('div', { class: 'viewer-stage' });
  side = h('div', { class: 'viewer-side' });
  fill(dialog, stage, side);
  answer('open', ({ id, list: among }) => {
    list = among ?? null;
    if (location.hash === `#job/${id}`) open(id);
    else location.hash = `job/${id}`;
  });
  dialog.addEventListener('close', () => {
    current = live = wanted = null;
    ask('watch', { id: null });
    if (location.hash.startsWith('#job/')) history.replaceState(null, '', `#${dialog.dataset.back ?? ''}`);
  });
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && !event.target.matches('input')) go(step);
  });
  jobs.addEventListener('change', ({ detail: job }) => {
    if (job.id === current?.id) update(job);
  });
}

/** Shows a job; `back` is the view beneath. */
export async function open(id, back) {
  if (back !== undefined) dialog.dataset.back = back;
  wanted = id;
  const known = jobs.get(id);
  if (known) draw(known);
  if (!dialog.open) dialog.showModal();
  try {
    const job = await jobs.read(id);
    if (!job) throw new Error('there is no such job, or its time is over');
    if (wanted !== id) return;
    if (!known) draw(job);
    ask('watch', { id });
  } catch (error) {
    if (!known && wanted === id) {
      close();
      complain(error);
    }
  }
}

export function close() {
  if (dialog?.open) dialog.close();
}

/** The job that many steps away in the list; none at its ends. */
function neighbour(step) {
  const all = list?.jobs() ?? [];
  const place = all.findIndex((job) => job.id === current?.id);
  return place < 0 ? undefined : all[place + step];
}

async function go(step) {
  const from = current;
  if (step > 0 && !neighbour(step) && neighbour(0) && !list.over) {
    await list.more();
    // Somebody has gone elsewhere meanwhile.
    if (from.id !== current?.id) return;
    if (!neighbour(step)) drawStage(current);
  }
  const next = neighbour(step);
  if (!next) return;
  history.replaceState(null, '', `#job/${next.id}`);
  // What the list said is shown at once; it is read afresh behind that.
  jobs.put(next);
  open(next.id);
}

/** Takes what has become of the job in sight. */
function update(job) {
  const before = current;
  const settled = ended(job.state) && job.version !== before.version;
  if (job.state !== before.state || job.canceling !== before.canceling || settled) draw(job);
  else current = job;
  drawLive(job);
}

function draw(job) {
  const other = current?.id !== job.id || current?.state !== job.state;
  current = job;
  dialog.setAttribute('aria-label', jobTitle(job.spec));
  if (other) drawStage(job);
  refill(side, dialog, head(job), actions(job), parameters(job), receipt(job));
}

function drawStage(job) {
  live = job.output ? null : { status: h('p', { class: 'viewer-none' }), previews: -1 };
  refill(
    stage,
    dialog,
    job.output
      ? picture(pictureOf(job), jobTitle(job.spec), { other: resultPath(job), class: 'result' })
      : live.status,
    neighbour(-1) && button('left', 'Newer picture', () => go(-1), { class: 'step step-left' }),
    (neighbour(1) || (neighbour(0) && !list.over)) &&
      button('right', 'Older picture', () => go(1), { class: 'step step-right' }),
  );
  drawLive(job);
}

/** How far a job is, in words and as a picture. */
function drawLive(job) {
  if (!live) return;
  setText(live.status, standing(job));
  if (job.state !== 'running' || job.previews === live.previews) return;
  live.previews = job.previews;
  const shown = live;
  previewOf(job).then(
    (image) => {
      if (shown !== live) return;
      shown.image?.remove();
      shown.image = image;
      stage.prepend(image);
    },
    // There is none yet.
    () => {},
  );
}

function head(job) {
  return h(
    'header',
    { class: 'viewer-head' },
    h('span', { class: 'state', data: { state: job.state } }, stateWord(job.state)),
    button('close', 'Close', close),
    h('h2', { class: jobTitle(job.spec).length > LONG ? 'long' : '' }, jobTitle(job.spec)),
    job.error && job.state === 'failed' && h('p', { class: 'field-error' }, job.error.message),
  );
}

function actions(job) {
  const attempt = (action) => () => Promise.resolve(action()).catch((error) => complain(error));
  const leave = (action) => () => (close(), action());
  if (!ended(job.state))
    return h(
      'div',
      { class: 'viewer-actions' },
      button(
        'stop',
        'Cancel',
        attempt(() => cancelJob(job.id)),
        { text: true, disabled: Boolean(job.canceling) },
      ),
    );
  return h(
    'div',
    { class: 'viewer-actions' },
    job.output && button('download', 'Download', () => download(job), { text: true, class: 'primary whole' }),
    job.output &&
      button(
        'subject',
        'Use as content',
        leave(() => useAs('content', job)),
        { text: true },
      ),
    job.output &&
      button(
        'style',
        'Use as style',
        leave(() => useAs('style', job)),
        { text: true },
      ),
    button(
      'again',
      'Another seed',
      leave(() => again(job)),
      { text: true, title: 'Same again with another seed' },
    ),
    button(
      'edit',
      'Edit in the form',
      leave(() => reuse(job)),
      { text: true },
    ),
    button('terminal', 'Copy as curl', () => copyCurl(job), { text: true }),
    button(
      'trash',
      'Delete',
      leave(() => remove(job, { hide: () => hidden(job, true), show: () => hidden(job, false) })),
      { text: true, class: 'danger' },
    ),
  );
}

/** Whoever shows the job takes it out of sight until it is gone or called back. */
function hidden(job, on) {
  for (const element of document.querySelectorAll(`[data-id="${CSS.escape(job.id)}"]`)) element.hidden = on;
}

function parameters(job) {
  const { spec } = job;
  const rows = [
    ['Size', job.output ? `${job.output.width} × ${job.output.height}` : `${spec.width} × ${spec.height}`],
    spec.keep_size && ['Input size', 'kept'],
    ['Steps', spec.steps],
    spec.step_cache && ['Step cache', spec.step_cache],
    ['Guidance', spec.guidance],
    ['Seed', spec.seed],
    spec.content && ['Content reference', reference(spec.content)],
    spec.content && ['Content reference size', `${spec.content_size} px`],
    ...(spec.styles ?? []).map((source, nth) => [
      `Style reference${spec.styles.length > 1 ? ` ${nth + 1}` : ''}`,
      reference(source),
    ]),
    ['Class', spec.class ?? job.class],
    spec.priority ? ['Priority', spec.priority] : null,
    ['Asked for', moment(job.submitted_ms)],
    job.finished_ms && ['Ended', moment(job.finished_ms)],
    job.output && ['File', bytes(job.output.bytes)],
    job.expires_ms && ['Record kept until', moment(job.expires_ms)],
    ['Job', h('code', {}, job.id)],
    job.retry_of && ['Repeats', h('code', {}, job.retry_of)],
    job.output?.sha256 && ['SHA-256', h('code', {}, job.output.sha256)],
  ];
  return h(
    'section',
    {},
    h('h3', {}, 'Made from'),
    h(
      'dl',
      { class: 'facts' },
      rows.filter(Boolean).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
    ),
  );
}

function reference(source) {
  const thumb = thumbs.get(source);
  return thumb
    ? h('img', { src: thumb, alt: source, title: source, class: 'fact-picture' })
    : h('code', { title: source }, source);
}

function receipt(job) {
  const told = job.output?.receipt;
  if (!told) return null;
  const parts = PARTS.map(([name, label]) => ({ label, ms: told[name] ?? 0 }));
  const whole = parts.reduce((sum, part) => sum + part.ms, 0) || 1;
  const bar = h(
    'div',
    { class: 'receipt-bar', 'aria-hidden': 'true' },
    parts.map((part, nth) => {
      const piece = h('i', { class: `part part-${nth}`, title: `${part.label}: ${duration(part.ms)}` });
      piece.style.flexGrow = part.ms / whole;
      return piece;
    }),
  );
  const prompt = told.prompt_tokens;
  const lost = prompt && promptLoss(prompt);
  const facts = [
    prompt && ['Prompt', promptLength(prompt)],
    told.model && ['Model', told.scripted ? `${told.model} (test engine)` : told.model],
    told.worker && ['Drawn on', told.worker],
    ['Device time', duration(told.device_ms)],
    ['Steps done', told.resumed_from ? `${told.steps}, going on from a copy at step ${told.resumed_from}` : told.steps],
    told.attempts > 1 && ['Attempts', told.attempts],
    told.set_aside > 0 && ['Set aside', `${told.set_aside} times for urgent pictures`],
    told.cache_hits > 0 && ['Found in the cache', told.cache_hits],
    ['Fetched', bytes(told.fetched_bytes)],
    ['Stored', bytes(told.stored_bytes)],
  ];
  return h(
    'section',
    {},
    h('h3', {}, 'Receipt'),
    lost && h('p', { class: 'note' }, lost),
    bar,
    h(
      'ul',
      { class: 'receipt-parts' },
      parts.map((part, nth) =>
        h(
          'li',
          {},
          h('i', { class: `dot part-${nth}`, 'aria-hidden': 'true' }),
          h('span', {}, part.label),
          h('b', {}, duration(part.ms)),
        ),
      ),
    ),
    h(
      'dl',
      { class: 'facts' },
      facts.filter(Boolean).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
    ),
  );
}
