// Checks and uploads reference pictures: a picture that cannot be used is refused before its upload.

import { call } from './api.js';
import { h, sleep } from './dom.js';
import { bytes } from './format.js';
import { server } from './server.js';

const MAX_PIXELS = 50_000_000;
const THUMB_SIDE = 192;
const MAX_ATTEMPTS = 3;

/**
 * Checks a file before its upload. Returns `{ blob, type, thumb, width, height, converted }`. A format that the
 * browser reads and the fleet does not is converted to PNG. Throws an error with a message to display.
 */
export async function prepare(file) {
  if (file.size === 0) throw new Error('This file is empty.');
  const sniffed = await sniffType(file);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(
      sniffed
        ? 'This picture is damaged or incomplete.'
        : `This file is not a picture that can be used. Use ${typeNames()}.`,
    );
  }
  try {
    const { width, height } = bitmap;
    if (width * height > MAX_PIXELS) {
      throw new Error(
        `This picture has ${Math.round((width * height) / 1e6)} megapixels. The limit is ${MAX_PIXELS / 1e6}.`,
      );
    }
    const converted = !server.upload_types.includes(sniffed);
    const blob = converted ? await encode(bitmap, width, height, 'image/png') : file;
    const limit = server.limits.upload_bytes;
    if (limit && blob.size > limit) throw new Error(`This file has ${bytes(blob.size)}. The limit is ${bytes(limit)}.`);
    return { blob, type: converted ? 'image/png' : sniffed, thumb: await thumbOf(bitmap), width, height, converted };
  } finally {
    bitmap.close();
  }
}

/** Uploads a picture; returns its source for a job. `progress` is called with 0 to 1. */
export async function store(blob, type, { progress, signal } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const upload = await call('POST', '/v1/uploads', { body: { content_type: type, bytes: blob.size }, signal });
    if (upload.max_bytes && blob.size > upload.max_bytes) {
      throw new Error(`This file has ${bytes(blob.size)}. The limit is ${bytes(upload.max_bytes)}.`);
    }
    try {
      await put(upload, blob, { progress, signal });
      return upload.source;
    } catch (error) {
      if (signal?.aborted || error.final || attempt === MAX_ATTEMPTS) throw error;
      await sleep(500 * attempt, signal);
    }
  }
}

/** A thumbnail as a data URL; null if the bytes are not a picture. */
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

/** The newest preview of a job as a decoded image; fails if there is none yet. */
export async function previewOf(job) {
  const image = new Image();
  image.alt = 'Preview';
  image.className = 'preview loaded';
  image.src = `/v1/jobs/${encodeURIComponent(job.id)}/preview?n=${job.previews}`;
  await image.decode();
  return image;
}

/** Sends the bytes. `fetch` does not report the progress of an upload, so this uses XMLHttpRequest. */
function put(upload, blob, { progress, signal }) {
  return new Promise((resolve, reject) => {
    const transfer = new XMLHttpRequest();
    transfer.open(upload.method ?? 'PUT', upload.url);
    for (const [name, value] of Object.entries(upload.headers ?? {})) {
      // The browser sets these itself and does not allow scripts to.
      if (!/^(content-length|host)$/i.test(name)) transfer.setRequestHeader(name, value);
    }
    transfer.upload.onprogress = ({ loaded, total }) => progress?.(total ? loaded / total : 0);
    transfer.onload = () => {
      if (transfer.status < 300) return resolve();
      const error = new Error(`The store refused this file (${transfer.status}).`);
      error.final = transfer.status < 500;
      reject(error);
    };
    transfer.onerror = () => reject(new Error('The store could not be reached.'));
    transfer.onabort = () => reject(new DOMException('canceled', 'AbortError'));
    signal?.addEventListener('abort', () => transfer.abort(), { once: true });
    // A blob without a type: only the signed headers may be sent.
    transfer.send(upload.headers ? new Blob([blob]) : blob);
  });
}

/** The media type by the first bytes: file names and the type that the system reports are often wrong. */
async function sniffType(file) {
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

function encode(bitmap, width, height, type) {
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

export function typeNames() {
  const names = server.upload_types.map((type) =>
    type.replace('image/', '').replace('jpeg', 'JPEG').replace('webp', 'WebP').replace('png', 'PNG'),
  );
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} or ${names.at(-1)}` : (names[0] ?? '');
}
