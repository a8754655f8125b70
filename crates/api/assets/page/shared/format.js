// Numbers and states as people read them.

const ENDED = new Set(['succeeded', 'failed', 'canceled', 'expired']);

const STATES = {
  sending: 'Sending',
  queued: 'Waiting',
  running: 'Drawing',
  succeeded: 'Done',
  failed: 'Failed',
  canceled: 'Canceled',
  expired: 'Too late',
};

export function ended(state) {
  return ENDED.has(state);
}

export function stateWord(state) {
  return STATES[state] ?? state;
}

export function duration(ms) {
  if (!Number.isFinite(ms) || ms < 0) return '';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function bytes(count) {
  if (!Number.isFinite(count)) return '';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

export function count(number) {
  return Number.isFinite(number) ? number.toLocaleString('en') : '–';
}

export function ago(ms) {
  const past = Date.now() - ms;
  if (past < 45_000) return 'just now';
  if (past < 90 * 60_000) return `${Math.max(1, Math.round(past / 60_000))} min ago`;
  if (past < 36 * 3_600_000) return `${Math.round(past / 3_600_000)} h ago`;
  return new Date(ms).toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
}

export function moment(ms) {
  return ms ? new Date(ms).toLocaleString() : '';
}

/** What a job is called where its prompt would be too long, or is empty. */
export function jobTitle(spec) {
  return spec?.prompt?.trim() || 'Layout kept, no prompt';
}

/** How long a prompt is for the two text encoders. CLIP takes so little that cutting there is usual. */
export function promptLength({ t5, clip }) {
  const taken = clip.cut > 0 ? `, of which CLIP takes the first ${count(clip.tokens - clip.cut)}` : '';
  return `${count(t5.tokens)} T5 tokens, ${count(clip.tokens)} CLIP tokens${taken}`;
}

/** What was lost of a prompt, in a sentence; null if nothing was. */
export function promptLoss({ t5 }) {
  if (!t5.cut) return null;
  const last = t5.cut === 1 ? 'last one was' : `last ${count(t5.cut)} were`;
  return `The prompt has ${count(t5.tokens)} T5 tokens; the ${last} not used.`;
}

/** When so many pictures would be there that are asked for now; nothing of the time where nobody knows it. */
export function forecast({ position, wait_ms: wait, run_ms: run, held }, pictures) {
  const known = Number.isFinite(wait) && Number.isFinite(run);
  return [
    held && 'Held up by a pause or the hours of bulk work',
    known && `About ${duration(wait + run)}${pictures > 1 ? ` for all ${pictures}` : ''}`,
    position > 0 && `${count(position)} ahead`,
  ]
    .filter(Boolean)
    .join(' · ');
}

/** Where a job stands, in a sentence. */
export function standing(job) {
  switch (job.state) {
    case 'sending':
      return job.note ?? 'Sending to the queue';
    case 'queued':
      return waiting(job);
    case 'running':
      return drawing(job);
    case 'failed':
      return job.error?.message ?? 'It failed';
    case 'canceled':
      return job.aborted ? 'Canceled before it began' : 'Canceled';
    case 'expired':
      return 'Its time had passed before it was drawn';
    default:
      return stateWord(job.state);
  }
}

function waiting(job) {
  if (job.blocked?.loras) return `No worker that is up has the LoRA ${job.blocked.loras.join(' and ')}`;
  if (job.blocked) return 'No worker that is up has room for a picture this large';
  const parts = [];
  if (job.note) parts.push(job.note);
  if (Number.isFinite(job.position)) parts.push(job.position > 0 ? `${count(job.position)} ahead` : 'Next in line');
  if (Number.isFinite(job.eta_ms)) parts.push(`about ${duration(job.eta_ms)}`);
  return parts.join(' · ') || 'Waiting for a worker';
}

function drawing(job) {
  if (job.canceling) return 'Stopping at the end of this step';
  if (job.setAside) return 'Set aside: an urgent picture goes first';
  if (!job.of) return job.spec?.content || job.spec?.styles?.length ? 'Reading the references' : 'Getting ready';
  if (job.step >= job.of) return 'Finishing the picture';
  const left = job.pace ? ` · ${duration(job.pace * (job.of - job.step))} left` : '';
  return `Step ${job.step} of ${job.of}${left}`;
}
