// The view of data sets: all of them, or one with its progress and its rows. Polled while it is visible.

import { call, connection, Problem } from '../shared/api.js';
import { showError } from '../shared/notices.js';
import { setText } from '../shared/dom.js';
import { showControls, startControls } from './controls.js';
import { showFailures } from './failures.js';
import { startFind } from './find.js';
import { isClosed, readWindow, showLimits, startLimits } from './limits.js';
import { showList } from './list.js';
import { Pace } from './pace.js';
import { Scores } from './scores.js';
import { activity, endedRows, showSummary, wantedRows } from './summary.js';
import { Wall } from './wall.js';

const POLL_MS = 2_000;
const LISTED = 20;
const MAX_LISTED = 100;

const byId = (id) => document.getElementById(id);
const paces = new Map();

/** The data set that is shown; null for the list of all. */
let one = null;
let listed = LISTED;
let refreshing = null;

export function startBatch() {
  startControls(() => refresh());
  startLimits(() => refresh());
  startFind(
    () => one && { id: one.id, state: byId('batch-state').value },
    (index) => one?.goTo(index),
  );
  byId('batch-older').addEventListener('click', () => {
    listed = MAX_LISTED;
    refresh();
  });
  byId('batch-state').addEventListener('change', () => one?.showRows());
  addEventListener('hashchange', () => {
    if (!byId('view-batch').hidden) enterBatch();
  });
  setInterval(() => {
    if (!byId('view-batch').hidden && !document.hidden && !connection.lost) refresh();
  }, POLL_MS);
}

/** Shows what the address names: `#batch` all data sets, `#batch/ID` one. */
export function enterBatch() {
  const [name, id] = location.hash.slice(1).split('/');
  if (name === 'batch') show(id ? decodeURIComponent(id) : null);
  refresh();
}

function show(id) {
  if ((one?.id ?? null) === id) return;
  const wasOpen = one !== null;
  one?.close();
  one = id ? new One(id) : null;
  byId('batch-one').hidden = true;
  byId('batch-all').hidden = id !== null;
  if (wasOpen && !id) byId('view-batch').querySelector('h1').focus({ preventScroll: true });
}

/** Reads and shows the state of now. A call during another is followed by one more: what is shown may have changed. */
async function refresh() {
  if (refreshing) {
    refreshing.again = true;
    return;
  }
  do {
    refreshing = { again: false };
    try {
      await (one ? one.refresh() : refreshList());
    } catch (error) {
      refused(error);
    }
  } while (refreshing.again && !connection.lost);
  refreshing = null;
}

function refused(error) {
  if (connection.lost) return;
  if (one && error instanceof Problem && error.status === 404) {
    showError(error, 'This data set cannot be shown');
    location.hash = 'batch';
  } else if (!byId('batch-note').textContent) {
    setText(byId('batch-note'), `The data sets could not be read: ${error.message}`);
    byId('batch-note').hidden = false;
  }
}

async function refreshList() {
  const { batches, next } = await call('GET', `/v1/batches?limit=${listed}`);
  const sets = batches.filter((batch) => batch.dataset);
  for (const batch of sets) paceOf(batch);
  if (!one) showList(sets, paces, next && listed < MAX_LISTED);
}

/** How fast the rows of a data set end, as of this answer. */
function paceOf(batch) {
  if (!paces.has(batch.id)) paces.set(batch.id, new Pace());
  const pace = paces.get(batch.id);
  pace.add(Date.now(), endedRows(batch), wantedRows(batch));
  return pace;
}

/** One data set. */
class One {
  #batch = null;
  #wall = null;
  #scores = new Scores();

  constructor(id) {
    this.id = id;
    byId('batch-failures').hidden = true;
    byId('batch-scores').hidden = true;
    byId('batch-state').value = 'succeeded';
  }

  close() {
    this.#wall?.close();
  }

  async refresh() {
    const [batch, window] = await Promise.all([call('GET', `/v1/batches/${encodeURIComponent(this.id)}`), readWindow()]);
    if (one !== this) return;
    if (!batch.dataset) throw new Problem(404, { detail: 'this batch is not a data set' });
    const opens = this.#batch === null;
    this.#batch = batch;
    byId('batch-one').hidden = false;
    setText(byId('batch-name'), batch.dataset.name);
    const { kind, text } = activity(batch);
    const waits = kind === 'running' && batch.counts.running === 0 && isClosed(window);
    setText(byId('batch-status'), waits ? 'Waiting for the night window' : text);
    showSummary(batch, paceOf(batch));
    showLimits(batch, window);
    showControls(batch);
    if (opens) {
      byId('batch-name').focus({ preventScroll: true });
      this.showRows();
    } else this.#wall.update(batch);
    this.#scores.show();
    showFailures(batch);
  }

  /** Shows the row at this place of the list. */
  goTo(index) {
    this.#wall?.goTo(index);
  }

  /** Shows the rows in the state that you chose. */
  showRows() {
    if (!this.#batch) return;
    this.#wall?.close();
    this.#scores = new Scores();
    // Only of these lists the server knows the place of a row.
    byId('batch-find').hidden = !['', 'succeeded'].includes(byId('batch-state').value);
    this.#wall = new Wall(this.id, byId('batch-state').value, (rows) => this.#scores.add(rows));
    this.#wall.update(this.#batch);
  }
}
