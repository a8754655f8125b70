// Rows of a data set that have ended, read a page at a time. Any number of them may be listed, so only the pages that
// were used last are kept. A page that is needed again is read again, which also renews the links in it.

import { call } from '../shared/api.js';

const PAGE = 100;
const MAX_KEPT = 30;
/** Links to thumbnails are valid for an hour by default. */
const MAX_AGE_MS = 30 * 60_000;

/**
 * The rows of the data set `id` in `state`, or all. `onRows(rows)` gets rows that are read for the first time. What it
 * gives has `at`, `load`, `more`, `length`, `complete`, `closed` and `close`, as `Listed` says.
 */
export function pagesOf(id, state, onRows = () => {}) {
  // The server knows how many rows come before a place without reading them only of all rows and of pictures.
  return state === '' || state === 'succeeded' ? new Counted(id, state, onRows) : new Listed(id, state, onRows);
}

/** What both kinds have in common. */
class Pages {
  #path;
  #state;
  #stop = new AbortController();
  #extending = null;

  /** Rows that are known. */
  length = 0;
  /** Whether these were all when the list was last read. */
  complete = false;

  constructor(id, state) {
    this.#path = `/v1/batches/${encodeURIComponent(id)}/rows`;
    this.#state = state;
  }

  /** Ends what is being read. */
  close() {
    this.#stop.abort();
  }

  get closed() {
    return this.#stop.signal.aborted;
  }

  /**
   * Reads the next page, or at the end of the list rows that have ended since. Calls at the same time share one
   * request.
   */
  more() {
    this.#extending ??= this.readOn().finally(() => (this.#extending = null));
    return this.#extending;
  }

  async fetch(place) {
    const query = new URLSearchParams({ limit: PAGE, ...place });
    if (this.#state) query.set('state', this.#state);
    return call('GET', `${this.#path}?${query}`, { signal: this.#stop.signal });
  }
}

/** Pages that are read one after the other: of those that are not kept, only where they begin is. */
class Listed extends Pages {
  #onRows;
  /** `{ cursor, first, count }` of pages with rows, in order. */
  #known = [];
  /** Rows of pages by the number of the page, the last used at the end. */
  #kept = new Map();
  #reading = new Map();
  #next = '';

  constructor(id, state, onRows) {
    super(id, state);
    this.#onRows = onRows;
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

  async readOn() {
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
      keep(this.#kept, this.#known.length - 1, rows);
    }
    this.length = first + rows.length;
    this.complete = !next;
    if (next) this.#next = next;
    if (rows.length > seen) this.#onRows(rows.slice(seen));
  }

  async #load(number) {
    const page = this.#kept.get(number);
    if (page && Date.now() - page.at <= MAX_AGE_MS) return keep(this.#kept, number, page.rows, page.at);
    if (!this.#reading.has(number)) {
      const { cursor, count } = this.#known[number];
      const read = this.#fetch(cursor)
        .then(({ rows }) => keep(this.#kept, number, rows.slice(0, count)))
        .finally(() => this.#reading.delete(number));
      this.#reading.set(number, read);
    }
    return this.#reading.get(number);
  }

  #fetch(cursor) {
    return this.fetch(cursor ? { cursor } : {});
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

/** Pages of which any can be read first: page n begins behind n times as many rows as a page has. */
class Counted extends Pages {
  #onRows;
  /** Rows of pages by the number of the page, the last used at the end. */
  #kept = new Map();
  /** How many rows of each page were read already. */
  #seen = new Map();

  constructor(id, state, onRows) {
    super(id, state);
    this.#onRows = onRows;
  }

  at(index) {
    const page = this.#kept.get(Math.floor(index / PAGE));
    if (!page || Date.now() - page.at > MAX_AGE_MS) return undefined;
    return page.rows[index % PAGE];
  }

  async load(first, end) {
    const last = Math.floor((Math.min(end, this.length) - 1) / PAGE);
    for (let number = Math.floor(first / PAGE); number <= last && !this.closed; number += 1) {
      const page = this.#kept.get(number);
      const fits = page && Date.now() - page.at <= MAX_AGE_MS && page.rows.length >= this.#most(number);
      if (fits) keep(this.#kept, number, page.rows, page.at);
      else await this.#read(number);
    }
  }

  /** Reads the page at the end: with it comes how many rows there are. */
  async readOn() {
    await this.#read(Math.floor(this.length / PAGE));
    this.complete = true;
  }

  /** Rows that a page has. */
  #most(number) {
    return Math.min(PAGE, this.length - number * PAGE);
  }

  async #read(number) {
    const rows = [];
    do {
      // Where few rows of many are listed, an answer has fewer than were asked for.
      const answer = await this.fetch({ skip: number * PAGE + rows.length });
      if (this.closed) return;
      this.length = Math.max(this.length, answer.total);
      rows.push(...answer.rows);
      if (answer.rows.length === 0) break;
    } while (rows.length < this.#most(number));
    rows.splice(PAGE);
    keep(this.#kept, number, rows);
    const seen = this.#seen.get(number) ?? 0;
    if (rows.length <= seen) return;
    this.#seen.set(number, rows.length);
    this.#onRows(rows.slice(seen));
  }
}

function keep(kept, number, rows, at = Date.now()) {
  kept.delete(number);
  kept.set(number, { rows, at });
  if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value);
}
