// The gallery view: finished jobs, newest first. It loads one page of jobs at a time and a picture when it
// becomes visible, so that it opens as fast with ten thousand jobs as with ten.

import { repeat, copyCurl, pictureUrl, deleteWithUndo, resultPath } from '../shared/actions.js';
import { Problem, call } from '../shared/api.js';
import { emit } from '../shared/bus.js';
import { button, picture } from '../shared/controls.js';
import { compare } from './compare.js';
import { debounce, fill, h, setText } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { jobs } from '../shared/jobs.js';
import { ownJobs } from '../shared/storage.js';
import { showError } from '../shared/notices.js';
import { ago, count, ended, jobTitle, dateTime, stateLabel } from '../shared/format.js';

const PAGE = 30;
/** A search reads larger pages, at most this many before the user asks for more. */
const SEARCH_PAGE = 100;
const SEARCH_PAGES = 10;

const byId = (id) => document.getElementById(id);
const state = {
  cursor: null,
  started: false,
  loading: null,
  reloads: 0,
  complete: false,
  read: 0,
  jobs: [],
  selected: [],
  newCount: 0,
};

let watcher;

export function startGallery() {
  byId('gallery-state').addEventListener('change', reload);
  byId('gallery-class').addEventListener('change', reload);
  byId('gallery-search').addEventListener('input', debounce(200, filter));
  byId('gallery-more').addEventListener('click', () => loadMore(true));
  byId('gallery-new').addEventListener('click', reload);
  byId('gallery-empty-go').addEventListener('click', leaveEmpty);
  byId('compare-go').addEventListener('click', () => compare(...state.selected));
  byId('compare-clear').addEventListener('click', () => select(null));
  watcher = new IntersectionObserver(
    (entries) => {
      if (entries.some((entry) => entry.isIntersecting)) loadMore();
    },
    { rootMargin: '600px' },
  );
  watcher.observe(byId('gallery-end'));
  jobs.addEventListener('removed', ({ detail: id }) => {
    state.jobs = state.jobs.filter((job) => job.id !== id);
    byId(`tile-${id}`)?.remove();
  });
  jobs.addEventListener('event', ({ detail: { name } }) => {
    if (name !== 'succeeded' || !state.started) return;
    state.newCount += 1;
    byId('gallery-new').hidden = false;
    setText(byId('gallery-new'), `${state.newCount} new`);
  });
}

export function enterGallery() {
  if (!state.started || state.newCount > 0) reload();
}

export function focusSearch() {
  byId('gallery-search').focus();
}

function reload() {
  Object.assign(state, { cursor: null, started: true, complete: false, read: 0, jobs: [], newCount: 0, loading: null });
  state.reloads += 1;
  byId('gallery-new').hidden = true;
  fill(byId('tiles'));
  showEmpty(false);
  select(null);
  loadMore();
}

function searchText() {
  return byId('gallery-search').value.trim().toLowerCase();
}

function matches(job) {
  const text = searchText();
  return (
    !text || text.split(/\s+/).every((word) => (job.spec.prompt ?? '').toLowerCase().includes(word) || job.id === word)
  );
}

function filter() {
  for (const job of state.jobs) {
    const tile = byId(`tile-${job.id}`);
    if (tile) tile.hidden = !matches(job);
  }
  updateNote();
  loadMore();
}

/** Loads the next jobs. Calls at the same time share one request. */
function loadMore(byUser = false) {
  if (!state.started || state.complete || byId('view-gallery').hidden) return state.loading;
  state.loading ??= loadPages(state.reloads, byUser);
  return state.loading;
}

async function loadPages(reloads, byUser) {
  byId('view-gallery').setAttribute('aria-busy', 'true');
  try {
    let shown = 0;
    for (let pages = 0; !state.complete && shown < PAGE && pages < (searchText() ? SEARCH_PAGES : 1); pages += 1) {
      const found = await loadPage();
      if (state.reloads !== reloads) return;
      state.jobs.push(...found);
      byId('tiles').append(...found.map(tile));
      shown += found.filter(matches).length;
      updateNote();
    }
  } catch (error) {
    if (byUser || state.jobs.length === 0) showError(error, 'The gallery could not be loaded');
    byId('gallery-more').hidden = false;
    return;
  } finally {
    if (state.reloads === reloads) state.loading = null;
    byId('view-gallery').removeAttribute('aria-busy');
  }
  updateNote();
  // The observer only reports changes: if the end of the list is still visible, it does not call again.
  if (!state.complete && !searchText() && byId('gallery-end').getBoundingClientRect().top < innerHeight + 600)
    loadMore();
}

