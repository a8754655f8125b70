// What can be done with a job that is there: download, use again, copy as a command.

import { Problem, request } from './api.js';
import { ask } from './bus.js';
import { copyText } from './controls.js';
import { h } from './dom.js';
import { deleteJob, jobs } from './jobs.js';
import { mine, thumbs } from './storage.js';
import { complain, notice, say } from './notices.js';
import { store, thumbFrom } from './pictures.js';
import { submit } from './submit.js';
import { jobTitle } from './format.js';

/** What of a job's spec can be asked for again. */
const ASKED = [
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
  'seed',
  'class',
  'priority',
  'metadata',
];
const UNDO_MS = 5_000;

export function bodyOf(spec) {
  const body = {};
  for (const name of ASKED) {
    const value = spec[name];
    if (value !== undefined && value !== null) body[name] = value;
  }
  return body;
}

export function resultPath(job) {
  return `/v1/jobs/${encodeURIComponent(job.id)}/result`;
}

/** Where the picture is shown from: the address in the view if there is one, it saves a redirect. */
export function pictureOf(job, { small } = {}) {
  return (small && job.output?.thumb_url) || job.output?.url || resultPath(job);
}

export function fileName(job) {
  const words = (job.spec.prompt || 'layout').toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ['picture'];
  const ending = { 'image/webp': 'webp', 'image/jpeg': 'jpg' }[job.output?.content_type] ?? 'png';
  return `${words.slice(0, 8).join('-').slice(0, 60)}-${job.spec.seed ?? 'seed'}.${ending}`;
}

/** The bytes of a finished picture. */
async function pictureBytes(job) {
  // Addresses in a view run out; the path makes fresh ones.
  for (const address of [pictureOf(job), resultPath(job)]) {
    try {
      const response = await fetch(address, { cache: 'no-store' });
      if (response.ok) return response.blob();
    } catch {
      // The next address, or the message below.
    }
  }
  throw new Error('the picture could not be fetched from the store');
}

export async function download(job) {
  const link = h('a', { download: fileName(job) });
  try {
    const url = URL.createObjectURL(await pictureBytes(job));
    link.href = url;
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch {
    // A browser may show what it may not fetch.
    link.href = resultPath(job);
    link.target = '_blank';
  }
  document.body.append(link);
  link.click();
  link.remove();
}

/** Makes a picture a reference in the form; `slot` is where, if it was put somewhere. */
export async function useAs(role, job, slot) {
  try {
    const bytes = await pictureBytes(job).catch(() => null);
    const thumb = (bytes && (await thumbFrom(bytes))) ?? pictureOf(job);
    // The picture lies in the fleet's own bucket; only where that is not told it goes the long way.
    const source = job.output.uri ?? (await store(bytes, bytes.type));
    if (thumb.startsWith('data:')) thumbs.put(source, thumb);
    ask('reference', { role, slot, reference: { source, thumb, name: jobTitle(job.spec) } });
  } catch (error) {
    complain(error, 'This picture cannot be used as a reference');
  }
}

/** The same job once more, with a seed drawn anew. */
export function again(job) {
  submit({ ...bodyOf(job.spec), seed: -1 });
  say('Another one is on its way');
}

export function reuse(job) {
  ask('reuse', { spec: job.spec });
}

export function curlOf(job) {
  const quoted = JSON.stringify(bodyOf(job.spec)).replaceAll("'", `'\\''`);
  const key = document.cookie.includes('uso_csrf=') ? ` \\\n  -H "Authorization: Bearer $USO_KEY"` : '';
  return `curl ${location.origin}/v1/jobs -H 'Content-Type: application/json'${key} \\\n  -d '${quoted}'`;
}

export async function copyCurl(job) {
  try {
    await copyText(curlOf(job));
    notice('Copied as a curl command');
  } catch (error) {
    complain(error, 'Not copied');
  }
}

/** Deletes a finished job with its picture, unless it is called back in time. */
export function remove(job, { hide, show }) {
  hide();
  // The page is closed before the time to undo is over: it was meant all the same.
  const leave = () => request('DELETE', `/v1/jobs/${encodeURIComponent(job.id)}`, { keepalive: true }).catch(() => {});
  addEventListener('pagehide', leave);
  notice('Deleted', {
    undo: 'Undo',
    ms: UNDO_MS,
    gone: async (undone) => {
      removeEventListener('pagehide', leave);
      if (undone) return show();
      try {
        await deleteJob(job.id);
        mine.drop(job.id);
        jobs.forget(job.id);
      } catch (error) {
        show();
        complain(
          error instanceof Problem && error.noSuchRoute ? new Error('this server cannot delete jobs yet') : error,
          'Not deleted',
        );
      }
    },
  });
}
