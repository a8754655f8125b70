// What this page keeps in the browser's storage. The storage may be full, disabled or hold values of an
// older version; none of that may break the page.

/** Items that do not belong to a tenant and stay after a sign-out. */
const KEPT_KEYS = ['uso.theme', 'uso.keys', 'uso.left'];

let disabled = false;

export function saveItem(key, value, storage = localStorage) {
  if (disabled) return false;
  try {
    storage.setItem(`uso.${key}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function loadItem(key, fallback, storage = localStorage) {
  try {
    const value = JSON.parse(storage.getItem(`uso.${key}`));
    return value ?? fallback;
  } catch {
    return fallback;
  }
}

/**
 * Removes everything that belongs to the tenant and stores nothing more: reload the page after this. Other tabs
 * are notified, see `onCleared`.
 */
export function clearAll() {
  saveItem('left', Date.now());
  removeItems();
}

/** Calls `action` after another tab has cleared the storage; this tab stores nothing more either. */
export function onCleared(action) {
  addEventListener('storage', ({ key }) => {
    if (key !== 'uso.left') return;
    removeItems();
    action();
  });
}

function removeItems() {
  disabled = true;
  try {
    for (const storage of [localStorage, sessionStorage]) {
      const names = Object.keys(storage).filter((name) => name.startsWith('uso.') && !KEPT_KEYS.includes(name));
      for (const name of names) storage.removeItem(name);
    }
  } catch {
    // The storage is disabled, so it holds nothing.
  }
}

const MAX_THUMBS = 80;

let thumbCache = null;

function thumbList() {
  const kept = (thumbCache ??= loadItem('thumbs', []));
  return Array.isArray(kept) ? kept : (thumbCache = []);
}

/** Thumbnails of references by source, kept over a reload. */
export const thumbs = {
  get(source) {
    return thumbList().find(([known]) => known === source)?.[1];
  },
  put(source, picture) {
    thumbCache = [[source, picture], ...thumbList().filter(([known]) => known !== source)].slice(0, MAX_THUMBS);
    // If the storage is full, half of them may fit.
    if (!saveItem('thumbs', thumbCache)) saveItem('thumbs', thumbCache.slice(0, MAX_THUMBS / 2));
  },
};

const MAX_JOBS = 40;

/** The ids of the jobs that this browser submitted, newest first. */
export const ownJobs = {
  list() {
    const ids = loadItem('jobs', []);
    return Array.isArray(ids) ? ids.filter((id) => typeof id === 'string') : [];
  },
  add(id) {
    saveItem('jobs', [id, ...ownJobs.list().filter((other) => other !== id)].slice(0, MAX_JOBS));
  },
  remove(id) {
    saveItem(
      'jobs',
      ownJobs.list().filter((other) => other !== id),
    );
  },
};
