// Small controls that several views share.

import { h } from './dom.js';
import { icon } from './icons.js';

/** A button with an icon, a text, or both; without `text` the label is for assistive technology and the tooltip. */
export function button(iconName, label, onclick, { text = !iconName, class: className = '', ...props } = {}) {
  return h(
    'button',
    {
      type: 'button',
      class: `${text ? '' : 'icon-only '}${className}`.trim(),
      onclick,
      title: text ? null : label,
      'aria-label': text ? null : label,
      ...props,
    },
    iconName && icon(iconName),
    text && h('span', {}, label),
  );
}

/** A picture that comes within this time is shown at once: fading in would only make it late. */
const SOON_MS = 400;

/** A picture that says when it is small enough to show its pixels, and tries `other` if it fails. */
export function picture(src, alt, { other, ...props } = {}) {
  const image = h('img', { alt, decoding: 'async', ...props });
  const asked = performance.now();
  image.addEventListener('load', () => {
    image.classList.toggle('pixels', image.naturalWidth <= 192);
    image.classList.toggle('soon', performance.now() - asked < SOON_MS);
    image.classList.add('there');
  });
  image.addEventListener('error', () => {
    if (other && image.getAttribute('src') !== other) image.src = other;
    else image.classList.add('broken');
  });
  image.src = src;
  return image;
}

/** Puts text on the clipboard; plain HTTP away from localhost has only the old way. */
export async function copyText(text) {
  if (navigator.clipboard && isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = h('textarea', { class: 'unseen', value: text, readOnly: true });
  (document.querySelector('dialog[open]') ?? document.body).append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error('the browser did not allow copying');
}

/** Wires arrow keys, Home and End over a row of radio-like buttons; gives a function that selects one. */
export function segmented(element, chosen) {
  const options = () => [...element.querySelectorAll('[role=radio]')];
  const select = (value, { quiet } = {}) => {
    for (const option of options()) {
      const on = option.dataset.value === String(value);
      option.setAttribute('aria-checked', on);
      option.tabIndex = on ? 0 : -1;
    }
    if (!options().some((option) => option.tabIndex === 0) && options()[0]) options()[0].tabIndex = 0;
    if (!quiet) chosen(value);
  };
  element.addEventListener('click', ({ target }) => {
    const option = target.closest('[role=radio]');
    if (option) select(option.dataset.value);
  });
  element.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = options();
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus();
    select(next.dataset.value);
  });
  return select;
}

export function radio(value, ...children) {
  return h(
    'button',
    { type: 'button', role: 'radio', 'aria-checked': 'false', tabIndex: -1, data: { value } },
    ...children,
  );
}
