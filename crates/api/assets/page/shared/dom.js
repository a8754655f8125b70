// The few helpers with which every view is built. Nothing here, or anywhere, parses HTML from text.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Makes an element. Keys of `props` that begin with "on" are listeners, `class` and `data` are what
 * they say, a property that the element has is set as such, the rest become attributes.
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'class') element.className = value;
    else if (key === 'data') Object.assign(element.dataset, value);
    else if (key in element && !key.includes('-') && key !== 'list' && key !== 'form') element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...solid(children));
  return element;
}

/** The same for SVG, where everything is an attribute. */
export function s(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...solid(children));
  return element;
}

/** Replaces everything inside `element`. */
export function fill(element, ...children) {
  element.replaceChildren(...solid(children));
  return element;
}

/**
 * The same, but the keyboard stays where it is: on the control that is called as the one before, or where there is
 * none any more on `other`.
 */
export function refill(element, other, ...children) {
  const { activeElement: focused } = document;
  fill(element, ...children);
  if (!focused || focused.isConnected) return;
  const name = (control) => control.ariaLabel ?? control.textContent;
  const same = [...element.querySelectorAll(focused.localName)].find((control) => name(control) === name(focused));
  (same && !same.disabled ? same : other).focus();
}

function solid(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false);
}

/** Sets text only where it differs: assistive technology is told of every change. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Runs `action` once calls have stopped for `ms`. */
export function debounce(ms, action) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(action, ms, ...args);
  };
}

export function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** A random UUID; `crypto.randomUUID` is missing on plain HTTP away from localhost. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Scrolls to an element, without the journey where people do not want motion. */
export function glide(element, block) {
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  element.scrollIntoView({ behavior: still ? 'auto' : 'smooth', block });
}

/** Whether the keyboard is in use for text now. */
export function typing(target) {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches('input, textarea, select'));
}
