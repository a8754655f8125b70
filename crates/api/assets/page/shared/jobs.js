// The jobs that this page has read, with the latest events applied. Views and events may arrive in any
// order; a lower `version` never replaces a higher one.

import { Problem, call } from './api.js';
import { ownJobs } from './storage.js';
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

  /** Stores a view unless the stored one is newer. Sends a "change" event with the job. */
  put(view) {
    const known = this.#known.get(view.id);
    if (known && (view.version ?? 0) < (known.version ?? 0)) return known;
    const job = {
      pace: known?.pace,
      paceStart: known?.paceStart,
      setAside: known?.setAside,
      canceling: known?.canceling,
      previews: known?.previews ?? 0,
      ...view,
    };
    if (job.state === 'queued') job.note = known?.note;
    if (job.state === 'running') job.startedAt = known?.startedAt ?? Date.now();
    if (ended(job.state)) job.setAside = job.canceling = false;
    return this.#store(job);
  }

  /** Reads a job from the server; null if it does not exist. Calls at the same time share one request. */
  read(id) {
    if (!this.#reading.has(id)) {
      const reading = call('GET', `/v1/jobs/${encodeURIComponent(id)}`)
        .then((view) => this.put(view))
        .catch((error) => {
          if (!(error instanceof Problem && error.status === 404)) throw error;
          this.remove(id);
          return null;
        })
        .finally(() => this.#reading.delete(id));
      this.#reading.set(id, reading);
    }
    return this.#reading.get(id);
  }

  /** Reads a job after its final event. A request that was sent before may answer with an earlier state. */
  async #readFinal(id) {
    const job = await this.read(id);
    return job && !ended(job.state) ? this.read(id) : job;
  }

  /** Removes a job from this page. Sends a "removed" event with the id. */
  remove(id) {
    if (this.#known.delete(id)) this.dispatchEvent(new CustomEvent('removed', { detail: id }));
  }

  /** Applies an event of a stream. */
  applyEvent(name, data) {
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
        Object.assign(job, { state: 'running', note: undefined, startedAt: Date.now(), paceStart: undefined });
        break;
      case 'progress':
        Object.assign(job, { state: 'running', step: data.step, of: data.of, setAside: false });
        measurePace(job);
        break;
      case 'set_aside':
        job.setAside = true;
        break;
      case 'resumed':
        Object.assign(job, { setAside: false, paceStart: undefined });
        break;
      default:
        // A final event: only the view has the error and the URL of the picture.
        this.#readFinal(data.id).catch(() => this.#store({ ...job, stale: true }));
        return;
    }
    this.#store(job);
  }

  /** Sets fields that only this page knows. */
  patch(id, fields) {
    const known = this.#known.get(id);
    if (known) this.#store({ ...known, ...fields });
  }

  #store(job) {
    this.#known.set(job.id, job);
    this.dispatchEvent(new CustomEvent('change', { detail: job }));
    return job;
  }
}

const REQUEUED = {
  released: 'Handed back by its worker',
  retry: 'Retrying after an error',
  lease_lost: 'Its worker stopped responding',
};

/** Measures the milliseconds per step, from the first step that this page saw. */
function measurePace(job) {
  const now = performance.now();
  if (!job.paceStart || job.step <= job.paceStart.step) {
    job.paceStart = { step: job.step, at: now };
  } else {
    job.pace = (now - job.paceStart.at) / (job.step - job.paceStart.step);
  }
}

export const jobs = new Jobs();

export async function cancelJob(id) {
  jobs.patch(id, { canceling: true });
  try {
    const view = await call('POST', `/v1/jobs/${encodeURIComponent(id)}/cancel`);
    if (view?.id) jobs.put(view);
  } catch (error) {
    jobs.patch(id, { canceling: false });
    // The job ended before the cancel: read how.
    if (error instanceof Problem && error.status === 409) await jobs.read(id);
    else throw error;
  }
}

/** Submits a finished job again as a new job of this browser. */
export async function retryJob(id) {
  const accepted = await call('POST', `/v1/jobs/${encodeURIComponent(id)}/retry`);
  ownJobs.add(accepted.id);
  return jobs.read(accepted.id);
}

export async function deleteJob(id) {
  try {
    await call('DELETE', `/v1/jobs/${encodeURIComponent(id)}`);
  } catch (error) {
    if (!(error instanceof Problem && error.status === 404 && !error.noSuchRoute)) throw error;
  }
  jobs.remove(id);
}
