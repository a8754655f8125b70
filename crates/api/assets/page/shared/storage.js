// What this browser remembers. Storage may be full, switched off or filled by an older page, and none
// of that may break this one.

/** What is nobody's in particular, and stays when somebody signs out. */
const EVERYBODYS = ['uso.theme', 'uso.keys', 'uso.left'];

let closed = false;

export function remember(key, value, storage = localStorage) {
  if (closed) return false;
  try {
    storage.setItem(`uso.${key}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function recall(key, fallback, storage = localStorage) {
  try {
    const value = JSON.parse(storage.getItem(`uso.${key}`));
    return value ?? fallback;
  } catch {
    return fallback;
  }
}

/**
 * Forgets what the person who used this browser so far has left here, and takes nothing more: the page is to be
 * loaded anew, which other tabs do by themselves.
 */
export function forgetAll() {
  remember('left', Date.now());
  close();
}

/** Calls `action` when another tab has forgotten everything; this one has then, too. */
export function onForgotten(action) {
  addEventListener('storage', ({ key }) => {
    if (key !== 'uso.left') return;
    close();
    action();
  });
}

function close() {
  closed = true;
  try {
    for (const storage of [localStorage, sessionStorage]) {
      const names = Object.keys(storage).filter((name) => name.startsWith('uso.') && !EVERYBODYS.includes(name));
      for (const name of names) storage.removeItem(name);
    }
  } catch {
    // Where storage is switched off there is nothing in it.
  }
}

const MOST_THUMBS = 80;

let pictures = null;

function thumbList() {
  const kept = (pictures ??= recall('thumbs', []));
  return Array.isArray(kept) ? kept : (pictures = []);
}

/** Small pictures of references by source, so that they are still shown after a reload. */
export const thumbs = {
  get(source) {
    return thumbList().find(([known]) => known === source)?.[1];
  },
  put(source, picture) {
    pictures = [[source, picture], ...thumbList().filter(([known]) => known !== source)].slice(0, MOST_THUMBS);
    // Half as many may fit where the whole list does not.
    if (!remember('thumbs', pictures)) remember('thumbs', pictures.slice(0, MOST_THUMBS / 2));
  },
};

const MOST_JOBS = 40;

/** Jobs that were begun in this browser, newest first. */
export const mine = {
  list() {
    const ids = recall('jobs', []);
    return Array.isArray(ids) ? ids.filter((id) => typeof id === 'string') : [];
  },
  add(id) {
    remember('jobs', [id, ...mine.list().filter((other) => other !== id)].slice(0, MOST_JOBS));
  },
  drop(id) {
    remember(
      'jobs',
      mine.list().filter((other) => other !== id),
    );
  },
};
