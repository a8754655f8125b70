// What you can do with a data set: pause, resume, cancel, change its budget, retry its failed rows, download its index.

import { call } from '../shared/api.js';
import { button } from '../shared/controls.js';
import { h, refill } from '../shared/dom.js';
import { announce, showError, showNotice } from '../shared/notices.js';
import { budgetButton } from './limits.js';
import { activity } from './summary.js';

const KEEP_URL_MS = 60_000;
/**
 * Files are listed in the order of their names, and a cursor is the name before the next. "0" comes after "/": the
 * files after this name are those after the shards and what describes them, however many these are.
 */
const AFTER_SHARDS = '_meta0';

const byId = (id) => document.getElementById(id);
let shown = null;
let reread = () => {};
let painted = '';

/** `changed` is called after the data set has changed. */
export function startControls(changed) {
  reread = changed;
  byId('batch-cancel-go').addEventListener('click', () => {
    byId('batch-cancel').close();
    control('cancel', 'Canceled', 'The data set was not canceled');
  });
}

/** Shows the buttons that this data set has now. */
export function showControls(batch) {
  shown = batch;
  const { kind } = activity(batch);
  const open = kind === 'running' || kind === 'held';
  const isSpent = (batch.dataset.held ?? '').startsWith('budget_');
  const buttons = [
    !batch.canceled && (isSpent ? 'raise' : 'budget'),
    open && !batch.canceled && (batch.paused ? 'resume' : 'pause'),
    batch.counts.failed > 0 && !batch.canceled && 'retry',
    open && !batch.canceled && 'cancel',
    batch.dataset.described > 0 && 'index',
  ].filter(Boolean);
  // Poll after poll the same buttons: leave them as they are.
  const key = `${batch.id} ${buttons}`;
  if (painted === key) return;
  painted = key;
  refill(byId('batch-controls'), byId('batch-name'), buttons.map((name) => BUTTONS[name]()));
}

const BUTTONS = {
  raise: () => budgetButton(true),
  budget: () => budgetButton(false),
  pause: () =>
    button(null, 'Pause', () =>
      control('pause', 'Paused: running rows end, no others start', 'The data set was not paused'),
    ),
  resume: () =>
    button(null, 'Resume', () => control('resume', 'Resumed', 'The data set was not resumed'), { class: 'primary' }),
  retry: () => button('again', 'Retry failed', () => retryFailed(), { text: true }),
  cancel: () => button(null, 'Cancel', () => byId('batch-cancel').showModal(), { class: 'danger' }),
  index: () => button('download', 'Index', downloadIndex, { text: true, title: 'Download index.json' }),
};

/** Queues the failed rows again: those that failed for `reason`, or all. */
export function retryFailed(reason) {
  const done = reason ? `The rows that failed with ${reason} are queued again` : 'The failed rows are queued again';
  const query = reason ? `?${new URLSearchParams({ reason })}` : '';
  return control(`retry-failed${query}`, done, 'The failed rows were not retried');
}

async function control(operation, done, problem) {
  try {
    await call('POST', `/v1/batches/${encodeURIComponent(shown.id)}/${operation}`);
    announce(done);
  } catch (error) {
    showError(error, problem);
  }
  reread();
}

async function downloadIndex() {
  const { id, dataset } = shown;
  try {
    // The link expires, so ask for it now.
    const { files } = await call('GET', `/v1/batches/${encodeURIComponent(id)}/files?cursor=${AFTER_SHARDS}`);
    const file = files.find(({ name }) => name === 'index.json');
    if (!file) return showNotice('The index is not ready yet. It comes with the first shard.');
    const link = h('a', { href: file.url, target: '_blank', download: `${dataset.name}-index.json` });
    try {
      const url = URL.createObjectURL(await (await fetch(file.url)).blob());
      Object.assign(link, { href: url, target: '' });
      setTimeout(() => URL.revokeObjectURL(url), KEEP_URL_MS);
    } catch {
      // A browser may open a URL that scripts may not fetch.
    }
    document.body.append(link);
    link.click();
    link.remove();
  } catch (error) {
    showError(error, 'The index could not be downloaded');
  }
}
