// Helpers to build the DOM. No script of the page parses HTML from text.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Creates an element. A key of `props` that begins with "on" adds a listener; `class` sets the class name,
 * `data` the data set. A key that the element has as a property sets it; any other key sets an attribute.
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
  element.append(...present(children));
  return element;
}

/** Creates an SVG element; every key sets an attribute. */
export function s(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...present(children));
  return element;
}

/** Replaces the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/**
 * Replaces the children of an element and keeps the keyboard focus: on the new control with the same name, or on
 * `other` if there is none.
 */
export function refill(element, other, ...children) {
  const { activeElement: focused } = document;
  fill(element, ...children);
  if (!focused || focused.isConnected) return;
  const name = (control) => control.ariaLabel ?? control.textContent;
  const same = [...element.querySelectorAll(focused.localName)].find((control) => name(control) === name(focused));
  (same && !same.disabled ? same : other).focus();
}

function present(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false);
}

/** Sets the text if it differs: screen readers announce every change. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Returns a function that runs `action` after `ms` milliseconds without another call. */
export function debounce(ms, action) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(action, ms, ...args);
  };
}

/** Resolves after `ms` milliseconds, or when `signal` aborts. */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** Returns a random UUID. Browsers have `crypto.randomUUID` only with HTTPS or on localhost. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Scrolls to an element, smoothly unless you prefer reduced motion. */
export function scrollToElement(element, block) {
  const reduced = matchMedia('(prefers-reduced-motion: reduce)').matches;
  element.scrollIntoView({ behavior: reduced ? 'auto' : 'smooth', block });
}

/** Whether a key press in this element enters text. */
export function isTextInput(target) {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches('input, textarea, select'));
}
