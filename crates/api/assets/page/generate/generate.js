// The form of the first view: what to draw, and what became of asking for it.

import { bodyOf, useAs } from '../shared/actions.js';
import { Problem, call } from '../shared/api.js';
import { answer } from '../shared/bus.js';
import { startCards } from './cards.js';
import { debounce, fill, glide, setText } from '../shared/dom.js';
import { exampleCards, exampleSource } from './examples.js';
import { complain } from './fields.js';
import { jobs } from '../shared/jobs.js';
import { recall, remember } from '../shared/storage.js';
import { complain as complainAloud, notice, say } from '../shared/notices.js';
import { server } from '../shared/server.js';
import { Settings } from './settings.js';
import { DRAGGED_JOB, Slots } from './slots.js';
import { outbox, sentence, submit } from '../shared/submit.js';
import { ended, forecast } from '../shared/format.js';

const ESTIMATE_MS = 500;
const DRAFT_MS = 300;

const at = (id) => document.getElementById(id);

let form, prompt, promptError, slots, settings;
/** What the server allows, as it was last shown; empty before it has said so. */
let limits = '';
/** False once it is known that this server makes none. */
let estimates = true;
/** Cards on the page. */
let drawn = 0;

export function startGenerate() {
  form = at('form');
  prompt = at('prompt');
  promptError = at('prompt-error');
  slots = new Slots(at('slots'), at('slot-errors'), changed);
  settings = new Settings(at('settings'), changed);
  restore();

  prompt.addEventListener('input', () => {
    complain(prompt, promptError, null);
    changed();
  });
  // Enter in a number settles it. To draw is Ctrl+Enter, or the button.
  form.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.ctrlKey || event.metaKey || !event.target.matches('input')) return;
    event.preventDefault();
    event.target.dispatchEvent(new Event('change'));
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    generate();
  });
  at('clear').addEventListener('click', clear);
  // Words typed just before the page is left are not lost to the pause of `saveSoon`.
  addEventListener('pagehide', save);
  listenForPictures();
  answer('reuse', ({ spec }) => take(spec));
  answer('take', ({ id, slot }) => {
    const job = jobs.get(id);
    if (job?.output) useAs(slot.kind.role, job, slot);
  });
  answer('reference', ({ role, reference, slot: wanted }) => {
    location.hash = '';
    const slot = slots.put(role, reference, wanted);
    glide(slot.element, 'nearest');
    notice(`Taken as ${slot.kind.name.toLowerCase()}`);
  });
  drawExamples(0);
  startCards({ changed: drawExamples, refused });
  outbox.addEventListener('accepted', estimateSoon);
  jobs.addEventListener('event', ({ detail: { name } }) => {
    if (ended(name)) estimateSoon();
  });
}

/** The server has said what it can do, perhaps again after its restart. */
export function limitsChanged() {
  const told = JSON.stringify([
    server.model,
    server.defaults,
    server.limits,
    server.sizes,
    server.classes,
    server.examples,
  ]);
  if (told === limits) return;
  // What is set while the page is still waiting for the server's first word is meant for it.
  const typed = limits ? {} : settings.typed;
  limits = told;
  const draft = recall('draft', null);
  settings.reset();
  // Sizes and steps that were right for one model are not for another.
  if (draft?.model === server.model) settings.set(draft);
  settings.set(typed);
  slots.arrange();
  if (server.limits.prompt_chars > 0) prompt.maxLength = server.limits.prompt_chars;
  drawExamples();
  changed();
}

export async function generate() {
  while (slots.busy) {
    setText(at('estimate'), 'Waiting for the upload');
    const lost = await slots.settled();
    // Without a picture that somebody waited for, it would be another job than the one asked for.
    if (lost) {
      lost.input.focus();
      return;
    }
  }
  clearErrors();
  const body = asked();
  if (!body.prompt.trim() && !body.content && body.styles.length === 0) {
    complain(prompt, promptError, 'Say what to draw, or give a reference picture.');
    prompt.focus();
    return;
  }
  const fault = settings.fault();
  if (fault) return reveal(fault.control);
  const first = body.seed;
  for (let nth = 0; nth < settings.pictures; nth += 1) {
    submit(first === undefined ? body : { ...body, seed: first + nth });
  }
  say(settings.pictures > 1 ? `${settings.pictures} pictures are on their way` : 'On its way');
  // On a phone the cards are below the form.
  if (matchMedia('(max-width: 860px)').matches) glide(at('results'), 'start');
}

/** What a job would be asked to draw now. */
function asked() {
  const body = { prompt: prompt.value, ...settings.get() };
  if (slots.content) body.content = slots.content;
  body.styles = slots.styles;
  return body;
}

function changed() {
  // Called while the parts are still being put together.
  if (!settings) return;
  settings.content(Boolean(slots.content));
  prompt.placeholder = slots.content
    ? 'Leave empty to keep the layout, or say where the subject is: “The man reads by a window”'
    : 'What should be drawn?';
  at('generate').classList.toggle('busy', slots.busy);
  saveSoon();
  estimateSoon();
}

const saveSoon = debounce(DRAFT_MS, save);

