// What this page knows about jobs. Views and events may arrive in any order; `version` decides which
// is newer, so a late one never undoes an early one.

import { Problem, call } from './api.js';
import { mine } from './storage.js';
import { ended } from './format.js';

class Jobs extends EventTarget {
  #known = new Map();
  #reading = new Map();

  get(id) {
    return this.#known.get(id);
  }

  all() {
    return [...this.#known.values()];
  }

  /** Takes a view, unless a newer one is here. Tells of "change" with the job as its detail. */
  put(view) {
    const known = this.#known.get(view.id);
    if (known && (view.version ?? 0) < (known.version ?? 0)) return known;
    const job = {
      pace: known?.pace,
      paceFrom: known?.paceFrom,
      setAside: known?.setAside,
      canceling: known?.canceling,
      previews: known?.previews ?? 0,
      ...view,
    };
    if (job.state === 'queued') job.note = known?.note;
    if (job.state === 'running') job.began = known?.began ?? Date.now();
    if (ended(job.state)) job.setAside = job.canceling = false;
    return this.#store(job);
  }

  /** Reads a job afresh; null if it is gone. Several askers share one request. */
  read(id) {
    if (!this.#reading.has(id)) {
      const reading = call('GET', `/v1/jobs/${encodeURIComponent(id)}`)
        .then((view) => this.put(view))
        .catch((error) => {
          if (!(error instanceof Problem && error.status === 404)) throw error;
          this.forget(id);
          return null;
        })
        .finally(() => this.#reading.delete(id));
      this.#reading.set(id, reading);
    }
    return this.#reading.get(id);
  }

  /** Reads a job whose end was heard: a request that was under way by then may tell of the time before. */
  async #readEnded(id) {
    const job = await this.read(id);
    return job && !ended(job.state) ? this.read(id) : job;
  }

  forget(id) {
    if (this.#known.delete(id)) this.dispatchEvent(new CustomEvent('gone', { detail: id }));
  }

  /** Takes what a stream says. */
  hear(name, data) {
    if (name === 'snapshot') {
      if (data?.id) this.put(data);
      return;
    }
    this.dispatchEvent(new CustomEvent('event', { detail: { name, data } }));
    const known = this.#known.get(data.id);
    if (!known || ended(known.state)) return;
    if (name === 'preview') {
      this.#store({ ...known, previews: known.previews + 1 });
      return;
    }
    if (data.version !== undefined && data.version <= known.version) return;
    const job = { ...known, version: data.version ?? known.version, attempt: data.attempt ?? known.attempt };
    switch (name) {
      case 'queued':
        job.state = 'queued';
        break;
      case 'requeued':
        Object.assign(job, { state: 'queued', note: REQUEUED[data.reason] ?? REQUEUED.retry, setAside: false });
        break;
      case 'started':
        Object.assign(job, { state: 'running', note: undefined, began: Date.now(), paceFrom: undefined });
        break;
      case 'progress':
        Object.assign(job, { state: 'running', step: data.step, of: data.of, setAside: false });
        measure(job);
        break;
      case 'set_aside':
        job.setAside = true;
        break;
      case 'resumed':
        Object.assign(job, { setAside: false, paceFrom: undefined });
        break;
      default:
        // An end: the record says how, and has the picture's address.
        this.#readEnded(data.id).catch(() => this.#store({ ...job, stale: true }));
        return;
    }
    this.#store(job);
  }

  /** Notes something that only this page knows. */
  mark(id, facts) {
    const known = this.#known.get(id);
    if (known) this.#store({ ...known, ...facts });
  }

  #store(job) {
    this.#known.set(job.id, job);
    this.dispatchEvent(new CustomEvent('change', { detail: job }));
    return job;
  }
}

const REQUEUED = {
  released: 'Handed on to another worker',
  retry: 'Trying again after a fault',
  lease_lost: 'Its worker fell silent; another goes on',
};

/** Milliseconds a step, from the first step that this page saw. */
function measure(job) {
  const now = performance.now();
  if (!job.paceFrom || job.step <= job.paceFrom.step) {
    job.paceFrom = { step: job.step, at: now };
  } else {
    job.pace = (now - job.paceFrom.at) / (job.step - job.paceFrom.step);
  }
}

export const jobs = new Jobs();

export async function cancelJob(id) {
  jobs.mark(id, { canceling: true });
  try {
    const view = await call('POST', `/v1/jobs/${encodeURIComponent(id)}/cancel`);
    if (view?.id) jobs.put(view);
  } catch (error) {
    jobs.mark(id, { canceling: false });
    // It ended in the meantime: what it ended with is the better answer.
    if (error instanceof Problem && error.status === 409) await jobs.read(id);
    else throw error;
  }
}

/** Makes a new job like one that has ended, for this browser. */
export async function retryJob(id) {
  const accepted = await call('POST', `/v1/jobs/${encodeURIComponent(id)}/retry`);
  mine.add(accepted.id);
  return jobs.read(accepted.id);
}

export async function deleteJob(id) {
  try {
    await call('DELETE', `/v1/jobs/${encodeURIComponent(id)}`);
  } catch (error) {
    if (!(error instanceof Problem && error.status === 404 && !error.noSuchRoute)) throw error;
  }
  jobs.forget(id);
}
