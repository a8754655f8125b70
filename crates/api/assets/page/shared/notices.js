// Words that come and go: notices at the edge of the page, and the region that screen readers listen to.

import { button } from './controls.js';
import { h } from './dom.js';

const SHOWN_MS = 6_000;

/** Shows a notice. With `undo` it carries that button; `gone(undone)` is called once when it goes. */
export function notice(text, { kind = 'info', undo, gone, ms = SHOWN_MS } = {}) {
  const element = h('div', { class: `notice notice-${kind}` }, h('p', {}, text));
  let over = false;
  const end = (undone) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    element.remove();
    gone?.(undone);
  };
  if (undo) element.append(button(null, undo, () => end(true), { class: 'plain strong' }));
  element.append(button('close', 'Dismiss', () => end(false), { class: 'icon-only' }));
  const timer = setTimeout(end, kind === 'error' ? ms * 2 : ms, false);
  document.getElementById('notices').append(element);
  return end;
}

/** What went wrong, in the server's words. */
export function complain(error, what) {
  if (error?.name === 'AbortError') return;
  const text = error?.message ? error.message.charAt(0).toUpperCase() + error.message.slice(1) : 'Something went wrong';
  notice(what ? `${what}: ${text}` : text, { kind: 'error' });
}

let queue = Promise.resolve();

/** Says something to screen readers, one sentence after another. */
export function say(text) {
  queue = queue.then(
    () =>
      new Promise((resolve) => {
        document.getElementById('spoken').textContent = text;
        setTimeout(resolve, 700);
      }),
  );
}
