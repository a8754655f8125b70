// One finished job in full: its picture, everything it was made from, and where the time went.

import { again, copyCurl, download, pictureOf, remove, resultPath, reuse, useAs } from './actions.js';
import { answer } from './bus.js';
import { button, picture } from './controls.js';
import { fill, h } from './dom.js';
import { cancelJob, jobs } from './jobs.js';
import { thumbs } from './memory.js';
import { complain } from './notices.js';
import { bytes, duration, ended, jobTitle, moment, promptLength, promptLoss, standing, stateWord } from './words.js';

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

let dialog, stage, side, current, list;

export function startViewer() {
  dialog = document.getElementById('viewer');
  stage = h('div', { class: 'viewer-stage' });
  side = h('div', { class: 'viewer-side' });
  fill(dialog, stage, side);
  answer('open', ({ id, list: ids }) => {
    list = ids ?? [];
    if (location.hash === `#job/${id}`) open(id);
    else location.hash = `job/${id}`;
  });
  dialog.addEventListener('close', () => {
    current = null;
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
    if (job.id === current?.id && (job.state !== current.state || job.step !== current.step)) draw(job);
  });
}

/** Shows a job; `back` is the view beneath. */
export async function open(id, back) {
  if (back !== undefined) dialog.dataset.back = back;
  const known = jobs.get(id);
  if (known) draw(known);
  if (!dialog.open) dialog.showModal();
  try {
    const job = await jobs.read(id);
    if (!job) throw new Error('there is no such job, or its time is over');
    // What was drawn already is the same unless it has moved on.
    if (!known || known.version !== job.version) draw(job);
  } catch (error) {
    if (!known) {
      close();
      complain(error);
    }
  }
}

export function close() {
  if (dialog?.open) dialog.close();
}

function go(step) {
  const next = list?.[list.indexOf(current?.id) + step];
  if (!next || list.indexOf(current?.id) < 0) return;
  history.replaceState(null, '', `#job/${next}`);
  open(next);
}

function draw(job) {
  const other = current?.id !== job.id || current?.state !== job.state;
  current = job;
  dialog.setAttribute('aria-label', jobTitle(job.spec));
  if (other) drawStage(job);
  fill(side, head(job), actions(job), parameters(job), receipt(job));
}

function drawStage(job) {
  const place = list?.indexOf(job.id) ?? -1;
  fill(
    stage,
    job.output
      ? picture(pictureOf(job), jobTitle(job.spec), { other: resultPath(job), class: 'result' })
      : h('p', { class: 'viewer-none' }, standing(job)),
    place > 0 && button('left', 'Newer picture', () => go(-1), { class: 'step step-left' }),
    place >= 0 &&
      place < list.length - 1 &&
      button('right', 'Older picture', () => go(1), { class: 'step step-right' }),
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
