// The generate view: the form, its draft, the estimate and the refusals of the server.

import { requestBody, useAsReference } from '../shared/actions.js';
import { Problem, call } from '../shared/api.js';
import { on } from '../shared/bus.js';
import { startCards } from './cards.js';
import { debounce, fill, scrollToElement, setText } from '../shared/dom.js';
import { exampleCards, exampleSource } from './examples.js';
import { setError } from './fields.js';
import { jobs } from '../shared/jobs.js';
import { loadItem, saveItem } from '../shared/storage.js';
import { showError, showNotice, announce } from '../shared/notices.js';
import { server } from '../shared/server.js';
import { Settings } from './settings.js';
import { JOB_DRAG_TYPE, Slots } from './slots.js';
import { outbox, sentence, submit } from '../shared/submit.js';
import { ended, estimateText } from '../shared/format.js';

const ESTIMATE_MS = 500;
const DRAFT_MS = 300;

const byId = (id) => document.getElementById(id);

let form, prompt, promptError, slots, settings;
/** The capabilities that the form shows, as JSON; empty before they are read. */
let limits = '';
/** False if the server makes no estimates. */
let estimates = true;
/** The number of cards on the page. */
let cardCount = 0;

export function startGenerate() {
  form = byId('form');
  prompt = byId('prompt');
  promptError = byId('prompt-error');
  slots = new Slots(byId('slots'), byId('slot-errors'), changed);
  settings = new Settings(byId('settings'), changed);
  restore();

  prompt.addEventListener('input', () => {
    setError(prompt, promptError, null);
    changed();
  });
  // Enter in an input only commits its value. Ctrl+Enter or the button submits the form.
  form.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.ctrlKey || event.metaKey || !event.target.matches('input')) return;
    event.preventDefault();
    event.target.dispatchEvent(new Event('change'));
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    generate();
  });
  byId('clear').addEventListener('click', clear);
  // Save what was typed less than DRAFT_MS before the page closes.
  addEventListener('pagehide', save);
  acceptPictures();
  on('edit', ({ spec }) => fillForm(spec));
  on('use-as-reference', ({ id, slot }) => {
    const job = jobs.get(id);
    if (job?.output) useAsReference(slot.kind.role, job, slot);
  });
  on('reference', ({ role, reference, slot: wanted }) => {
    location.hash = '';
    const slot = slots.put(role, reference, wanted);
    scrollToElement(slot.element, 'nearest');
    showNotice(`Added as ${slot.kind.name.toLowerCase()}`);
  });
  renderExamples(0);
  startCards({ onChange: renderExamples, onRefused: showRefusal });
  outbox.addEventListener('accepted', estimateSoon);
  jobs.addEventListener('event', ({ detail: { name } }) => {
    if (ended(name)) estimateSoon();
  });
}

/** Shows the capabilities of the server, which may be different after its restart. */
export function limitsChanged() {
  const received = JSON.stringify([
    server.model,
    server.defaults,
    server.limits,
    server.sizes,
    server.classes,
    server.formats,
    server.examples,
  ]);
  if (received === limits) return;
  // Keep what was set before the capabilities were read.
  const typed = limits ? {} : settings.typed;
  limits = received;
  const draft = loadItem('draft', null);
  settings.reset();
  // The sizes and steps of a draft may not suit another model.
  if (draft?.model === server.model) settings.set(draft);
  settings.set(typed);
  slots.arrange();
  if (server.limits.prompt_chars > 0) prompt.maxLength = server.limits.prompt_chars;
  renderExamples();
  changed();
}

export async function generate() {
  while (slots.busy) {
    setText(byId('estimate'), 'Waiting for the upload to finish');
    const failed = await slots.uploadsDone();
    // Do not submit a job that lacks a reference.
    if (failed) {
      failed.input.focus();
      return;
    }
  }
  clearErrors();
  const body = formBody();
  if (!body.prompt.trim() && !body.content && body.styles.length === 0) {
    setError(prompt, promptError, 'Write a prompt or add a reference picture.');
    prompt.focus();
    return;
  }
  const invalid = settings.firstError();
  if (invalid) return focusControl(invalid.control);
  const first = body.seed;
  for (let nth = 0; nth < settings.pictures; nth += 1) {
    submit(first === undefined ? body : { ...body, seed: first + nth });
  }
  announce(settings.pictures > 1 ? `Submitting ${settings.pictures} jobs` : 'Submitting the job');
  // On a narrow screen the cards are below the form.
  if (matchMedia('(max-width: 860px)').matches) scrollToElement(byId('results'), 'start');
}

/** The request body for the form as it is. */
function formBody() {
  const body = { prompt: prompt.value, ...settings.get() };
  if (slots.content) body.content = slots.content;
  body.styles = slots.styles;
  return body;
}

function changed() {
  // The slots call this before the settings exist.
  if (!settings) return;
  settings.setHasContent(Boolean(slots.content));
  prompt.placeholder = slots.content
    ? 'Leave empty to keep the layout, or describe the scene: “The man reads by a window”'
    : 'Describe the picture';
  byId('generate').classList.toggle('busy', slots.busy);
  saveSoon();
  estimateSoon();
}

const saveSoon = debounce(DRAFT_MS, save);

function save() {
  // Before the capabilities are read, the form has only defaults.
  if (!limits) return;
  const { seed = -1, ...body } = formBody();
  saveItem('draft', { ...body, seed, model: server.model });
}

