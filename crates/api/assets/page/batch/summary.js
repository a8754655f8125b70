// What a data set is doing, in words and numbers: for the list and for the data set itself.

import { fill, h } from '../shared/dom.js';
import { count, duration } from '../shared/format.js';
import { plot } from '../shared/plot.js';

/** States of rows in the order of the bar, with what people call them. */
const PARTS = [
  ['succeeded', 'done'],
  ['failed', 'failed'],
  ['canceled', 'canceled'],
  ['expired', 'expired'],
  ['running', 'running'],
  ['queued', 'waiting'],
  ['later', 'not queued yet'],
];
const HELD = {
  paused: 'Paused',
  canceled: 'Canceled',
  budget_pictures: 'Paused: its budget of pictures is used up',
  budget_seconds: 'Paused: its budget of device time is used up',
  window: 'Waiting for the nightly window',
};
const PLOT_HEIGHT = 120;

const byId = (id) => document.getElementById(id);

/** How many rows have ended. */
export function endedRows({ counts }) {
  return counts.succeeded + counts.failed + counts.canceled + counts.expired;
}

/** How many rows are to end. */
export function wantedRows({ counts, dataset }) {
  return Math.max(dataset.started, counts.total);
}

/** What a data set is doing: one of `running`, `held`, `packing`, `done`, and a text that says so. */
export function activity(batch) {
  const { dataset } = batch;
  const held = batch.canceled ? 'canceled' : batch.paused ? 'paused' : dataset.held;
  if (held === 'canceled') return { kind: 'held', text: HELD.canceled };
  if (dataset.started === 0) return { kind: 'held', text: 'Not started: its rows are being added' };
  if (endedRows(batch) < wantedRows(batch)) {
    return held ? { kind: 'held', text: HELD[held] ?? `Stopped: ${held}` } : { kind: 'running', text: 'Running' };
  }
  const packs = dataset.waiting > 0 || dataset.open_rows > 0 || dataset.described < dataset.shards;
  if (packs) return { kind: 'packing', text: 'All rows have ended; the last pictures are being packed' };
  return { kind: 'done', text: dataset.started < dataset.rows ? 'Done as far as it was started' : 'Done' };
}

/** Shows the numbers of a data set. */
export function showSummary(batch, pace) {
  showBar(batch);
  const { dataset } = batch;
  const runs = activity(batch).kind === 'running';
  const left = runs ? pace.leftMs(wantedRows(batch)) : null;
  fill(
    byId('batch-figures'),
    figure('Rows ended', count(endedRows(batch)), `of ${count(wantedRows(batch))}, ${count(dataset.rows)} added`),
    figure('Rows per second', rateText(pace.rate), runs ? leftText(left) : ''),
    figure('Shards ready', count(dataset.packed), shardsText(dataset)),
  );
  // Without a row that ends they would say nothing.
  byId('batch-plots').hidden = !runs && pace.points.every((point) => point.rate === 0);
  const known = pace.points.filter((point) => point.left !== null);
  plot(byId('batch-rate'), pace.points, ['rate'], { title: 'Rows per second', height: PLOT_HEIGHT });
  plot(byId('batch-left'), known, ['left'], { title: 'Minutes left', height: PLOT_HEIGHT });
}

function leftText(left) {
  return left === null ? 'time left not known' : `about ${duration(left)} left`;
}

function figure(name, value, note) {
  return h(
    'div',
    { class: 'figure' },
    h('dt', {}, name),
    h('dd', {}, h('b', {}, value), h('span', { class: 'muted' }, note)),
  );
}

/** Rows per second with as many digits as say something. */
export function rateText(rate) {
  return rate >= 10 || rate === 0 ? count(Math.round(rate)) : rate.toFixed(rate >= 1 ? 1 : 2);
}

function shardsText({ shards, open_rows: open }) {
  return `of ${count(shards)} that are full${open ? `; ${count(open)} pictures in the next` : ''}`;
}

function showBar(batch) {
  const numbers = { ...batch.counts, later: Math.max(0, wantedRows(batch) - batch.counts.total) };
  const parts = PARTS.filter(([state]) => numbers[state] > 0);
  const bar = byId('batch-bar');
  fill(
    bar,
    parts.map(([state]) => {
      const part = h('i', { class: `part-${state}` });
      part.style.flexGrow = numbers[state];
      return part;
    }),
  );
  bar.setAttribute('aria-label', parts.map(([state, name]) => `${count(numbers[state])} ${name}`).join(', '));
  fill(
    byId('batch-legend'),
    parts.map(([state, name]) =>
      h('li', {}, h('i', { class: `dot part-${state}`, 'aria-hidden': 'true' }), `${count(numbers[state])} ${name}`),
    ),
  );
}
