// The viewer of a job: its picture or progress, its parameters and its receipt.

import {
  repeat,
  copyCurl,
  download,
  pictureUrl,
  deleteWithUndo,
  resultPath,
  editInForm,
  useAsReference,
} from '../shared/actions.js';
import { on, emit } from '../shared/bus.js';
import { button, picture } from '../shared/controls.js';
import { fill, h, refill, setText } from '../shared/dom.js';
import { cancelJob, jobs } from '../shared/jobs.js';
import { thumbs } from '../shared/storage.js';
import { showError } from '../shared/notices.js';
import { previewOf } from '../shared/pictures.js';
import {
  bytes,
  duration,
  ended,
  fileFormat,
  jobTitle,
  dateTime,
  promptLength,
  promptCut,
  statusText,
  stateLabel,
} from '../shared/format.js';

/** A prompt with more characters is shown as text and not as a title. */
const LONG_PROMPT = 120;
/** The stages of a job in the receipt, in order. */
const STAGES = [
  ['wait_ms', 'Waiting'],
  ['fetch_ms', 'Fetching'],
  ['encode_ms', 'Encoding'],
  ['sample_ms', 'Sampling'],
  ['decode_ms', 'Decoding'],
  ['upload_ms', 'Uploading'],
];

let dialog, stage, side, current;
/** The id of the job that was opened last. */
let requestedId = null;
/** The list for the arrow keys: `jobs()`, `complete` if these are all, and `loadMore()`. */
let list = null;
/** The elements that change with each step of a running job. */
let live = null;

export function startViewer() {
  dialog = document.getElementById('viewer');
  // The dialog has the focus if none of its controls has.
  dialog.tabIndex = -1;
  stage = h('div', { class: 'viewer-stage' });
  side = h('div', { class: 'viewer-side' });
  fill(dialog, stage, side);
  on('open', ({ id, list: among }) => {
    list = among ?? null;
    if (location.hash === `#job/${id}`) open(id);
    else location.hash = `job/${id}`;
  });
  dialog.addEventListener('close', () => {
    current = live = requestedId = null;
    emit('watch', { id: null });
    if (location.hash.startsWith('#job/')) history.replaceState(null, '', `#${dialog.dataset.back ?? ''}`);
  });
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && !event.target.matches('input')) move(step);
  });
  jobs.addEventListener('change', ({ detail: job }) => {
    if (job.id === current?.id) update(job);
  });
}

/** Shows a job; `back` is the hash of the view behind it. */
export async function open(id, back) {
  if (back !== undefined) dialog.dataset.back = back;
  requestedId = id;
  const known = jobs.get(id);
  if (known) render(known);
  if (!dialog.open) dialog.showModal();
  try {
    const job = await jobs.read(id);
    if (!job) throw new Error('this job does not exist or its record has expired');
    if (requestedId !== id) return;
    if (!known) render(job);
    emit('watch', { id });
  } catch (error) {
    if (!known && requestedId === id) {
      close();
      showError(error);
    }
  }
}

export function close() {
  if (dialog?.open) dialog.close();
}

/** The job at this offset in the list; undefined beyond its ends. */
function neighbor(step) {
  const all = list?.jobs() ?? [];
  const index = all.findIndex((job) => job.id === current?.id);
  return index < 0 ? undefined : all[index + step];
}

async function move(step) {
  const from = current;
  if (step > 0 && !neighbor(step) && neighbor(0) && !list.complete) {
    await list.loadMore();
    // The user opened another job meanwhile.
    if (from.id !== current?.id) return;
    if (!neighbor(step)) renderStage(current);
  }
  const next = neighbor(step);
  if (!next) return;
  history.replaceState(null, '', `#job/${next.id}`);
  // `open` shows the job of the list at once and then reads it.
  jobs.put(next);
  open(next.id);
}

/** Shows a change of the current job. */
function update(job) {
  const before = current;
  const finished = ended(job.state) && job.version !== before.version;
  if (job.state !== before.state || job.canceling !== before.canceling || finished) render(job);
  else current = job;
  renderLive(job);
}

function render(job) {
  const changed = current?.id !== job.id || current?.state !== job.state;
  current = job;
  dialog.setAttribute('aria-label', jobTitle(job.spec));
  if (changed) renderStage(job);
  refill(side, dialog, head(job), actions(job), parameters(job), receipt(job));
}

