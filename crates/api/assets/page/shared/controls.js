// Controls that several views use.

import { h } from './dom.js';
import { icon } from './icons.js';

/** A button with an icon, a text, or both. Without `text`, the label is the tooltip and the accessible name. */
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

/** A picture that loads within this time appears at once, without the fade. */
const INSTANT_MS = 400;

/** An image with the class `pixels` if it is small; it loads `other` if `src` fails. */
export function picture(src, alt, { other, ...props } = {}) {
  const image = h('img', { alt, decoding: 'async', ...props });
  const asked = performance.now();
  image.addEventListener('load', () => {
    image.classList.toggle('pixels', Math.max(image.naturalWidth, image.naturalHeight) <= 192);
    image.classList.toggle('instant', performance.now() - asked < INSTANT_MS);
    image.classList.add('loaded');
  });
  image.addEventListener('error', () => {
    if (other && image.getAttribute('src') !== other) image.src = other;
    else image.classList.add('broken');
  });
  image.src = src;
  return image;
}

/** Copies text. Browsers have the clipboard API only with HTTPS or on localhost. */
export async function copyText(text) {
  if (navigator.clipboard && isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = h('textarea', { class: 'visually-hidden', value: text, readOnly: true });
  (document.querySelector('dialog[open]') ?? document.body).append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  if (!copied) throw new Error('the browser does not allow it');
}

/** Adds clicks and arrow keys to a row of radio buttons; returns a function that selects one by its value. */
export function segmented(element, onSelect) {
  const options = () => [...element.querySelectorAll('[role=radio]')];
  const select = (value, { silent } = {}) => {
    for (const option of options()) {
      const on = option.dataset.value === String(value);
      option.setAttribute('aria-checked', on);
      option.tabIndex = on ? 0 : -1;
    }
    if (!options().some((option) => option.tabIndex === 0) && options()[0]) options()[0].tabIndex = 0;
    if (!silent) onSelect(value);
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

/** One button of such a row. */
export function radio(value, ...children) {
  return h(
    'button',
    { type: 'button', role: 'radio', 'aria-checked': 'false', tabIndex: -1, data: { value } },
    ...children,
  );
}
