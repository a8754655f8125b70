// Finished jobs, newest first. One page of them is read at a time, so that ten thousand open as
// quickly as ten; pictures load when they come into sight.

import { again, copyCurl, pictureOf, remove, resultPath } from '../shared/actions.js';
import { Problem, call } from '../shared/api.js';
import { ask } from '../shared/bus.js';
import { button, picture } from '../shared/controls.js';
import { compare } from './compare.js';
import { debounce, fill, h, setText } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { jobs } from '../shared/jobs.js';
import { mine } from '../shared/storage.js';
import { complain } from '../shared/notices.js';
import { ago, count, ended, jobTitle, moment, stateWord } from '../shared/format.js';

const PAGE = 30;
/** While text is looked for, pages are larger, and so many are read before asking whether to go on. */
const SEARCH_PAGE = 100;
const SEARCH_PAGES = 10;

const at = (id) => document.getElementById(id);
const state = {
  cursor: null,
  started: false,
  reading: null,
  restarts: 0,
  over: false,
  read: 0,
  jobs: [],
  chosen: [],
  fresh: 0,
};

let watcher;

export function startGallery() {
  at('gallery-state').addEventListener('change', restart);
  at('gallery-class').addEventListener('change', restart);
  at('gallery-search').addEventListener('input', debounce(200, filter));
  at('gallery-more').addEventListener('click', () => more(true));
  at('gallery-fresh').addEventListener('click', restart);
  at('gallery-none-go').addEventListener('click', leaveNone);
  at('compare-go').addEventListener('click', () => compare(...state.chosen));
  at('compare-clear').addEventListener('click', () => choose(null));
  watcher = new IntersectionObserver(
    (entries) => {
      if (entries.some((entry) => entry.isIntersecting)) more();
    },
    { rootMargin: '600px' },
  );
  watcher.observe(at('gallery-end'));
  jobs.addEventListener('gone', ({ detail: id }) => {
    state.jobs = state.jobs.filter((job) => job.id !== id);
    at(`tile-${id}`)?.remove();
  });
  jobs.addEventListener('event', ({ detail: { name } }) => {
    if (name !== 'succeeded' || !state.started) return;
    state.fresh += 1;
    at('gallery-fresh').hidden = false;
    setText(at('gallery-fresh'), `${state.fresh} new`);
  });
}

export function enterGallery() {
  if (!state.started || state.fresh > 0) restart();
}

export function focusSearch() {
  at('gallery-search').focus();
}

function restart() {
  Object.assign(state, { cursor: null, started: true, over: false, read: 0, jobs: [], fresh: 0, reading: null });
  state.restarts += 1;
  at('gallery-fresh').hidden = true;
  fill(at('tiles'));
  none(false);
  choose(null);
  more();
}

function words() {
  return at('gallery-search').value.trim().toLowerCase();
}

function matches(job) {
  const text = words();
  return (
    !text || text.split(/\s+/).every((word) => (job.spec.prompt ?? '').toLowerCase().includes(word) || job.id === word)
  );
}

function filter() {
  for (const job of state.jobs) {
    const tile = at(`tile-${job.id}`);
    if (tile) tile.hidden = !matches(job);
  }
  note();
  more();
}

/** Reads on; several calls at once are one, and all end with it. */
function more(asked = false) {
  if (!state.started || state.over || at('view-gallery').hidden) return state.reading;
  state.reading ??= readOn(state.restarts, asked);
  return state.reading;
}

async function readOn(restarts, asked) {
  at('view-gallery').setAttribute('aria-busy', 'true');
  try {
    let shown = 0;
    for (let pages = 0; !state.over && shown < PAGE && pages < (words() ? SEARCH_PAGES : 1); pages += 1) {
      const found = await page();
      if (state.restarts !== restarts) return;
      state.jobs.push(...found);
      at('tiles').append(...found.map(tile));
      shown += found.filter(matches).length;
      note();
    }
  } catch (error) {
    if (asked || state.jobs.length === 0) complain(error, 'The gallery could not be read');
    at('gallery-more').hidden = false;
    return;
  } finally {
    if (state.restarts === restarts) state.reading = null;
    at('view-gallery').removeAttribute('aria-busy');
  }
  note();
  // The observer only tells of changes: if the end is still in sight, it will not call again.
  if (!state.over && !words() && at('gallery-end').getBoundingClientRect().top < innerHeight + 600) more();
}

