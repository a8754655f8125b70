// The dialog with everything about a row.

import { call } from '../shared/api.js';
import { button } from '../shared/controls.js';
import { fill, h } from '../shared/dom.js';
import { count, dateTime, jobTitle, stateLabel } from '../shared/format.js';
import { scoresOf } from './scores.js';

const dialog = () => document.getElementById('batch-row');
let opened = null;

/** Shows a row. Its prompt and seed are with its job, which is read now. */
export function openRow(row) {
  opened = row;
  show(row, null, 'Loading…');
  dialog().showModal();
  call('GET', `/v1/jobs/${encodeURIComponent(row.job)}`)
    .then((job) => opened === row && show(row, job.spec, ''))
    .catch((error) => opened === row && show(row, null, `The prompt could not be read: ${error.message}`));
}

function show(row, spec, note) {
  const { output, error } = row;
  const scores = scoresOf(output);
  const close = button('close', 'Close', () => dialog().close());
  const hadFocus = dialog().contains(document.activeElement);
  fill(
    dialog(),
    h('div', { class: 'block-head' }, h('h2', { id: 'batch-row-title' }, row.key), close),
    output?.thumbnail_url && h('img', { src: output.thumbnail_url, alt: spec ? jobTitle(spec) : '' }),
    h('p', { class: 'batch-prompt' }, spec ? jobTitle(spec) : note),
    h(
      'dl',
      { class: 'keys' },
      fact('Row', count(row.row)),
      fact('State', stateLabel(row.state)),
      error && fact('Failure', `${error.message} (${error.code})`),
      spec && fact('Seed', String(spec.seed ?? 'not known')),
      output && fact('Size', `${output.width} × ${output.height}`),
      scores.map(([name, value]) => fact(name, Number(value.toPrecision(4)).toString())),
      fact('Ended', dateTime(row.finished_ms)),
      fact('Job', h('code', {}, row.job)),
    ),
  );
  if (hadFocus) close.focus();
}

function fact(name, value) {
  return h('div', {}, h('dt', {}, name), h('dd', {}, value));
}
