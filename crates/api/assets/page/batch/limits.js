// What holds a data set back: its budget, which you can change, and the fleet's nightly window.

import { call, getIfAvailable } from '../shared/api.js';
import { button } from '../shared/controls.js';
import { fill, h } from '../shared/dom.js';
import { count, duration } from '../shared/format.js';
import { announce, showError } from '../shared/notices.js';

/** How often the window is read: it changes a few times a day. */
const WINDOW_MS = 15_000;
/** The largest number that JSON keeps everywhere. */
const MOST = Number.MAX_SAFE_INTEGER;
const FIELDS = [
  ['pictures', 'batch-budget-pictures'],
  ['device_seconds', 'batch-budget-seconds'],
];

const byId = (id) => document.getElementById(id);
let shown = null;
let reread = () => {};
let painted = '';
let night = null;
let readAt = -Infinity;

/** `changed` is called after the budget has changed. */
export function startLimits(changed) {
  reread = changed;
  byId('batch-budget-form').addEventListener('submit', (event) => {
    event.preventDefault();
    save();
  });
}

/** The fleet's nightly window; null if there is none. */
export async function readWindow() {
  if (performance.now() - readAt >= WINDOW_MS) {
    readAt = performance.now();
    night = (await getIfAvailable('/v1/queue'))?.window ?? null;
  }
  return night;
}

/** Whether the nightly window keeps bulk jobs from starting now. */
export function isClosed(window) {
  return Boolean(window && !window.is_open && !window.fill);
}

/** Shows budget and window of a data set. */
export function showLimits(batch, window) {
  shown = batch;
  const { dataset, counts } = batch;
  const { pictures, device_seconds: seconds } = dataset.budget;
  const facts = [
    limit('Pictures', counts.succeeded, pictures, count, dataset.held === 'budget_pictures'),
    limit('Device time', dataset.spent_ms / 1000, seconds, (s) => duration(s * 1000), dataset.held === 'budget_seconds'),
    nightly(window),
  ];
  // Poll after poll the same: leave it as it is.
  const now = JSON.stringify([batch.id, facts]);
  if (painted === now) return;
  painted = now;
  const rows = facts.map(({ name, value, note, share, spent }) =>
    h(
      'div',
      { class: spent ? 'figure problem' : 'figure' },
      h('dt', {}, name),
      h('dd', {}, h('b', {}, value), h('span', { class: 'muted' }, note)),
      share === undefined ? null : h('dd', {}, h('progress', { max: 1, value: share, 'aria-label': `${name} used` })),
    ),
  );
  fill(byId('batch-limits'), rows);
}

/** The button that opens the dialog. */
export function budgetButton(isSpent) {
  return button(null, isSpent ? 'Raise the budget' : 'Budget', openBudget, { class: isSpent ? 'primary' : '' });
}

function limit(name, used, most, text, spent) {
  if (most === null) return { name, value: text(used), note: 'no budget' };
  const note = spent ? 'the budget is used up' : 'the data set pauses there';
  return { name, value: `${text(used)} of ${text(most)}`, note, share: most > 0 ? Math.min(1, used / most) : 1, spent };
}

function nightly(window) {
  const name = 'Night window';
  if (!window) return { name, value: 'None', note: 'rows are made at all times' };
  const hours = (time) => time.slice(0, 5);
  const at = new Date(window.is_open ? window.closes_ms : window.opens_ms);
  const day = at.toLocaleString([], { weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  const outside = window.fill ? ', outside it while no interactive job waits' : '';
  const note = `${window.zone}; ${window.is_open ? 'open until' : 'closed until'} ${day}${outside}`;
  return { name, value: `${hours(window.opens)} to ${hours(window.closes)}`, note };
}

function openBudget() {
  for (const [name, id] of FIELDS) {
    byId(id).value = shown.dataset.budget[name] ?? '';
    showFault(id, '');
  }
  byId('batch-budget').showModal();
}

function showFault(id, text) {
  byId(`${id}-error`).textContent = text;
  byId(`${id}-error`).hidden = text === '';
  byId(id).setAttribute('aria-invalid', String(text !== ''));
}

/** What the form asks for; null after it has said what is wrong. */
function asked() {
  const budget = {};
  let wrong = null;
  for (const [name, id] of FIELDS) {
    const text = byId(id).value.trim();
    const number = text === '' ? null : Number(text);
    const fits = byId(id).validity.badInput === false && (number === null || (Number.isInteger(number) && number >= 0 && number <= MOST));
    showFault(id, fits ? '' : 'Enter a whole number, or leave it empty for no limit');
    if (!fits) wrong ??= id;
    budget[name] = number;
  }
  if (wrong) byId(wrong).focus();
  return wrong ? null : budget;
}

async function save() {
  const budget = asked();
  if (!budget) return;
  try {
    await call('PUT', `/v1/batches/${encodeURIComponent(shown.id)}/budget`, { body: budget });
    byId('batch-budget').close();
    announce('The budget is changed');
  } catch (error) {
    const field = FIELDS.find(([name]) => error.errors?.some(({ pointer }) => pointer === `/${name}`));
    if (field) showFault(field[1], error.message);
    else showError(error, 'The budget was not changed');
  }
  reread();
}
