// Rows of a data set that have ended, read a page at a time. Any number of them may be listed, so only the pages that
// were used last are kept; of the others, only where they begin. A page that is needed again is read again, which also
// renews the links in it.

import { call } from '../shared/api.js';

const PAGE = 100;
const MAX_KEPT = 30;
/** Links to thumbnails are valid for an hour by default. */
const MAX_AGE_MS = 30 * 60_000;

export class Pages {
  #path;
  #state;
  #onRows;
  #stop = new AbortController();
  /** `{ cursor, first, count }` of pages with rows, in order. */
  #known = [];
  /** Rows of pages by the number of the page, the last used at the end. */
  #kept = new Map();
  #reading = new Map();
  #next = '';
  #extending = null;

  /** Rows that are known. */
  length = 0;
  /** Whether these were all when the last page was read. */
  complete = false;

  /** Of the data set `id`, only rows in `state`, if given. `onRows(rows)` gets rows that are new. */
  constructor(id, state, onRows = () => {}) {
    this.#path = `/v1/batches/${encodeURIComponent(id)}/rows`;
    this.#state = state;
    this.#onRows = onRows;
  }

  /** Ends what is being read. */
  close() {
    this.#stop.abort();
  }

  get closed() {
    return this.#stop.signal.aborted;
  }

  /** The row at `index`; undefined if it must be read first: see `more` and `load`. */
  at(index) {
    const number = this.#find(index);
    const page = this.#kept.get(number);
    if (!page || Date.now() - page.at > MAX_AGE_MS) return undefined;
    return page.rows[index - this.#known[number].first];
  }

  /** Makes known rows from `first` to before `end` available. */
  async load(first, end) {
    const last = this.#find(Math.min(end, this.length) - 1);
    for (let number = this.#find(first); number >= 0 && number <= last && !this.closed; number += 1) {
      await this.#load(number);
    }
  }

  /**
   * Reads the next page, or at the end of the list rows that have ended since. Calls at the same time share one
   * request.
   */
  more() {
    this.#extending ??= this.#readNext().finally(() => (this.#extending = null));
    return this.#extending;
  }

  async #readNext() {
    const cursor = this.#next;
    const { rows, next } = await this.#fetch(cursor);
    if (this.closed) return;
    const last = this.#known.at(-1);
    // The end of the list is read again from the start of its last page.
    const seen = last?.cursor === cursor ? last.count : 0;
    const first = seen ? last.first : this.length;
    if (seen) this.#known.pop();
    if (rows.length > 0) {
      this.#known.push({ cursor, first, count: rows.length });
      this.#keep(this.#known.length - 1, rows);
    }
    this.length = first + rows.length;
    this.complete = !next;
    if (next) this.#next = next;
    if (rows.length > seen) this.#onRows(rows.slice(seen));
  }

  async #load(number) {
    const page = this.#kept.get(number);
    if (page && Date.now() - page.at <= MAX_AGE_MS) return this.#keep(number, page.rows, page.at);
    if (!this.#reading.has(number)) {
      const { cursor, count } = this.#known[number];
      const read = this.#fetch(cursor)
        .then(({ rows }) => this.#keep(number, rows.slice(0, count)))
        .finally(() => this.#reading.delete(number));
      this.#reading.set(number, read);
    }
    return this.#reading.get(number);
  }

  async #fetch(cursor) {
    const query = new URLSearchParams({ limit: PAGE });
    if (this.#state) query.set('state', this.#state);
    if (cursor) query.set('cursor', cursor);
    return call('GET', `${this.#path}?${query}`, { signal: this.#stop.signal });
  }

  #keep(number, rows, at = Date.now()) {
    this.#kept.delete(number);
    this.#kept.set(number, { rows, at });
    if (this.#kept.size > MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value);
  }

  /** The number of the page with this row; -1 if it is not known. */
  #find(index) {
    if (index < 0 || index >= this.length) return -1;
    let low = 0;
    let high = this.#known.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#known[middle].first <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
