// Form fields for single parameters. Each has a value and can show an error.

import { button } from '../shared/controls.js';
import { h } from '../shared/dom.js';

const MAX_SEED = 2 ** 53 - 1;

/** A number with a slider, within the limits of the server. */
export class NumberField {
  constructor(name, { label, shown = label, unit, step }, changed) {
    this.step = step;
    const id = name;
    this.slider = h('input', {
      type: 'range',
      step,
      'aria-label': `${label}, slider`,
      tabIndex: -1,
      oninput: () => this.input((this.number.value = this.slider.value)),
    });
    this.number = h('input', {
      type: 'number',
      id,
      step,
      inputMode: step < 1 ? 'decimal' : 'numeric',
      'aria-label': unit ? `${label} in pixels` : label,
      'aria-describedby': `${id}-error`,
      oninput: () => this.input(this.number.value),
      onchange: () => (this.set(this.get()), changed()),
    });
    this.error = h('p', { class: 'field-error', id: `${id}-error`, hidden: true });
    this.element = h(
      'div',
      { class: 'field number' },
      h('label', { class: 'label', htmlFor: id }, shown, unit && h('span', { class: 'unit' }, ` ${unit}`)),
      this.number,
      this.slider,
      this.error,
    );
    this.changed = changed;
  }

  input(value) {
    this.slider.value = value;
    this.paint();
    setError(this.number, this.error, null);
    this.changed();
  }

  limit([least, most], value) {
    for (const control of [this.slider, this.number]) Object.assign(control, { min: least, max: most });
    this.least = least;
    this.most = most;
    this.fallback = value;
    this.set(value);
  }

  set(value) {
    this.number.value = value;
    this.slider.value = value;
    setError(this.number, this.error, null);
    this.paint();
  }

  /** The value, rounded down to a step and within the limits, whatever is entered. */
  get() {
    const value = this.number.value === '' ? this.fallback : Number(this.number.value);
    const fitting = Math.min(this.most, Math.max(this.least, Number.isFinite(value) ? value : this.fallback));
    return Math.round(Math.floor(fitting / this.step + 1e-6) * this.step * 10) / 10;
  }

  /** The text in the input. */
  get raw() {
    return this.number.value;
  }

  get control() {
    return this.number;
  }

  enable(on) {
    this.slider.disabled = this.number.disabled = !on;
  }

  paint() {
    const part = (Number(this.slider.value) - this.least) / (this.most - this.least || 1);
    this.slider.style.setProperty('--filled', `${Math.round(part * 1000) / 10}%`);
  }

  setError(message) {
    setError(this.number, this.error, message);
  }
}

/** A seed; -1 for a random one. */
export class SeedField {
  constructor(changed) {
    this.number = h('input', {
      type: 'number',
      id: 'seed',
      min: -1,
      max: MAX_SEED,
      step: 1,
      inputMode: 'numeric',
      'aria-describedby': 'seed-error seed-note',
      oninput: () => (setError(this.number, this.error, null), changed()),
    });
    this.error = h('p', { class: 'field-error', id: 'seed-error', hidden: true });
    this.element = h(
      'div',
      { class: 'field number seed' },
      h(
        'label',
        { class: 'label', htmlFor: 'seed' },
        'Seed',
        h('span', { class: 'unit', id: 'seed-note' }, ' -1 is random'),
      ),
      h(
        'span',
        { class: 'seed-box' },
        button('dice', 'Use a random seed each time', () => (this.set(-1), changed())),
        this.number,
      ),
      this.error,
    );
  }

  get raw() {
    return this.number.value;
  }

  get control() {
    return this.number;
  }

  set(value) {
    this.number.value = value;
    setError(this.number, this.error, null);
  }

  get() {
    const value = Math.trunc(Number(this.number.value));
    return this.number.value !== '' && Number.isFinite(value) ? Math.min(MAX_SEED, Math.max(-1, value)) : -1;
  }

  setError(message) {
    setError(this.number, this.error, message);
  }
}

/** A labeled input. */
class InputField {
  constructor(name, label, { changed, note, ...props }) {
    this.control = h('input', {
      id: name,
      'aria-describedby': `${name}-error`,
      oninput: () => (this.setError(null), changed()),
      ...props,
    });
    this.error = h('p', { class: 'field-error', id: `${name}-error`, hidden: true });
    this.element = h(
      'div',
      { class: `field number ${props.type === 'datetime-local' ? 'time-field' : ''}` },
      h('label', { class: 'label', htmlFor: name }, label, note && h('span', { class: 'unit' }, ` ${note}`)),
      this.control,
      this.error,
    );
  }

  get raw() {
    return this.control.value;
  }

  setError(message) {
    setError(this.control, this.error, message);
  }
}

/** The priority of a job among the tenant's own jobs. */
export class PriorityField extends InputField {
  constructor(changed) {
    super('priority', 'Priority', {
      changed,
      note: 'among your jobs',
      type: 'number',
      min: -100,
      max: 100,
      step: 1,
    });
  }

  set(value) {
    this.control.value = value;
    this.setError(null);
  }

  get() {
    return Number(this.control.value) || 0;
  }
}

/** A time, shown in the local time zone and sent in UTC. */
export class TimeField extends InputField {
  constructor(name, label, changed) {
    super(name, label, { changed, type: 'datetime-local' });
  }

  /** Sets the time; clears it if it has passed, since a new job cannot use it. */
  set(value) {
    const at = new Date(value ?? NaN);
    const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
    this.control.value = at.getTime() > Date.now() ? local.toISOString().slice(0, 16) : '';
    this.setError(null);
  }

  get() {
    return this.control.value ? new Date(this.control.value).toISOString() : undefined;
  }

  get passed() {
    return Boolean(this.control.value) && new Date(this.control.value) <= new Date();
  }
}

/** Shows an error at a control; null clears it. */
export function setError(control, element, message) {
  element.textContent = message ?? '';
  element.hidden = !message;
  if (message) control.setAttribute('aria-invalid', 'true');
  else control.removeAttribute('aria-invalid');
}
