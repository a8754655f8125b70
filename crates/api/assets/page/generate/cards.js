// What this browser has asked for, as cards, newest first.

import { Card } from './card.js';
import { jobs } from '../shared/jobs.js';
import { mine } from '../shared/storage.js';
import { outbox, resume } from '../shared/submit.js';
import { ended } from '../shared/format.js';

/** As in the style sheet. */
const CARD_ROW = 4;
const CARD_GAP = 20;

const at = (id) => document.getElementById(id);
const cards = new Map();

let counted = () => {};
let told = 0;

/** Cards of any height without holes between them: each spans as many small rows as it needs. */
const heights = new ResizeObserver((entries) => {
  for (const { target } of entries)
    target.style.gridRowEnd = `span ${Math.ceil((target.offsetHeight + CARD_GAP) / CARD_ROW)}`;
});

/**
 * Shows what this browser has asked for. `changed(count)` is called when there are more cards or fewer,
 * `refused(error)` when the server did not take a job.
 */
export function startCards({ changed, refused }) {
  counted = changed;
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
    const twin = cards.get(id);
    if (twin && twin !== card) takeAway(twin);
    if (card) cards.set(id, card);
    const job = jobs.get(id);
    if (job) show(job);
  });
  outbox.addEventListener('refused', ({ detail: { key, error } }) => {
    takeAway(cards.get(key));
    refused(error);
  });
  outbox.addEventListener('dropped', ({ detail: { key } }) => takeAway(cards.get(key)));
  jobs.addEventListener('change', ({ detail: job }) => {
    if (cards.has(job.id) || mine.list().includes(job.id)) show(job);
    title();
  });
  jobs.addEventListener('gone', ({ detail: id }) => takeAway(cards.get(id)));
  at('clear-done').addEventListener('click', () => {
    for (const card of [...cards.values()]) if (ended(card.job.state)) card.away();
  });
  resume();
  for (const id of mine.list())
    jobs.read(id).then(
      (job) => job ?? mine.drop(id),
      () => {},
    );
}

function show(job) {
  const known = cards.get(job.id);
  if (known) {
    known.update(job);
  } else {
    const card = new Card(job, takeAway);
    heights.observe(card.element);
    cards.set(job.id, card);
    const after = [...cards.values()].filter((other) => other !== card && other.job.submitted_ms <= job.submitted_ms);
    const next = after.sort((a, b) => b.job.submitted_ms - a.job.submitted_ms)[0];
    at('cards').insertBefore(card.element, next?.element ?? null);
  }
  count();
}

function takeAway(card) {
  if (!card) return;
  heights.unobserve(card.element);
  card.element.remove();
  for (const [id, other] of cards) if (other === card) cards.delete(id);
  count();
  title();
}

function count() {
  at('clear-done').hidden = ![...cards.values()].some((card) => ended(card.job.state));
  if (cards.size !== told) counted((told = cards.size));
}

/** The tab tells how far the newest picture is. */
function title() {
  const running = [...cards.values()].map((card) => card.job).filter((job) => !ended(job.state));
  const ahead = running.find((job) => job.state === 'running' && job.of);
  const part = ahead ? `${Math.round((ahead.step / ahead.of) * 100)} % · ` : running.length ? '… ' : '';
  document.title = `${part}uso-fleet`;
}
