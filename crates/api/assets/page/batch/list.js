// The list of data sets, the newest first.

import { fill, h, setText } from '../shared/dom.js';
import { ago, count, duration } from '../shared/format.js';
import { activity, endedRows, rateText, wantedRows } from './summary.js';

const byId = (id) => document.getElementById(id);
const rows = new Map();

/** Shows these data sets; `paces` has how fast their rows end, by id. `older` is whether there are more. */
export function showList(batches, paces, older) {
  const wanted = new Set(batches.map((batch) => batch.id));
  for (const [id, row] of rows) {
    if (wanted.has(id)) continue;
    row.element.remove();
    rows.delete(id);
  }
  batches.forEach((batch, nth) => {
    if (!rows.has(batch.id)) rows.set(batch.id, new Row(batch));
    const row = rows.get(batch.id);
    row.update(batch, paces.get(batch.id));
    // Moving an element takes the focus from it: move only what is elsewhere.
    const there = byId('batch-list').children[nth];
    if (there !== row.element) byId('batch-list').insertBefore(row.element, there ?? null);
  });
  byId('batch-older').hidden = !older;
  showNote(batches.length === 0);
}

function showNote(none) {
  const note = byId('batch-note');
  note.hidden = !none;
  if (!none || note.firstChild) return;
  fill(
    note,
    'No data sets yet. A data set is a large batch whose pictures are packed into files for training. ',
    'Make one from a manifest: ',
    h('code', {}, 'uso batch create manifest.jsonl'),
  );
}

class Row {
  constructor(batch) {
    this.link = h('a', { href: `#batch/${encodeURIComponent(batch.id)}` }, batch.dataset.name);
    this.status = h('span', { class: 'muted' });
    this.progress = h('progress', { max: 1, 'aria-label': `Progress of ${batch.dataset.name}` });
    this.failed = h('span', { class: 'tag batch-failed' });
    this.element = h(
      'li',
      { class: 'row', data: { id: batch.id } },
      h('div', { class: 'row-text' }, this.link, this.status),
      this.failed,
      this.progress,
    );
  }

  update(batch, pace) {
    const { kind, text } = activity(batch);
    const [ended, wanted] = [endedRows(batch), wantedRows(batch)];
    const left = pace?.leftMs(wanted) ?? null;
    const facts = [
      text,
      `${count(ended)} of ${count(wanted)} rows`,
      kind === 'running' && pace?.rate > 0 && `${rateText(pace.rate)} rows/s`,
      kind === 'running' && left !== null && `about ${duration(left)} left`,
      `made ${ago(batch.created_ms)}`,
    ];
    this.element.dataset.state = kind;
    setText(this.status, facts.filter(Boolean).join(' · '));
    this.progress.value = wanted > 0 ? ended / wanted : 0;
    this.failed.hidden = batch.counts.failed === 0;
    setText(this.failed, `${count(batch.counts.failed)} failed`);
  }
}
