// A wall of thumbnails of any number of rows. Only cells in view and a few around them are in the document.

import { debounce, h, setText } from '../shared/dom.js';
import { count, stateLabel } from '../shared/format.js';
import { icon } from '../shared/icons.js';
import { showError } from '../shared/notices.js';
import { pagesOf } from './pages.js';
import { openRow } from './row.js';

const GAP = 8;
/** Least width of a cell, and what it has below its square picture, in CSS pixels. */
const MIN_SIDE = 132;
const CAPTION = 22;
/** Rows of cells beyond each edge of the view. */
const BEYOND = 2;
/** Rows of cells from the top of the view on for which the list is read. */
const AHEAD = 12;
/** Browsers lay out no element that is much higher. */
const MAX_HEIGHT = 16_000_000;
/** Pictures are loaded once the wall has come to rest this long. */
const REST_MS = 60;

const byId = (id) => document.getElementById(id);

export class Wall {
  #view = byId('batch-wall');
  #list = byId('batch-cells');
  #stop = new AbortController();
  #cells = new Map();
  #pages;
  #state;
  #expected = 0;
  #archived = -1;
  /** The cell that the Tab key goes to. */
  #current = 0;
  /** Up to where the list is to be read. */
  #wanted = 0;
  #reading = false;
  #loading = false;
  #failed = false;
  #told = false;
  #frame = 0;
  #rest = debounce(REST_MS, () => this.#loadPictures());
  #columns = 1;
  #side = MIN_SIDE;

  /** The rows of data set `id` in `state`, if given; `onRows(rows)` gets rows that are read for the first time. */
  constructor(id, state, onRows) {
    this.#state = state;
    this.#pages = pagesOf(id, state, onRows);
    const { signal } = this.#stop;
    this.#view.addEventListener('scroll', () => this.#schedule(), { signal, passive: true });
    this.#list.addEventListener('keydown', (event) => this.#onKey(event), { signal });
    this.#list.addEventListener('click', (event) => this.#onClick(event), { signal });
    const resized = new ResizeObserver(() => this.#schedule());
    resized.observe(this.#view);
    signal.addEventListener('abort', () => resized.disconnect());
    this.#list.replaceChildren();
    this.#view.scrollTop = 0;
  }

  close() {
    this.#stop.abort();
    this.#pages.close();
    cancelAnimationFrame(this.#frame);
  }

  /** Takes the newest numbers of the data set; reads rows that have ended since. */
  update({ counts, dataset }) {
    this.#expected = this.#state ? Math.min(counts[this.#state], dataset.archived) : dataset.archived;
    this.#failed = false;
    const isNew = dataset.archived !== this.#archived;
    this.#archived = dataset.archived;
    if (isNew && this.#pages.complete) this.#run(() => this.#pages.more());
    this.#schedule();
  }

  get #length() {
    return this.#pages.complete ? this.#pages.length : Math.max(this.#pages.length, this.#expected);
  }

  #schedule() {
    if (!this.#frame && !this.#pages.closed) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#layOut();
      });
    }
  }

  #layOut() {
    const width = this.#view.clientWidth;
    if (width === 0) return;
    this.#columns = Math.max(2, Math.floor((width + GAP) / (MIN_SIDE + GAP)));
    this.#side = (width - GAP * (this.#columns - 1)) / this.#columns;
    const height = Math.min(MAX_HEIGHT, Math.ceil(this.#length / this.#columns) * this.#rowHeight);
    this.#list.style.height = `${height}px`;
    const { first, end } = this.#range();
    this.#showCells(first, end);
    this.#showNote();
    this.#read(first, end);
    this.#rest();
  }

  get #rowHeight() {
    return this.#side + CAPTION + GAP;
  }