async function loadPage() {
  const query = new URLSearchParams({ limit: searchText() ? SEARCH_PAGE : PAGE });
  if (byId('gallery-state').value) query.set('state', byId('gallery-state').value);
  if (byId('gallery-class').value) query.set('class', byId('gallery-class').value);
  if (state.cursor) query.set('cursor', state.cursor);
  try {
    const data = await call('GET', `/v1/jobs?${query}`);
    state.cursor = data.next;
    state.complete = !data.next;
    state.read += data.jobs.length;
    return data.jobs.filter((job) => !byId(`tile-${job.id}`));
  } catch (error) {
    if (!(error instanceof Problem && error.noSuchRoute)) throw error;
    // This server cannot list jobs: show those of this browser.
    state.complete = true;
    const wanted = byId('gallery-state').value;
    const own = await Promise.all(ownJobs.list().map((id) => jobs.read(id).catch(() => null)));
    return own.filter((job) => job && (wanted ? job.state === wanted : true));
  }
}

function updateNote() {
  const shown = state.jobs.filter((job) => matches(job)).length;
  setText(byId('gallery-note'), searchText() ? `${count(shown)} found in ${count(state.read)} jobs` : '');
  showEmpty(state.complete && shown === 0);
  byId('gallery-more').hidden = state.complete;
  setText(byId('gallery-more'), searchText() ? 'Search older jobs' : 'Show more');
}

function showEmpty(on) {
  byId('gallery-empty').hidden = !on;
  if (!on) return;
  const everything = isUnfiltered();
  setText(byId('gallery-empty-title'), everything ? 'No pictures yet' : 'Nothing found');
  setText(
    byId('gallery-empty-text'),
    everything ? 'Your pictures appear here, newest first.' : 'No job matches. Use fewer words or clear the filters.',
  );
  setText(byId('gallery-empty-go'), everything ? 'Generate a picture' : 'Clear filters');
}

function isUnfiltered() {
  return !searchText() && !byId('gallery-class').value && byId('gallery-state').value === 'succeeded';
}

/** Goes to the form, or clears the filters. */
function leaveEmpty() {
  if (isUnfiltered()) {
    location.hash = '';
    return;
  }
  byId('gallery-search').value = byId('gallery-class').value = '';
  byId('gallery-state').value = 'succeeded';
  reload();
}

/** The list for the arrow keys of the viewer. */
const list = {
  jobs: () => state.jobs.filter((job) => !byId(`tile-${job.id}`)?.hidden),
  get complete() {
    return state.complete;
  },
  loadMore: () => loadMore(true),
};

function tile(job) {
  const open = () => {
    // The viewer shows the job of the list at once and then reads it.
    jobs.put(job);
    emit('open', { id: job.id, list });
  };
  const checkbox = h('input', {
    type: 'checkbox',
    'aria-label': `Select for comparison: ${jobTitle(job.spec)}`,
    onchange: () => select(job),
  });
  return h(
    'li',
    { class: 'tile', id: `tile-${job.id}`, data: { id: job.id, state: job.state }, hidden: !matches(job) },
    h(
      'button',
      { type: 'button', class: 'tile-picture', onclick: open, 'aria-label': `Open ${jobTitle(job.spec)}` },
      job.output
        ? picture(pictureUrl(job, { small: true }), '', { other: resultPath(job), loading: 'lazy' })
        : h(
            'span',
            { class: 'placeholder' },
            icon(ended(job.state) ? 'warn' : 'clock'),
            h('b', {}, stateLabel(job.state)),
            job.error && h('span', { class: 'tile-error' }, job.error.message),
          ),
    ),
    job.output && h('label', { class: 'tile-select' }, checkbox),
    h('p', { class: 'tile-title', title: job.spec.prompt }, jobTitle(job.spec)),
    h(
      'p',
      { class: 'tile-foot' },
      // The list is sorted by this time.
      h('time', { title: dateTime(job.submitted_ms) }, ago(job.submitted_ms)),
      h('span', { class: 'spacer' }),
      button('again', 'Repeat with another seed', () => repeat(job)),
      button('terminal', 'Copy as curl', () => copyCurl(job), { class: 'wide-only' }),
      button('trash', 'Delete', () => removeTile(job), { disabled: !ended(job.state) }),
    ),
  );
}

function removeTile(job) {
  const element = byId(`tile-${job.id}`);
  const next = element.nextElementSibling ?? element.previousElementSibling;
  deleteWithUndo(job, { hide: () => (element.hidden = true), show: () => (element.hidden = false) });
  next?.querySelector('.tile-picture')?.focus();
}

/** Selects or deselects a job for the comparison. A third job replaces the first; null clears the selection. */
function select(job) {
  if (!job) state.selected = [];
  else if (state.selected.some((other) => other.id === job.id))
    state.selected = state.selected.filter((other) => other.id !== job.id);
  else state.selected = [...state.selected, job].slice(-2);
  for (const box of document.querySelectorAll('.tile-select input')) {
    const tile = box.closest('.tile');
    box.checked = state.selected.some((other) => other.id === tile.dataset.id);
    tile.classList.toggle('selected', box.checked);
  }
  byId('compare-bar').hidden = state.selected.length === 0;
  byId('compare-go').disabled = state.selected.length < 2;
  setText(byId('compare-note'), state.selected.length < 2 ? 'Select one more' : 'Two pictures selected');
}
