// Goes to a row on the wall, by its number or its key.

import { call, Problem } from '../shared/api.js';
import { setText, sleep } from '../shared/dom.js';

/** How often a server that is still reading the keys is asked again. */
const TRIES = 60;

const byId = (id) => document.getElementById(id);

/** `go(index)` shows that place of the list. `target()` gives `{ id, state }`: of which data set, and which rows. */
export function startFind(target, go) {
  byId('batch-find').addEventListener('submit', async (event) => {
    event.preventDefault();
    const text = byId('batch-find-row').value.trim();
    const { id, state } = target() ?? {};
    if (!text || !id) return;
    say('Looking for it…');
    try {
      const place = await find(id, state, text);
      say(place === null ? `No row ${text} has ended` : '');
      if (place !== null && target()?.id === id) go(place);
    } catch (error) {
      say(`It could not be found: ${error.message}`);
    }
  });
  byId('batch-find-row').addEventListener('input', () => say(''));
}

function say(text) {
  setText(byId('batch-find-note'), text);
}

/** The place of a row in the list; null if there is no such row. */
async function find(id, state, text) {
  const isNumber = /^\d{1,10}$/.test(text) && Number(text) < 2 ** 32;
  const asNumber = isNumber ? await placeOf(id, state, { from: Number(text) }) : null;
  return asNumber ?? (/^[\w-]{1,128}$/.test(text) ? placeOf(id, state, { key: text }) : null);
}

async function placeOf(id, state, by) {
  const query = new URLSearchParams({ limit: 1, ...(state && { state }), ...by });
  for (let number = 0; ; number += 1) {
    try {
      const { before } = await call('GET', `/v1/batches/${encodeURIComponent(id)}/rows?${query}`);
      return before;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 404 && error.code === 'no_such_row') return null;
      if (error.code !== 'keys_not_read' || number === TRIES) throw error;
      await sleep(error.retryAfterMs ?? 1000);
    }
  }
}
