// Formats numbers, times and job states for display.

const ENDED = new Set(['succeeded', 'failed', 'canceled', 'expired']);

const STATES = {
  sending: 'Sending',
  queued: 'Waiting',
  running: 'Running',
  succeeded: 'Done',
  failed: 'Failed',
  canceled: 'Canceled',
  expired: 'Expired',
};

const FORMATS = { png: 'PNG', jpeg: 'JPEG', webp: 'WebP' };

/** Whether a state is final. */
export function ended(state) {
  return ENDED.has(state);
}

export function stateLabel(state) {
  return STATES[state] ?? state;
}

/** What people call a file format. */
export function formatLabel(format) {
  return FORMATS[format] ?? format;
}

/** The file format of a job's picture, with its quality if it has one. */
export function fileFormat({ format = 'png', quality }) {
  return [formatLabel(format), quality && `quality ${quality}`].filter(Boolean).join(', ');
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

export function dateTime(ms) {
  return ms ? new Date(ms).toLocaleString() : '';
}

/** The title of a job: its prompt, or a text in its place. */
export function jobTitle(spec) {
  return spec?.prompt?.trim() || 'No prompt: keeps the layout';
}

/** The length of a prompt for both text encoders. CLIP uses few tokens, so it often cuts a prompt. */
export function promptLength({ t5, clip }) {
  const used = clip.cut > 0 ? `; CLIP uses the first ${count(clip.tokens - clip.cut)}` : '';
  return `${count(t5.tokens)} T5 tokens, ${count(clip.tokens)} CLIP tokens${used}`;
}

/** Says how much of a prompt T5 cut; null if nothing. */
export function promptCut({ t5 }) {
  if (!t5.cut) return null;
  const last = t5.cut === 1 ? 'last one was' : `last ${count(t5.cut)} were`;
  return `The prompt has ${count(t5.tokens)} T5 tokens; the ${last} not used.`;
}

/** An estimate for jobs submitted now. Without the time if the server cannot estimate it. */
export function estimateText({ position, wait_ms: wait, run_ms: run, held }, pictures) {
  const known = Number.isFinite(wait) && Number.isFinite(run);
  return [
    held && 'On hold: paused or outside the bulk hours',
    known && `About ${duration(wait + run)}${pictures > 1 ? ` for all ${pictures}` : ''}`,
    position > 0 && `${count(position)} ahead`,
  ]
    .filter(Boolean)
    .join(' · ');
}

/** The status of a job in a short text. */
export function statusText(job) {
  switch (job.state) {
    case 'sending':
      return job.note ?? 'Sending to the queue';
    case 'queued':
      return queuedText(job);
    case 'running':
      return runningText(job);
    case 'failed':
      return job.error?.message ?? 'The job failed';
    case 'canceled':
      return job.aborted ? 'Canceled before it started' : 'Canceled';
    case 'expired':
      return 'Expired before it finished';
    default:
      return stateLabel(job.state);
  }
}

function queuedText(job) {
  if (job.blocked?.scorers) return `No running worker has the scorer ${job.blocked.scorers.join(' and ')}`;
  if (job.blocked?.loras) return `No running worker has the LoRA ${job.blocked.loras.join(' and ')}`;
  if (job.blocked) return 'No running worker has enough memory for this size';
  const parts = [];
  if (job.note) parts.push(job.note);
  if (Number.isFinite(job.position)) parts.push(job.position > 0 ? `${count(job.position)} ahead` : 'Next in line');
  if (Number.isFinite(job.eta_ms)) parts.push(`about ${duration(job.eta_ms)}`);
  return parts.join(' · ') || 'Waiting for a worker';
}

function runningText(job) {
  if (job.canceling) return 'Stopping after this step';
  if (job.setAside) return 'Set aside for an urgent job';
  if (!job.of) return job.spec?.content || job.spec?.styles?.length ? 'Preparing the references' : 'Preparing';
  if (job.step >= job.of) return 'Finishing the picture';
  const left = job.pace ? ` · ${duration(job.pace * (job.of - job.step))} left` : '';
  return `Step ${job.step} of ${job.of}${left}`;
}