function restore() {
  const draft = loadItem('draft', null);
  if (!draft) return;
  prompt.value = draft.prompt ?? '';
  slots.set(draft.content, draft.styles ?? []);
}

function clear() {
  const draft = { ...formBody(), seed: settings.fields.seed.get() };
  prompt.value = '';
  slots.set(null, []);
  settings.reset();
  changed();
  prompt.focus();
  showNotice('Form cleared', { undo: 'Undo', onClose: (undone) => undone && fillForm(draft) });
}

/** Fills the form with the parameters of a job. */
function fillForm(spec) {
  location.hash = '';
  prompt.value = spec.prompt ?? '';
  slots.set(spec.content, spec.styles ?? []);
  settings.set({ ...requestBody(spec), start_by: spec.start_by ?? null, finish_by: spec.finish_by ?? null });
  clearErrors();
  changed();
  prompt.focus();
}

async function fillFromExample(example) {
  prompt.value = example.prompt ?? '';
  slots.set(null, []);
  settings.set({ keep_size: false, ...example });
  clearErrors();
  changed();
  if (matchMedia('(max-width: 860px)').matches) form.scrollIntoView({ block: 'start' });
  try {
    const [content, ...styles] = await Promise.all(
      [example.content ?? null, ...(example.styles ?? [])].map((address) => address && exampleSource(address)),
    );
    if (content) slots.put('content', content);
    for (const style of styles) slots.put('style', style);
    announce(`Example ${example.title} loaded`);
  } catch (error) {
    showError(error, 'The example could not be loaded');
  }
  byId('generate').focus({ preventScroll: true });
}

/** Shows the examples in the empty results, or in the form once there are cards. */
function renderExamples(cards = cardCount) {
  cardCount = cards;
  const element = byId(cards ? 'form-examples' : 'empty-examples');
  const other = byId(cards ? 'empty-examples' : 'form-examples');
  if (element.dataset.shown !== String(server.examples.length) || element.childElementCount === 0) {
    fill(element, exampleCards(fillFromExample));
    element.dataset.shown = server.examples.length;
  }
  fill(other);
  byId('empty').hidden = cards > 0;
  byId('empty-title').textContent = server.examples.length ? 'Start with an example' : 'No pictures yet';
  byId('examples').hidden = cards === 0 || server.examples.length === 0;
}

function acceptPictures() {
  addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0 || byId('view-generate').hidden || document.querySelector('dialog[open]')) return;
    event.preventDefault();
    const focused = slots.slots.find((slot) => slot.element.contains(document.activeElement));
    slots.addFiles(files, focused);
  });
  // A picture that is dropped beside a slot must not replace the page.
  for (const name of ['dragover', 'drop']) {
    addEventListener(name, (event) => {
      const { types } = event.dataTransfer ?? { types: [] };
      if (!types.includes('Files') || types.includes(JOB_DRAG_TYPE)) return;
      event.preventDefault();
      if (name === 'drop' && !byId('view-generate').hidden) slots.addFiles(event.dataTransfer.files);
    });
  }
}

function clearErrors() {
  setError(prompt, promptError, null);
  for (const field of Object.values(settings.fields)) field.setError(null);
  for (const slot of slots.slots) slot.setError(null);
  byId('form-error').hidden = true;
}

/** Shows each error of a refusal at its field, and the others above the button. */
function showRefusal(error) {
  clearErrors();
  const other = [];
  let first = null;
  for (const { pointer, message } of error instanceof Problem ? error.errors : []) {
    const words = sentence(message ?? 'this value is not valid');
    const name = pointer?.split('/')[1] ?? '';
    let control = null;
    if (name === 'prompt') {
      setError((control = prompt), promptError, words);
    } else if (name === 'content' || name === 'styles') {
      const slot = slots.slotAt(pointer);
      slot.setError(words);
      control = slot.input;
    } else if (settings.fields[name]) {
      settings.fields[name].setError(words);
      ({ control } = settings.fields[name]);
    } else {
      other.push(pointer ? `${pointer}: ${words}` : words);
    }
    first ??= control;
  }
  if (!first && other.length === 0) other.push(sentence(error.message));
  const element = byId('form-error');
  element.hidden = other.length === 0;
  element.textContent = other.join(' ');
  location.hash = '';
  focusControl(first ?? byId('generate'));
  announce(`The server refused the job. ${sentence(error.message)}`);
}

function focusControl(control) {
  for (let details = control.closest('details'); details; details = details.parentElement.closest('details'))
    details.open = true;
  control.focus();
}

/** The newest estimate request. An answer to an earlier one is for an earlier form. */
let latestRequest = null;

const estimateSoon = debounce(ESTIMATE_MS, async () => {
  if (!estimates || slots.busy || document.hidden || byId('view-generate').hidden) return;
  const request = (latestRequest = Symbol('estimate'));
  let text = '';
  try {
    const { pictures } = settings;
    text = estimateText(await call('POST', `/v1/estimate?jobs=${pictures}`, { body: formBody() }), pictures);
  } catch (error) {
    // Show no error here: the server reports errors of the form when you submit it.
    if (error instanceof Problem && error.noSuchRoute) {
      estimates = false;
      byId('estimate').hidden = true;
    }
  }
  if (request === latestRequest && !slots.busy) setText(byId('estimate'), text);
});

/** Updates the estimate: the queue may have changed while the form was hidden. */
export function enterGenerate() {
  if (limits) estimateSoon();
}

export function focusPrompt() {
  prompt.focus();
  prompt.select();
}