  /** The cells to show: from `first` to before `end`. */
  #range() {
    const top = Math.floor(this.#view.scrollTop / this.#rowHeight) - BEYOND;
    const rows = Math.ceil(this.#view.clientHeight / this.#rowHeight) + 1 + 2 * BEYOND;
    const first = Math.max(0, top) * this.#columns;
    return { first, end: Math.min(this.#length, (Math.max(0, top) + rows) * this.#columns) };
  }

  #showCells(first, end) {
    const focused = this.#list.contains(document.activeElement);
    for (const [index, cell] of this.#cells) {
      if ((index >= first && index < end) || (focused && index === this.#current)) continue;
      cell.remove();
      this.#cells.delete(index);
    }
    // Something in view must be there for the Tab key.
    if (!focused && (this.#current < first || this.#current >= end)) this.#current = first;
    for (let index = first; index < end; index += 1) {
      if (!this.#cells.has(index)) this.#add(index);
    }
    for (const [index, cell] of this.#cells) this.#place(cell, index);
  }

  #add(index) {
    const cell = new Cell();
    this.#cells.set(index, cell);
    // In order, as screen readers go through them.
    const after = [...this.#cells.keys()].filter((other) => other > index);
    const next = after.length > 0 ? this.#cells.get(Math.min(...after)).element : null;
    cell.element.dataset.index = index;
    this.#list.insertBefore(cell.element, next);
  }

  #place(cell, index) {
    const left = (index % this.#columns) * (this.#side + GAP);
    const top = Math.floor(index / this.#columns) * this.#rowHeight;
    cell.place(left, top, this.#side);
    cell.element.setAttribute('aria-posinset', index + 1);
    cell.element.setAttribute('aria-setsize', this.#length);
    cell.button.tabIndex = index === this.#current ? 0 : -1;
    cell.show(this.#pages.at(index));
  }

  #showNote() {
    const known = this.#length;
    const text = this.#pages.complete && known === 0 ? 'None yet' : `${count(known)} ${known === 1 ? 'row' : 'rows'}`;
    setText(byId('batch-wall-note'), text);
  }

  /** Reads the rows of these cells, and the list as far as it takes to know them. */
  #read(first, end) {
    this.#wanted = Math.max(end, first + this.#columns * AHEAD);
    if (this.#failed) return;
    if (!this.#reading && this.#pages.length < this.#wanted && !this.#pages.complete) {
      this.#reading = true;
      this.#run(() => this.#readOn()).finally(() => (this.#reading = false));
    }
    if (!this.#loading && this.#lacks(first, end)) {
      this.#loading = true;
      this.#run(() => this.#pages.load(first, end)).finally(() => (this.#loading = false));
    }
  }

  /** Reads the list up to where you are, or until you are elsewhere. */
  async #readOn() {
    this.#view.setAttribute('aria-busy', 'true');
    while (this.#pages.length < this.#wanted && !this.#pages.complete && !this.#pages.closed) {
      await this.#pages.more();
      this.#schedule();
    }
    if (!this.#pages.closed) this.#view.removeAttribute('aria-busy');
  }

  async #run(action) {
    try {
      await action();
      this.#told = false;
    } catch (error) {
      // The next poll tries again, so say it once.
      this.#failed = true;
      if (!this.#pages.closed && !this.#told) showError(error, 'The rows could not be read');
      this.#told = true;
    }
    this.#schedule();
  }

  #lacks(first, end) {
    for (let index = first; index < Math.min(end, this.#pages.length); index += 1) {
      if (!this.#pages.at(index)) return true;
    }
    return false;
  }

  #loadPictures() {
    for (const cell of this.#cells.values()) cell.loadPicture();
  }

  #onClick(event) {
    const element = event.target.closest('li');
    const row = element && this.#pages.at(Number(element.dataset.index));
    if (!row) return;
    this.#focus(Number(element.dataset.index));
    openRow(row);
  }

  #onKey(event) {
    const page = Math.max(1, Math.floor(this.#view.clientHeight / this.#rowHeight)) * this.#columns;
    const to = {
      ArrowLeft: this.#current - 1,
      ArrowRight: this.#current + 1,
      ArrowUp: this.#current - this.#columns,
      ArrowDown: this.#current + this.#columns,
      PageUp: this.#current - page,
      PageDown: this.#current + page,
      Home: 0,
      End: this.#length - 1,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.#focus(Math.min(this.#length - 1, Math.max(0, to)));
  }

  /** Moves to the row at `index`, or to the last. */
  goTo(index) {
    this.#focus(Math.max(0, Math.min(this.#length - 1, index)));
  }

  /** Moves the focus to a cell and scrolls to it. */
  #focus(index) {
    this.#current = index;
    const top = Math.floor(index / this.#columns) * this.#rowHeight;
    const bottom = top + this.#rowHeight - this.#view.clientHeight;
    this.#view.scrollTop = Math.max(bottom, Math.min(top, this.#view.scrollTop));
    const { first, end } = this.#range();
    this.#showCells(first, end);
    this.#cells.get(index)?.button.focus({ preventScroll: true });
    this.#schedule();
  }
}

/** A place on the wall. */
class Cell {
  #row = null;
  #picture = null;
  #face = h('span', { class: 'wall-face' });
  #caption = h('span', { class: 'wall-key' });
  button = h('button', { type: 'button', class: 'wall-open' }, this.#face, this.#caption);
  element = h('li', { class: 'wall-cell' }, this.button);

  place(left, top, side) {
    this.element.style.transform = `translate(${left}px, ${top}px)`;
    this.element.style.width = this.#face.style.height = `${side}px`;
  }

  /** Shows a row; undefined while it is not read. */
  show(row) {
    if (!row) {
      if (!this.#row) this.button.setAttribute('aria-label', 'Loading');
      return;
    }
    if (row === this.#row) return;
    // Read again, with new links: the picture that is there stays.
    const same = this.#row?.job === row.job;
    this.#row = row;
    if (same) return;
    this.element.dataset.state = row.state;
    this.button.setAttribute('aria-label', `Row ${row.key}, ${stateLabel(row.state).toLowerCase()}`);
    setText(this.#caption, row.key);
    this.#face.replaceChildren();
    if (!thumbnail(row)) this.#face.append(icon(row.state === 'succeeded' ? 'picture' : 'warn'));
  }

  loadPicture() {
    const url = this.#row && thumbnail(this.#row);
    if (!url || this.#picture) return;
    this.#picture = h('img', { alt: '', decoding: 'async', draggable: false });
    this.#picture.addEventListener('error', () => this.#picture.replaceWith(icon('picture')));
    this.#picture.src = url;
    this.#face.replaceChildren(this.#picture);
  }

  remove() {
    // Stop what is loading.
    this.#picture?.removeAttribute('src');
    this.element.remove();
  }
}

/** Never the picture itself: a wall of these would be slow. */
function thumbnail(row) {
  return row.output?.thumbnail_url;
}
