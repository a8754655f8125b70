// How deep the queue was, by class: a line for each, drawn as SVG.

import { fill, h, s } from '../shared/dom.js';
import { count } from '../shared/format.js';

const HEIGHT = 180;
const LEFT = 40;
const BOTTOM = 22;
const TOP = 10;
const SHORTEST_MS = 60_000;

/** Draws `points` ({ at, interactive, bulk }, oldest first) into `element`. */
export function plot(element, points, names) {
  if (points.length < 2) {
    fill(element, h('p', { class: 'muted' }, 'The curve begins in a few seconds.'));
    return;
  }
  // In pixels of the page, so that words keep their size on a narrow one.
  const width = Math.max(240, element.clientWidth - 28);
  const last = points.at(-1).at;
  const span = Math.max(SHORTEST_MS, last - points[0].at);
  const first = last - span;
  const most = ceiling(Math.max(1, ...points.flatMap((point) => names.map((name) => point[name] ?? 0))));
  const x = (at) => LEFT + ((at - first) / span) * (width - LEFT - 8);
  const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
  const lines = [0, 0.5, 1].map((part) => most * part).filter((value) => Number.isInteger(value));
  fill(
    element,
    s(
      'svg',
      { viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': summary(points, names) },
      ...lines.flatMap((value) => [
        s('line', { class: 'plot-grid', x1: LEFT, x2: width - 8, y1: y(value), y2: y(value) }),
        s('text', { class: 'plot-text', x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end' }, count(value)),
      ]),
      s('text', { class: 'plot-text', x: LEFT, y: HEIGHT - 4 }, clock(first)),
      s('text', { class: 'plot-text', x: width - 8, y: HEIGHT - 4, 'text-anchor': 'end' }, 'now'),
      ...names.flatMap((name) => {
        const way = points
          .map((point, nth) => `${nth ? 'L' : 'M'}${x(point.at).toFixed(1)} ${y(point[name] ?? 0).toFixed(1)}`)
          .join('');
        return [
          s('path', {
            class: `plot-area plot-${name}`,
            d: `${way}L${x(last).toFixed(1)} ${y(0)}L${x(points[0].at).toFixed(1)} ${y(0)}Z`,
          }),
          s('path', { class: `plot-line plot-${name}`, d: way }),
        ];
      }),
    ),
  );
}

/** The next number whose half is whole too, so that the grid has whole numbers. */
function ceiling(most) {
  const unit = 10 ** Math.floor(Math.log10(most));
  const fitting = [1, 2, 4, 6, 8, 10].map((part) => part * unit).find((value) => value >= most) ?? most;
  return Math.max(2, fitting);
}

function summary(points, names) {
  const now = points.at(-1);
  return `Waiting jobs since ${clock(points[0].at)}: ${names
    .map((name) => `${name} now ${now[name] ?? 0}, at most ${Math.max(...points.map((point) => point[name] ?? 0))}`)
    .join('; ')}`;
}

function clock(at) {
  return new Date(at).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' });
}
