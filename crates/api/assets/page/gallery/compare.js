// Compares two pictures: one on top of the other, with a divider that you can move.

import { pictureUrl, resultPath } from '../shared/actions.js';
import { button, picture } from '../shared/controls.js';
import { fill, h } from '../shared/dom.js';
import { jobTitle } from '../shared/format.js';

export function compare(one, other) {
  const dialog = document.getElementById('compare');
  const over = h('div', { class: 'compare-over' }, show(other));
  const pane = h(
    'div',
    { class: 'compare-pane' },
    show(one),
    over,
    h('i', { class: 'compare-line', 'aria-hidden': 'true' }),
  );
  const slider = h('input', {
    type: 'range',
    min: 0,
    max: 100,
    step: 0.5,
    value: 50,
    class: 'compare-slider',
    'aria-label': 'How much of the left picture is shown',
    oninput: () => split(),
  });
  const split = () => {
    pane.style.setProperty('--split', `${slider.value}%`);
    slider.setAttribute('aria-valuetext', `${Math.round(slider.value)} percent of the left picture`);
  };
  pane.append(slider);
  pane.style.aspectRatio = (one.output?.width ?? 1) / (one.output?.height ?? 1);
  split();
  fill(
    dialog,
    h(
      'header',
      { class: 'compare-head' },
      h('h2', {}, 'Compare'),
      button('close', 'Close', () => dialog.close()),
    ),
    pane,
    h('div', { class: 'compare-captions' }, caption('Left', one), caption('Right', other)),
  );
  dialog.showModal();
  slider.focus();
}

function show(job) {
  return picture(pictureUrl(job), jobTitle(job.spec), { other: resultPath(job) });
}

function caption(side, job) {
  return h(
    'div',
    {},
    h('p', { title: job.spec.prompt }, h('b', {}, side), ' ', jobTitle(job.spec)),
    h('span', { class: 'muted' }, `seed ${job.spec.seed}`),
  );
}
