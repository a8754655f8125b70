// The failed rows of a data set, grouped by reason.

import { button } from '../shared/controls.js';
import { h, refill, setText } from '../shared/dom.js';
import { count } from '../shared/format.js';
import { showError } from '../shared/notices.js';
import { retryFailed } from './controls.js';
import { Pages } from './pages.js';

/** Most rows that are read: more say little else about the reasons. */
const MAX_READ = 5_000;
const MAX_KEYS = 3;

const byId = (id) => document.getElementById(id);

/** The failures of one data set. */
export class Failures {
  #pages;
  /** The last failure of each row by its number: a row that was retried is listed for each time. */
  #last = new Map();
  #seen = -1;
  #reading = false;
  #shown = '';
  #told = false;

  constructor(id) {
    this.#pages = new Pages(id, 'failed', (rows) => {
      for (const row of rows) this.#last.set(row.row, row);
    });
    byId('batch-failures').hidden = true;
    this.#show([], null);
  }

  close() {
    this.#pages.close();
  }

  /** Reads what failed since, and shows it. */
  async update(batch) {
    // Rows are listed some time after they have ended.
    const archived = batch.dataset.archived;
    if ((batch.counts.failed === 0 && batch.dataset.pass === 0) || this.#reading) return;
    this.#reading = true;
    try {
      if (archived !== this.#seen && this.#pages.length < MAX_READ) {
        do await this.#pages.more();
        while (!this.#pages.complete && !this.#pages.closed && this.#pages.length < MAX_READ);
        this.#seen = archived;
        this.#told = false;
      }
    } catch (error) {
      // Once: each poll tries again.
      if (!this.#pages.closed && !this.#told) showError(error, 'The failed rows could not be read');
      this.#told = true;
    } finally {
      this.#reading = false;
    }
    if (!this.#pages.closed) this.#show(groups(this.#last.values()), batch);
  }

  #show(reasons, batch) {
    // Poll after poll the same: leave it as it is.
    const shown = JSON.stringify([reasons, batch?.counts.failed, batch?.dataset.pass, batch?.canceled]);
    if (this.#shown === shown) return;
    this.#shown = shown;
    const unlisted = batch?.dataset.pass === 0 && this.#pages.complete ? batch.counts.failed - this.#last.size : 0;
    byId('batch-failures').hidden = reasons.length === 0;
    const notes = [
      unlisted > 0 && `${count(unlisted)} more failed and will be listed soon.`,
      !this.#pages.complete && `Only the first ${count(this.#pages.length)} failures are counted here.`,
      batch?.dataset.pass > 0 &&
        `Rows that were retried are counted too; ${count(batch.counts.failed)} failed at their last try.`,
    ];
    setText(byId('batch-failures-note'), notes.filter(Boolean).join(' '));
    const canRetry = batch?.counts.failed > 0 && !batch.canceled;
    refill(
      byId('batch-reasons'),
      byId('batch-name'),
      reasons.map((reason, nth) => reasonRow(reason, canRetry && nth === 0)),
    );
  }
}

/** Rows by the code of their failure, the most frequent first. */
function groups(rows) {
  const byCode = new Map();
  for (const { key, error } of rows) {
    const code = error?.code ?? 'unknown';
    const group = byCode.get(code) ?? { code, message: error?.message ?? '', rows: 0, keys: [] };
    group.rows += 1;
    if (group.keys.length < MAX_KEYS) group.keys.push(key);
    byCode.set(code, group);
  }
  return [...byCode.values()].sort((one, other) => other.rows - one.rows);
}

function reasonRow({ code, message, rows, keys }, canRetry) {
  const more = rows - keys.length;
  return h(
    'li',
    { class: 'row', data: { code } },
    h(
      'div',
      { class: 'row-text' },
      h('span', {}, message || code),
      h('span', { class: 'muted' }, `${keys.join(', ')}${more > 0 ? ` and ${count(more)} more` : ''}`),
      h('code', {}, code),
    ),
    h('b', {}, `${count(rows)} ${rows === 1 ? 'row' : 'rows'}`),
    canRetry ? button('again', 'Retry all failed rows', retryFailed, { text: true, class: 'quiet' }) : h('span'),
  );
}
