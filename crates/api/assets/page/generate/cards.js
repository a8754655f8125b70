// The cards of the jobs that this browser submitted, newest first.

import { Card } from './card.js';
import { jobs } from '../shared/jobs.js';
import { ownJobs } from '../shared/storage.js';
import { outbox, resumeSending } from '../shared/submit.js';
import { ended } from '../shared/format.js';

/** In pixels, as in the style sheet. */
const CARD_ROW = 4;
const CARD_GAP = 20;

const byId = (id) => document.getElementById(id);
const cards = new Map();

let onCountChange = () => {};
let lastCount = 0;

/** Packs cards of different heights without gaps: each spans as many small grid rows as it needs. */
const resizeObserver = new ResizeObserver((entries) => {
  for (const { target } of entries)
    target.style.gridRowEnd = `span ${Math.ceil((target.offsetHeight + CARD_GAP) / CARD_ROW)}`;
});

/**
 * Shows the jobs that this browser submitted. `onChange(count)` is called when the number of cards changes,
 * `onRefused(error)` when the server refuses a job.
 */
export function startCards({ onChange, onRefused }) {
  onCountChange = onChange;
  outbox.addEventListener('sending', ({ detail: { key, body, note } }) => {
    show({
      id: key,
      key,
      state: 'sending',
      spec: body,
      note,
      submitted_ms: cards.get(key)?.job.submitted_ms ?? Date.now(),
    });
  });
  outbox.addEventListener('accepted', ({ detail: { key, id } }) => {
    const card = cards.get(key);
    cards.delete(key);
    const duplicate = cards.get(id);
    if (duplicate && duplicate !== card) removeCard(duplicate);
    if (card) cards.set(id, card);
    const job = jobs.get(id);
    if (job) show(job);
  });
  outbox.addEventListener('refused', ({ detail: { key, error } }) => {
    removeCard(cards.get(key));
    onRefused(error);
  });
  outbox.addEventListener('withdrawn', ({ detail: { key } }) => removeCard(cards.get(key)));
  jobs.addEventListener('change', ({ detail: job }) => {
    if (cards.has(job.id) || ownJobs.list().includes(job.id)) show(job);
    updateTitle();
  });
  jobs.addEventListener('removed', ({ detail: id }) => removeCard(cards.get(id)));
  byId('clear-done').addEventListener('click', () => {
    for (const card of [...cards.values()]) if (ended(card.job.state)) card.remove();
  });
  resumeSending();
  for (const id of ownJobs.list())
    jobs.read(id).then(
      (job) => job ?? ownJobs.remove(id),
      () => {},
    );
}

function show(job) {
  const known = cards.get(job.id);
  if (known) {
    known.update(job);
  } else {
    const card = new Card(job, removeCard);
    resizeObserver.observe(card.element);
    cards.set(job.id, card);
    const after = [...cards.values()].filter((other) => other !== card && other.job.submitted_ms <= job.submitted_ms);
    const next = after.sort((a, b) => b.job.submitted_ms - a.job.submitted_ms)[0];
    byId('cards').insertBefore(card.element, next?.element ?? null);
  }
  updateCount();
}

function removeCard(card) {
  if (!card) return;
  resizeObserver.unobserve(card.element);
  card.element.remove();
  for (const [id, other] of cards) if (other === card) cards.delete(id);
  updateCount();
  updateTitle();
}

function updateCount() {
  byId('clear-done').hidden = ![...cards.values()].some((card) => ended(card.job.state));
  if (cards.size !== lastCount) onCountChange((lastCount = cards.size));
}

/** Shows the progress of the newest running job in the title of the tab. */
function updateTitle() {
  const running = [...cards.values()].map((card) => card.job).filter((job) => !ended(job.state));
  const first = running.find((job) => job.state === 'running' && job.of);
  const prefix = first ? `${Math.round((first.step / first.of) * 100)} % · ` : running.length ? '… ' : '';
  document.title = `${prefix}uso-fleet`;
}