function renderStage(job) {
  live = job.output ? null : { status: h('p', { class: 'viewer-status' }), previews: -1 };
  refill(
    stage,
    dialog,
    job.output
      ? picture(pictureUrl(job), jobTitle(job.spec), { other: resultPath(job), class: 'result' })
      : live.status,
    neighbor(-1) && button('left', 'Newer picture', () => move(-1), { class: 'step step-left' }),
    (neighbor(1) || (neighbor(0) && !list.complete)) &&
      button('right', 'Older picture', () => move(1), { class: 'step step-right' }),
  );
  renderLive(job);
}

/** Shows the status and the newest preview. */
function renderLive(job) {
  if (!live) return;
  setText(live.status, statusText(job));
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
    // There is no preview yet.
    () => {},
  );
}

function head(job) {
  return h(
    'header',
    { class: 'viewer-head' },
    h('span', { class: 'state', data: { state: job.state } }, stateLabel(job.state)),
    button('close', 'Close', close),
    h('h2', { class: jobTitle(job.spec).length > LONG_PROMPT ? 'long' : '' }, jobTitle(job.spec)),
    job.error && job.state === 'failed' && h('p', { class: 'field-error' }, job.error.message),
  );
}

function actions(job) {
  const run = (action) => () => Promise.resolve(action()).catch((error) => showError(error));
  const closeThen = (action) => () => (close(), action());
  if (!ended(job.state))
    return h(
      'div',
      { class: 'viewer-actions' },
      button(
        'stop',
        'Cancel',
        run(() => cancelJob(job.id)),
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
        closeThen(() => useAsReference('content', job)),
        { text: true },
      ),
    job.output &&
      button(
        'style',
        'Use as style',
        closeThen(() => useAsReference('style', job)),
        { text: true },
      ),
    button(
      'again',
      'Another seed',
      closeThen(() => repeat(job)),
      { text: true, title: 'Repeat with another seed' },
    ),
    button(
      'edit',
      'Edit in the form',
      closeThen(() => editInForm(job)),
      { text: true },
    ),
    button('terminal', 'Copy as curl', () => copyCurl(job), { text: true }),
    button(
      'trash',
      'Delete',
      closeThen(() => deleteWithUndo(job, { hide: () => setHidden(job, true), show: () => setHidden(job, false) })),
      { text: true, class: 'danger' },
    ),
  );
}

/** Hides or shows the job in the views. */
function setHidden(job, on) {
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
    ['Submitted', dateTime(job.submitted_ms)],
    job.finished_ms && ['Finished', dateTime(job.finished_ms)],
    job.output && ['File', `${bytes(job.output.bytes)} ${fileFormat(spec)}`],
    job.expires_ms && ['Record kept until', dateTime(job.expires_ms)],
    ['Job', h('code', {}, job.id)],
    job.retry_of && ['Retry of', h('code', {}, job.retry_of)],
    job.output?.sha256 && ['SHA-256', h('code', {}, job.output.sha256)],
  ];
  return h(
    'section',
    {},
    h('h3', {}, 'Parameters'),
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
  const data = job.output?.receipt;
  if (!data) return null;
  const parts = STAGES.map(([name, label]) => ({ label, ms: data[name] ?? 0 }));
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
  const prompt = data.prompt_tokens;
  const cut = prompt && promptCut(prompt);
  const facts = [
    prompt && ['Prompt', promptLength(prompt)],
    data.model && ['Model', data.scripted ? `${data.model} (test engine)` : data.model],
    data.worker && ['Worker', data.worker],
    ['Device time', duration(data.device_ms)],
    [
      'Steps done',
      data.resumed_from ? `${data.steps}, resumed from the checkpoint at step ${data.resumed_from}` : data.steps,
    ],
    data.attempts > 1 && ['Attempts', data.attempts],
    data.set_aside > 0 && ['Set aside', `${data.set_aside === 1 ? 'once' : `${data.set_aside} times`} for urgent jobs`],
    data.cache_hits > 0 && ['Cache hits', data.cache_hits],
    ['Fetched', bytes(data.fetched_bytes)],
    ['Stored', bytes(data.stored_bytes)],
  ];
  return h(
    'section',
    {},
    h('h3', {}, 'Receipt'),
    cut && h('p', { class: 'note' }, cut),
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
