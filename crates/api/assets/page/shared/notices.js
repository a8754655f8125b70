// Notices at the edge of the page, and announcements for screen readers.

import { button } from './controls.js';
import { h } from './dom.js';

const SHOWN_MS = 6_000;

/** Shows a notice for `ms` milliseconds. `undo` is the label of an undo button. `onClose(undone)` is called once. */
export function showNotice(text, { kind = 'info', undo, onClose, ms = SHOWN_MS } = {}) {
  const element = h('div', { class: `notice notice-${kind}` }, h('p', {}, text));
  let closed = false;
  const close = (undone) => {
    if (closed) return;
    closed = true;
    clearTimeout(timer);
    element.remove();
    onClose?.(undone);
  };
  if (undo) element.append(button(null, undo, () => close(true), { class: 'plain strong' }));
  element.append(button('close', 'Dismiss', () => close(false), { class: 'icon-only' }));
  const timer = setTimeout(close, kind === 'error' ? ms * 2 : ms, false);
  document.getElementById('notices').append(element);
  return close;
}

/** Shows an error; `what` says what failed. */
export function showError(error, what) {
  if (error?.name === 'AbortError') return;
  const text = error?.message ? error.message.charAt(0).toUpperCase() + error.message.slice(1) : 'Something went wrong';
  showNotice(what ? `${what}: ${text}` : text, { kind: 'error' });
}

let queue = Promise.resolve();

/** Announces a text to screen readers, one after another. */
export function announce(text) {
  queue = queue.then(
    () =>
      new Promise((resolve) => {
        document.getElementById('spoken').textContent = text;
        setTimeout(resolve, 700);
      }),
  );
}