async function page() {
  const query = new URLSearchParams({ limit: words() ? SEARCH_PAGE : PAGE });
  if (at('gallery-state').value) query.set('state', at('gallery-state').value);
  if (at('gallery-class').value) query.set('class', at('gallery-class').value);
  if (state.cursor) query.set('cursor', state.cursor);
  try {
    const told = await call('GET', `/v1/jobs?${query}`);
    state.cursor = told.next;
    state.over = !told.next;
    state.read += told.jobs.length;
    return told.jobs.filter((job) => !at(`tile-${job.id}`));
  } catch (error) {
    if (!(error instanceof Problem && error.noSuchRoute)) throw error;
    // This server has no list: what was begun in this browser is known all the same.
    state.over = true;
    const wanted = at('gallery-state').value;
    const own = await Promise.all(mine.list().map((id) => jobs.read(id).catch(() => null)));
    return own.filter((job) => job && (wanted ? job.state === wanted : true));
  }
}

function note() {
  const shown = state.jobs.filter((job) => matches(job)).length;
  setText(at('gallery-note'), words() ? `${count(shown)} found in the newest ${count(state.read)}` : '');
  none(state.over && shown === 0);
  at('gallery-more').hidden = state.over;
  setText(at('gallery-more'), words() ? 'Search further' : 'Show more');
}

function none(on) {
  at('gallery-none').hidden = !on;
  if (!on) return;
  const everything = unfiltered();
  setText(at('gallery-none-title'), everything ? 'No pictures yet' : 'Nothing found');
  setText(
    at('gallery-none-text'),
    everything
      ? 'What is drawn comes here, the newest first.'
      : 'No job matches. Look for fewer words, or at everything.',
  );
  setText(at('gallery-none-go'), everything ? 'Draw one' : 'Show everything');
}

function unfiltered() {
  return !words() && !at('gallery-class').value && at('gallery-state').value === 'succeeded';
}

/** The way out of an empty view. */
function leaveNone() {
  if (unfiltered()) {
    location.hash = '';
    return;
  }
  at('gallery-search').value = at('gallery-class').value = '';
  at('gallery-state').value = 'succeeded';
  restart();
}

/** What the viewer goes through: as far as it has been read now, and further where somebody goes further. */
const list = {
  jobs: () => state.jobs.filter((job) => !at(`tile-${job.id}`)?.hidden),
  get over() {
    return state.over;
  },
  more: () => more(true),
};

function tile(job) {
  const open = () => {
    // What the list said is shown at once; it is read afresh behind that.
    jobs.put(job);
    ask('open', { id: job.id, list });
  };
  const chosen = h('input', {
    type: 'checkbox',
    'aria-label': `Choose for comparing: ${jobTitle(job.spec)}`,
    onchange: () => choose(job),
  });
  return h(
    'li',
    { class: 'tile', id: `tile-${job.id}`, data: { id: job.id, state: job.state }, hidden: !matches(job) },
    h(
      'button',
      { type: 'button', class: 'tile-face', onclick: open, 'aria-label': `Open ${jobTitle(job.spec)}` },
      job.output
        ? picture(pictureOf(job, { small: true }), '', { other: resultPath(job), loading: 'lazy' })
        : h(
            'span',
            { class: 'face' },
            icon(ended(job.state) ? 'warn' : 'clock'),
            h('b', {}, stateWord(job.state)),
            job.error && h('span', { class: 'tile-why' }, job.error.message),
          ),
    ),
    job.output && h('label', { class: 'tile-choose' }, chosen),
    h('p', { class: 'tile-title', title: job.spec.prompt }, jobTitle(job.spec)),
    h(
      'p',
      { class: 'tile-foot' },
      // By this they are in order.
      h('time', { title: moment(job.submitted_ms) }, ago(job.submitted_ms)),
      h('span', { class: 'gap' }),
      button('again', 'Same again with another seed', () => again(job)),
      button('terminal', 'Copy as curl', () => copyCurl(job), { class: 'roomy' }),
      button('trash', 'Delete', () => drop(job), { disabled: !ended(job.state) }),
    ),
  );
}

function drop(job) {
  const element = at(`tile-${job.id}`);
  const next = element.nextElementSibling ?? element.previousElementSibling;
  remove(job, { hide: () => (element.hidden = true), show: () => (element.hidden = false) });
  next?.querySelector('.tile-face')?.focus();
}

/** Two at most: a third takes the place of the first. */
function choose(job) {
  if (!job) state.chosen = [];
  else if (state.chosen.some((other) => other.id === job.id))
    state.chosen = state.chosen.filter((other) => other.id !== job.id);
  else state.chosen = [...state.chosen, job].slice(-2);
  for (const box of document.querySelectorAll('.tile-choose input')) {
    const tile = box.closest('.tile');
    box.checked = state.chosen.some((other) => other.id === tile.dataset.id);
    tile.classList.toggle('chosen', box.checked);
  }
  at('compare-bar').hidden = state.chosen.length === 0;
  at('compare-go').disabled = state.chosen.length < 2;
  setText(at('compare-note'), state.chosen.length < 2 ? 'Choose one more to compare' : 'Two pictures chosen');
}
