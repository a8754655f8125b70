// The failed rows of a data set by reason, as the server counts them.

import { button } from '../shared/controls.js';
import { h, refill, setText } from '../shared/dom.js';
import { count } from '../shared/format.js';
import { retryFailed } from './controls.js';

/** What the server calls all reasons beyond those that it tells apart. */
const OTHER = 'other';

const byId = (id) => document.getElementById(id);
let shown = '';

/** Shows why rows of this data set failed. */
export function showFailures(batch) {
  const { counts, dataset, canceled, id } = batch;
  const reasons = dataset.reasons ?? [];
  // Poll after poll the same: leave it as it is.
  const { reasons_counted: counted, archived, retrying } = dataset;
  const now = JSON.stringify([id, reasons, counts.failed, counted, archived, retrying, canceled]);
  if (shown === now) return;
  shown = now;
  byId('batch-failures').hidden = reasons.length === 0;
  setText(byId('batch-failures-note'), note(batch, reasons));
  const canRetry = counts.failed > 0 && !canceled && !retrying;
  refill(
    byId('batch-reasons'),
    byId('batch-name'),
    reasons.map((reason) => reasonRow(reason, canRetry)),
  );
}

function note({ counts, dataset }, reasons) {
  const listed = reasons.reduce((sum, { rows }) => sum + rows, 0);
  if (dataset.retrying) return `The rows that failed with ${dataset.retrying} are being looked for, to be made again.`;
  if (dataset.reasons_counted < dataset.archived) {
    return `Being counted: ${count(dataset.reasons_counted)} of ${count(dataset.archived)} rows that ended.`;
  }
  if (counts.failed > listed) return `${count(counts.failed - listed)} more failed and will be counted soon.`;
  // A row that is made again counts by its last end until it ends anew.
  if (counts.failed < listed) return `${count(listed - counts.failed)} of these are being made again.`;
  return '';
}

function reasonRow({ code, rows, example }, canRetry) {
  const more = rows - 1;
  const others = more > 0 ? ` and ${count(more)} more` : '';
  return h(
    'li',
    { class: 'row', data: { code } },
    h(
      'div',
      { class: 'row-text' },
      h('span', {}, example?.message || code),
      example && h('span', { class: 'muted' }, `${example.key}${others}`),
      h('code', {}, code),
    ),
    h('b', {}, `${count(rows)} ${rows === 1 ? 'row' : 'rows'}`),
    canRetry && code !== OTHER
      ? button('again', 'Retry', () => retryFailed(code), {
          text: true,
          class: 'quiet',
          'aria-label': `Retry the rows that failed with ${code}`,
        })
      : h('span'),
  );
}
