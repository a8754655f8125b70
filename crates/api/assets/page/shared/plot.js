// A graph of numbers over time up to now: a line for each name, as SVG.

import { fill, h, s } from '../shared/dom.js';
import { count } from '../shared/format.js';

const LEFT = 40;
const BOTTOM = 22;
const TOP = 10;
const MIN_SPAN_MS = 60_000;

/**
 * Renders `points` (`at` in milliseconds and a number for each of `names`, oldest first) into `element`. `title` says
 * what the numbers are, `height` is in CSS pixels.
 */
export function plot(element, points, names, { title, height = 180 }) {
  if (points.length < 2) {
    fill(element, h('p', { class: 'muted' }, 'The graph starts in a few seconds.'));
    return;
  }
  // In CSS pixels, so that the text has the same size at every width.
  const width = Math.max(240, element.clientWidth - 28);
  const last = points.at(-1).at;
  const span = Math.max(MIN_SPAN_MS, last - points[0].at);
  const first = last - span;
  const max = niceMax(Math.max(1, ...points.flatMap((point) => names.map((name) => point[name] ?? 0))));
  const x = (at) => LEFT + ((at - first) / span) * (width - LEFT - 8);
  const y = (value) => TOP + (1 - value / max) * (height - TOP - BOTTOM);
  const lines = [0, 0.5, 1].map((part) => max * part).filter((value) => Number.isInteger(value));
  fill(
    element,
    s(
      'svg',
      { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': summary(title, points, names) },
      ...lines.flatMap((value) => [
        s('line', { class: 'plot-grid', x1: LEFT, x2: width - 8, y1: y(value), y2: y(value) }),
        s('text', { class: 'plot-text', x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end' }, count(value)),
      ]),
      s('text', { class: 'plot-text', x: LEFT, y: height - 4 }, clock(first)),
      s('text', { class: 'plot-text', x: width - 8, y: height - 4, 'text-anchor': 'end' }, 'now'),
      ...names.flatMap((name) => {
        const line = points
          .map((point, nth) => `${nth ? 'L' : 'M'}${x(point.at).toFixed(1)} ${y(point[name] ?? 0).toFixed(1)}`)
          .join('');
        return [
          s('path', {
            class: `plot-area plot-${name}`,
            d: `${line}L${x(last).toFixed(1)} ${y(0)}L${x(points[0].at).toFixed(1)} ${y(0)}Z`,
          }),
          s('path', { class: `plot-line plot-${name}`, d: line }),
        ];
      }),
    ),
  );
}

/** A round number that is at least `max`, for the top of the scale. */
function niceMax(max) {
  const unit = 10 ** Math.floor(Math.log10(max));
  const fitting = [1, 2, 4, 6, 8, 10].map((part) => part * unit).find((value) => value >= max) ?? max;
  return Math.max(2, fitting);
}

function summary(title, points, names) {
  const now = points.at(-1);
  return `${title} since ${clock(points[0].at)}: ${names
    .map((name) => `${name} now ${now[name] ?? 0}, at most ${Math.max(...points.map((point) => point[name] ?? 0))}`)
    .join('; ')}`;
}

function clock(at) {
  return new Date(at).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' });
}
