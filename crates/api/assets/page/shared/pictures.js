// Reference pictures on their way in: checked here first, because a refusal before the upload is
// kinder than a failed job, then put where the server says.

import { call } from './api.js';
import { h, sleep } from './dom.js';
import { bytes } from './format.js';
import { server } from './server.js';

const MOST_PIXELS = 50_000_000;
const THUMB_SIDE = 192;
const TRIES = 3;

/**
 * Makes a file ready: `{ blob, type, thumb, width, height, converted }`. Kinds that the fleet does not
 * read but the browser does are turned into PNG. Throws with a sentence for people.
 */
export async function prepare(file) {
  if (file.size === 0) throw new Error('This file is empty.');
  const sniffed = await kind(file);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(
      sniffed ? 'This picture is damaged or cut off.' : `This is not a picture that can be read. Use ${typeWords()}.`,
    );
  }
  try {
    const { width, height } = bitmap;
    if (width * height > MOST_PIXELS) {
      throw new Error(
        `This picture has ${Math.round((width * height) / 1e6)} megapixels; the most is ${MOST_PIXELS / 1e6}.`,
      );
    }
    const converted = !server.upload_types.includes(sniffed);
    const blob = converted ? await draw(bitmap, width, height, 'image/png') : file;
    const most = server.limits.upload_bytes;
    if (most && blob.size > most) throw new Error(`This file has ${bytes(blob.size)}; the most is ${bytes(most)}.`);
    return { blob, type: converted ? 'image/png' : sniffed, thumb: await thumbOf(bitmap), width, height, converted };
  } finally {
    bitmap.close();
  }
}

/** Stores a picture; gives the source that names it in a job. `progress` gets 0 to 1. */
export async function store(blob, type, { progress, signal } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const place = await call('POST', '/v1/uploads', { body: { content_type: type, bytes: blob.size }, signal });
    if (place.max_bytes && blob.size > place.max_bytes) {
      throw new Error(`This file has ${bytes(blob.size)}; the most is ${bytes(place.max_bytes)}.`);
    }
    try {
      await put(place, blob, { progress, signal });
      return place.source;
    } catch (error) {
      if (signal?.aborted || error.final || attempt === TRIES) throw error;
      await sleep(500 * attempt, signal);
    }
  }
}

/** A small picture of whatever lies at `url`; null where it may not be read. */
export async function thumbFrom(blob) {
  try {
    const bitmap = await createImageBitmap(blob);
    const thumb = await thumbOf(bitmap);
    bitmap.close();
    return thumb;
  } catch {
    return null;
  }
}

/** The newest preview of a job as an image that can be shown at once; fails if there is none yet. */
export async function previewOf(job) {
  const image = new Image();
  image.alt = 'Preview';
  image.className = 'preview there';
  image.src = `/v1/jobs/${encodeURIComponent(job.id)}/preview?n=${job.previews}`;
  await image.decode();
  return image;
}

/** Fetch does not tell how far an upload is, so this is the older way. */
function put(place, blob, { progress, signal }) {
  return new Promise((resolve, reject) => {
    const transfer = new XMLHttpRequest();
    transfer.open(place.method ?? 'PUT', place.url);
    for (const [name, value] of Object.entries(place.headers ?? {})) {
      // The browser sets these itself and refuses to be told.
      if (!/^(content-length|host)$/i.test(name)) transfer.setRequestHeader(name, value);
    }
    transfer.upload.onprogress = ({ loaded, total }) => progress?.(total ? loaded / total : 0);
    transfer.onload = () => {
      if (transfer.status < 300) return resolve();
      const refused = new Error(`The store refused this file (${transfer.status}).`);
      refused.final = transfer.status < 500;
      reject(refused);
    };
    transfer.onerror = () => reject(new Error('The store could not be reached.'));
    transfer.onabort = () => reject(new DOMException('given up', 'AbortError'));
    signal?.addEventListener('abort', () => transfer.abort(), { once: true });
    // Without a type of its own the body sends only the headers that were agreed on.
    transfer.send(place.headers ? new Blob([blob]) : blob);
  });
}

/** Media type by the first bytes: names and the system's guesses are often wrong. */
async function kind(file) {
  const head = new Uint8Array(await file.slice(0, 16).arrayBuffer());
  const text = String.fromCharCode(...head);
  if (text.startsWith('\x89PNG')) return 'image/png';
  if (text.startsWith('\xff\xd8\xff')) return 'image/jpeg';
  if (text.startsWith('RIFF') && text.slice(8, 12) === 'WEBP') return 'image/webp';
  return null;
}

function thumbOf(bitmap) {
  const scale = Math.min(1, THUMB_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = canvasOf(
    bitmap,
    Math.max(1, Math.round(bitmap.width * scale)),
    Math.max(1, Math.round(bitmap.height * scale)),
  );
  return scale === 1 ? canvas.toDataURL('image/png') : canvas.toDataURL('image/jpeg', 0.82);
}

function draw(bitmap, width, height, type) {
  const canvas = canvasOf(bitmap, width, height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('This picture could not be converted.'))), type);
  });
}

function canvasOf(bitmap, width, height) {
  const canvas = h('canvas', { width, height });
  canvas.getContext('2d').drawImage(bitmap, 0, 0, width, height);
  return canvas;
}

export function typeWords() {
  const names = server.upload_types.map((type) =>
    type.replace('image/', '').replace('jpeg', 'JPEG').replace('webp', 'WebP').replace('png', 'PNG'),
  );
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} or ${names.at(-1)}` : (names[0] ?? '');
}
