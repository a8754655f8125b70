// Histograms of the scores of rows, as far as rows have scores.

import { fill, h, s, setText } from '../shared/dom.js';
import { count } from '../shared/format.js';

const BINS = 24;
const WIDTH = 240;
const HEIGHT = 70;

const byId = (id) => document.getElementById(id);

/** Names and scores of the try that became the picture. */
export function scoresOf(output) {
  const taken = output?.scores?.tries?.[output.scores.taken];
  return Object.entries(taken?.scores ?? {}).filter(([, value]) => Number.isFinite(value));
}

/** The scores of the rows that were read. */
export class Scores {
  #values = new Map();
  #rows = 0;
  #shownRows = -1;

  /** Adds the scores of rows. */
  add(rows) {
    for (const { output } of rows) {
      const scores = scoresOf(output);
      if (scores.length > 0) this.#rows += 1;
      for (const [name, value] of scores) {
        if (!this.#values.has(name)) this.#values.set(name, []);
        this.#values.get(name).push(value);
      }
    }
  }

  show() {
    if (this.#shownRows === this.#rows) return;
    this.#shownRows = this.#rows;
    byId('batch-scores').hidden = this.#rows === 0;
    setText(byId('batch-scores-note'), `Of the ${count(this.#rows)} rows with scores that were loaded below.`);
    fill(byId('batch-histograms'), [...this.#values].map(histogram));
  }
}

function histogram([name, values]) {
  const { low, high, bins } = binned(values);
  const most = Math.max(...bins);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const bar = WIDTH / BINS;
  const label = `${name}: mean ${number(mean)}, from ${number(low)} to ${number(high)}`;
  return h(
    'figure',
    {},
    h('figcaption', {}, h('b', {}, name), h('span', { class: 'muted' }, `mean ${number(mean)}`)),
    s(
      'svg',
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label },
      ...bins.map((rows, nth) => {
        const height = (rows / most) * HEIGHT;
        return s('rect', { x: nth * bar, y: HEIGHT - height, width: bar - 1, height });
      }),
    ),
    h('p', { class: 'muted batch-range' }, h('span', {}, number(low)), h('span', {}, number(high))),
  );
}

/** How many values are in each of `BINS` equal parts of their range. */
function binned(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const bins = new Array(BINS).fill(0);
  for (const value of values) {
    bins[high > low ? Math.min(BINS - 1, Math.floor(((value - low) / (high - low)) * BINS)) : 0] += 1;
  }
  return { low, high, bins };
}

function number(value) {
  return Number(value.toPrecision(3)).toString();
}
