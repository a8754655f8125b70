// What you can do with a job: download, repeat, edit, use as a reference, copy as a command, delete.

import { Problem, request } from './api.js';
import { emit } from './bus.js';
import { copyText } from './controls.js';
import { h } from './dom.js';
import { deleteJob, jobs } from './jobs.js';
import { ownJobs, thumbs } from './storage.js';
import { showError, showNotice, announce } from './notices.js';
import { store, thumbFrom } from './pictures.js';
import { submit } from './submit.js';
import { jobTitle } from './format.js';

/** The fields of a job spec that a new request may contain. */
const SPEC_FIELDS = [
  'prompt',
  'content',
  'styles',
  'loras',
  'width',
  'height',
  'keep_size',
  'steps',
  'guidance',
  'content_size',
  'step_cache',
  'gate',
  'seed',
  'format',
  'quality',
  'class',
  'priority',
  'metadata',
];
const UNDO_MS = 5_000;

/** The request body that submits a job with this spec. */
export function requestBody(spec) {
  const body = {};
  for (const name of SPEC_FIELDS) {
    const value = spec[name];
    if (value !== undefined && value !== null) body[name] = value;
  }
  return body;
}

export function resultPath(job) {
  return `/v1/jobs/${encodeURIComponent(job.id)}/result`;
}

/** The URL of the picture, or of its thumbnail if it has one. Those in the view save a redirect. */
export function pictureUrl(job, { small } = {}) {
  return (small && job.output?.thumbnail_url) || job.output?.url || resultPath(job);
}

export function fileName(job) {
  const words = (job.spec.prompt || 'layout').toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ['picture'];
  const ending = { 'image/webp': 'webp', 'image/jpeg': 'jpg' }[job.output?.content_type] ?? 'png';
  return `${words.slice(0, 8).join('-').slice(0, 60)}-${job.spec.seed ?? 'seed'}.${ending}`;
}

/** The bytes of a finished picture. */
async function pictureBytes(job) {
  // The URL in a view expires; the path redirects to a new one.
  for (const url of [pictureUrl(job), resultPath(job)]) {
    try {
      const response = await fetch(url, { cache: 'no-store' });
      if (response.ok) return response.blob();
    } catch {
      // Try the next URL, or throw below.
    }
  }
  throw new Error('the picture could not be loaded from the store');
}

export async function download(job) {
  const link = h('a', { download: fileName(job) });
  try {
    const url = URL.createObjectURL(await pictureBytes(job));
    link.href = url;
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch {
    // A browser may open a URL that scripts may not fetch.
    link.href = resultPath(job);
    link.target = '_blank';
  }
  document.body.append(link);
  link.click();
  link.remove();
}

/** Adds the picture of a job to the form as a reference, in `slot` if given. */
export async function useAsReference(role, job, slot) {
  try {
    const bytes = await pictureBytes(job).catch(() => null);
    const thumb = (bytes && (await thumbFrom(bytes))) ?? pictureUrl(job);
    // The picture is in the fleet's bucket. Upload it again only if the view has no URI.
    const source = job.output.uri ?? (await store(bytes, bytes.type));
    if (thumb.startsWith('data:')) thumbs.put(source, thumb);
    emit('reference', { role, slot, reference: { source, thumb, name: jobTitle(job.spec) } });
  } catch (error) {
    showError(error, 'This picture cannot be used as a reference');
  }
}

/** Submits a job again with a new random seed. */
export function repeat(job) {
  submit({ ...requestBody(job.spec), seed: -1 });
  announce('Submitting the job again with another seed');
}

/** Fills the form with the parameters of a job. */
export function editInForm(job) {
  emit('edit', { spec: job.spec });
}

export function curlOf(job) {
  const quoted = JSON.stringify(requestBody(job.spec)).replaceAll("'", `'\\''`);
  const key = document.cookie.includes('uso_csrf=') ? ` \\\n  -H "Authorization: Bearer $USO_KEY"` : '';
  return `curl ${location.origin}/v1/jobs -H 'Content-Type: application/json'${key} \\\n  -d '${quoted}'`;
}

export async function copyCurl(job) {
  try {
    await copyText(curlOf(job));
    showNotice('Copied as a curl command');
  } catch (error) {
    showError(error, 'The command was not copied');
  }
}

/** Deletes a finished job and its picture, unless you undo it in time. */
export function deleteWithUndo(job, { hide, show }) {
  hide();
  // If you close the page before the notice closes, the job is deleted all the same.
  const deleteNow = () =>
    request('DELETE', `/v1/jobs/${encodeURIComponent(job.id)}`, { keepalive: true }).catch(() => {});
  addEventListener('pagehide', deleteNow);
  showNotice('Deleted', {
    undo: 'Undo',
    ms: UNDO_MS,
    onClose: async (undone) => {
      removeEventListener('pagehide', deleteNow);
      if (undone) return show();
      try {
        await deleteJob(job.id);
        ownJobs.remove(job.id);
        jobs.remove(job.id);
      } catch (error) {
        show();
        showError(
          error instanceof Problem && error.noSuchRoute ? new Error('this server cannot delete jobs') : error,
          'The job was not deleted',
        );
      }
    },
  });
}