function save() {
  // Before the server has spoken, the parameters are nobody's choice.
  if (!limits) return;
  const { seed = -1, ...body } = asked();
  remember('draft', { ...body, seed, model: server.model });
}

function restore() {
  const draft = recall('draft', null);
  if (!draft) return;
  prompt.value = draft.prompt ?? '';
  slots.set(draft.content, draft.styles ?? []);
}

function clear() {
  const draft = { ...asked(), seed: settings.fields.seed.get() };
  prompt.value = '';
  slots.set(null, []);
  settings.reset();
  changed();
  prompt.focus();
  notice('The form is empty', { undo: 'Undo', gone: (undone) => undone && take(draft) });
}

/** Fills the form from a job. */
function take(spec) {
  location.hash = '';
  prompt.value = spec.prompt ?? '';
  slots.set(spec.content, spec.styles ?? []);
  settings.set({ ...bodyOf(spec), start_by: spec.start_by ?? null, finish_by: spec.finish_by ?? null });
  clearErrors();
  changed();
  prompt.focus();
}

async function takeExample(example) {
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
    say(`Example ${example.title} is in the form`);
  } catch (error) {
    complainAloud(error, 'The example is not complete');
  }
  at('generate').focus({ preventScroll: true });
}

/** Examples are the first thing to see while nothing has been drawn, and out of the way later. */
function drawExamples(cards = drawn) {
  drawn = cards;
  const place = at(cards ? 'form-examples' : 'empty-examples');
  const other = at(cards ? 'empty-examples' : 'form-examples');
  if (place.dataset.shown !== String(server.examples.length) || place.childElementCount === 0) {
    fill(place, exampleCards(takeExample));
    place.dataset.shown = server.examples.length;
  }
  fill(other);
  at('empty').hidden = cards > 0;
  at('empty-title').textContent = server.examples.length ? 'Begin with an example' : 'Nothing drawn yet';
  at('examples').hidden = cards === 0 || server.examples.length === 0;
}

function listenForPictures() {
  addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0 || at('view-generate').hidden || document.querySelector('dialog[open]')) return;
    event.preventDefault();
    const focused = slots.slots.find((slot) => slot.element.contains(document.activeElement));
    slots.take(files, focused);
  });
  // A picture that misses its place must not replace the page.
  for (const name of ['dragover', 'drop']) {
    addEventListener(name, (event) => {
      const { types } = event.dataTransfer ?? { types: [] };
      if (!types.includes('Files') || types.includes(DRAGGED_JOB)) return;
      event.preventDefault();
      if (name === 'drop' && !at('view-generate').hidden) slots.take(event.dataTransfer.files);
    });
  }
}

function clearErrors() {
  complain(prompt, promptError, null);
  for (const field of Object.values(settings.fields)) field.complain(null);
  for (const slot of slots.slots) slot.complain(null);
  at('form-error').hidden = true;
}

/** Puts each fault beside the field it is about; the rest above the button. */
function refused(error) {
  clearErrors();
  const rest = [];
  let first = null;
  for (const { pointer, message } of error instanceof Problem ? error.errors : []) {
    const words = sentence(message ?? 'not as it must be');
    const name = pointer?.split('/')[1] ?? '';
    let control = null;
    if (name === 'prompt') {
      complain((control = prompt), promptError, words);
    } else if (name === 'content' || name === 'styles') {
      const slot = slots.at(pointer);
      slot.complain(words);
      control = slot.input;
    } else if (settings.fields[name]) {
      settings.fields[name].complain(words);
      ({ control } = settings.fields[name]);
    } else {
      rest.push(pointer ? `${pointer}: ${words}` : words);
    }
    first ??= control;
  }
  if (!first && rest.length === 0) rest.push(sentence(error.message));
  const place = at('form-error');
  place.hidden = rest.length === 0;
  place.textContent = rest.join(' ');
  location.hash = '';
  reveal(first ?? at('generate'));
  say(`Refused. ${sentence(error.message)}`);
}

function reveal(control) {
  for (let details = control.closest('details'); details; details = details.parentElement.closest('details'))
    details.open = true;
  control.focus();
}

/** The newest question; an answer to an earlier one is about another form. */
let asking = null;

const estimateSoon = debounce(ESTIMATE_MS, async () => {
  if (!estimates || slots.busy || document.hidden || at('view-generate').hidden) return;
  const mark = (asking = Symbol('estimate'));
  let text = '';
  try {
    const { pictures } = settings;
    text = forecast(await call('POST', `/v1/estimate?jobs=${pictures}`, { body: asked() }), pictures);
  } catch (error) {
    // An estimate is a courtesy; what is wrong with the form is said when it is sent.
    if (error instanceof Problem && error.noSuchRoute) {
      estimates = false;
      at('estimate').hidden = true;
    }
  }
  if (mark === asking && !slots.busy) setText(at('estimate'), text);
});

/** The queue may have moved on since the form was last in sight. */
export function enterGenerate() {
  if (limits) estimateSoon();
}

export function focusPrompt() {
  prompt.focus();
  prompt.select();
}
