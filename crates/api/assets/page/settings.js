// The parameters of a job as controls: a slider beside a number, with the ranges that the server gives.

import { button, radio, segmented } from './controls.js';
import { fill, h } from './dom.js';
import { server } from './server.js';

const NUMBERS = {
  width: { label: 'Generation width', shown: 'Width', step: 16 },
  height: { label: 'Generation height', shown: 'Height', step: 16 },
  steps: { label: 'Number of steps', step: 1 },
  guidance: { label: 'Guidance', step: 0.1 },
  content_size: { label: 'Content reference size', unit: 'px', step: 16 },
};
const MOST_SEED = 2 ** 53 - 1;
const COUNTS = [1, 2, 4, 8];

export class Settings {
  /** `changed()` is called on every change by hand. */
  constructor(element, changed) {
    this.changed = changed;
    this.numbers = Object.fromEntries(
      Object.entries(NUMBERS).map(([name, kind]) => [name, new NumberField(name, kind, () => this.touched(name))]),
    );
    this.fields = { ...this.numbers, seed: new SeedField(changed) };
    this.sizes = h('div', { class: 'sizes', role: 'radiogroup', 'aria-label': 'Usual sizes' });
    this.pickSize = segmented(this.sizes, (value) => {
      const [width, height] = value.split('x').map(Number);
      this.numbers.width.set(width);
      this.numbers.height.set(height);
      changed();
    });
    this.keepSize = h('input', { type: 'checkbox', id: 'keep_size', onchange: () => (this.reflect(), changed()) });
    this.keepNote = h('span', { class: 'note' });
    this.turn = button('turn', 'Swap width and height', () => this.turnSize());
    this.count = h(
      'div',
      { class: 'segments', role: 'radiogroup', 'aria-labelledby': 'count-label' },
      COUNTS.map((count) => radio(count, String(count))),
    );
    this.pickCount = segmented(this.count, (value) => ((this.pictures = Number(value)), changed()));
    this.class = h('div', { class: 'segments', role: 'radiogroup', 'aria-labelledby': 'class-label' });
    this.pickClass = segmented(this.class, (value) => ((this.classValue = value), changed()));
    this.priority = h('input', {
      type: 'number',
      id: 'priority',
      min: -100,
      max: 100,
      step: 1,
      value: 0,
      oninput: changed,
      'aria-describedby': 'priority-error',
    });
    this.hasContent = false;
    fill(element, this.layout());
    this.reset();
  }

  layout() {
    const { width, height, steps, guidance, content_size: contentSize } = this.numbers;
    const group = (label, id, control) =>
      h('div', { class: 'field' }, h('span', { class: 'label', id }, label), control);
    return [
      h(
        'fieldset',
        { class: 'group size-group' },
        h('legend', {}, 'Generation size'),
        this.sizes,
        h('div', { class: 'pair' }, width.element, this.turn, height.element),
        h(
          'label',
          { class: 'check', htmlFor: 'keep_size' },
          this.keepSize,
          h('span', {}, 'Keep input size'),
          this.keepNote,
        ),
      ),
      h(
        'fieldset',
        { class: 'group' },
        h('legend', {}, 'Drawing'),
        steps.element,
        guidance.element,
        this.fields.seed.element,
        group('Pictures', 'count-label', this.count),
      ),
      h(
        'details',
        { class: 'group' },
        h('summary', {}, 'More settings'),
        contentSize.element,
        group('When', 'class-label', this.class),
        h(
          'div',
          { class: 'field number plain-number' },
          h('label', { class: 'label', htmlFor: 'priority' }, 'Priority among your own'),
          this.priority,
          h('p', { class: 'field-error', id: 'priority-error', hidden: true }),
        ),
      ),
    ];
  }

  /** Takes limits and defaults as the server has them now. */
  reset() {
    for (const [name, field] of Object.entries(this.numbers)) field.limit(server.limits[name], server.defaults[name]);
    fill(
      this.sizes,
      server.sizes.map(([width, height]) =>
        radio(`${width}x${height}`, shape(width, height), h('span', {}, `${width}×${height}`)),
      ),
    );
    this.sizes.hidden = server.sizes.length === 0;
    fill(
      this.class,
      server.classes.map((name) => radio(name, name === 'interactive' ? 'Now' : name === 'bulk' ? 'When idle' : name)),
    );
    this.fields.seed.set(-1);
    this.keepSize.checked = false;
    this.priority.value = 0;
    this.pickCount(1, { quiet: true });
    this.pictures = 1;
    this.pickClass(server.classes[0], { quiet: true });
    this.classValue = server.classes[0];
    this.reflect();
  }

  /** Takes what of `spec` is a parameter. */
  set(spec) {
    for (const name of [...Object.keys(this.numbers), 'seed']) {
      if (spec[name] !== undefined && spec[name] !== null) this.fields[name].set(spec[name]);
    }
    if (spec.keep_size !== undefined) this.keepSize.checked = Boolean(spec.keep_size);
    if (server.classes.includes(spec.class)) {
      this.classValue = spec.class;
      this.pickClass(spec.class, { quiet: true });
    }
    if (Number.isFinite(spec.priority)) this.priority.value = spec.priority;
    this.reflect();
  }

  /** What a job asks for; the seed only if it is not left to chance. */
  get() {
    const values = Object.fromEntries(Object.entries(this.numbers).map(([name, field]) => [name, field.get()]));
    const seed = this.fields.seed.get();
    return {
      ...values,
      keep_size: this.keepSize.checked && this.hasContent,
      ...(seed >= 0 ? { seed } : {}),
      class: this.classValue,
      priority: Number(this.priority.value) || 0,
    };
  }

  content(there) {
    this.hasContent = there;
    this.reflect();
  }

  turnSize() {
    const { width, height } = this.numbers;
    const kept = width.get();
    width.set(height.get());
    height.set(kept);
    this.reflect();
    this.changed();
  }

  touched() {
    this.reflect();
    this.changed();
  }

  /** Shows which controls have a say now. */
  reflect() {
    const { width, height } = this.numbers;
    const keeps = this.keepSize.checked && this.hasContent;
    width.enable(!keeps);
    height.enable(!keeps);
    this.turn.disabled = keeps;
    this.keepSize.disabled = !this.hasContent;
    this.keepNote.textContent = this.hasContent ? 'As the content reference' : 'Needs a content reference';
    this.pickSize(keeps ? '' : `${width.get()}x${height.get()}`, { quiet: true });
  }
}

class NumberField {
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
    complain(this.number, this.error, null);
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
    complain(this.number, this.error, null);
    this.paint();
  }

  /** The value within its range and on its step, whatever stands in the box while somebody types. */
  get() {
    const value = this.number.value === '' ? this.fallback : Number(this.number.value);
    const fitting = Math.min(this.most, Math.max(this.least, Number.isFinite(value) ? value : this.fallback));
    return Math.round(Math.floor(fitting / this.step + 1e-6) * this.step * 10) / 10;
  }

  enable(on) {
    this.slider.disabled = this.number.disabled = !on;
  }

  paint() {
    const part = (Number(this.slider.value) - this.least) / (this.most - this.least || 1);
    this.slider.style.setProperty('--part', `${Math.round(part * 1000) / 10}%`);
  }

  complain(message) {
    complain(this.number, this.error, message);
  }
}

class SeedField {
  constructor(changed) {
    this.number = h('input', {
      type: 'number',
      id: 'seed',
      min: -1,
      max: MOST_SEED,
      step: 1,
      inputMode: 'numeric',
      'aria-describedby': 'seed-error seed-note',
      oninput: () => (complain(this.number, this.error, null), changed()),
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
        button('dice', 'A random seed each time', () => (this.set(-1), changed())),
        this.number,
      ),
      this.error,
    );
  }

  set(value) {
    this.number.value = value;
    complain(this.number, this.error, null);
  }

  get() {
    const value = Math.trunc(Number(this.number.value));
    return this.number.value !== '' && Number.isFinite(value) ? Math.min(MOST_SEED, Math.max(-1, value)) : -1;
  }

  complain(message) {
    complain(this.number, this.error, message);
  }
}

/** Shows what is wrong with a control beside it, and tells assistive technology. */
export function complain(control, place, message) {
  place.textContent = message ?? '';
  place.hidden = !message;
  if (message) control.setAttribute('aria-invalid', 'true');
  else control.removeAttribute('aria-invalid');
}

/** A small rectangle of these proportions. */
function shape(width, height) {
  const box = h('i', { class: 'shape', 'aria-hidden': 'true' });
  const scale = 14 / Math.max(width, height);
  box.style.width = `${Math.round(width * scale)}px`;
  box.style.height = `${Math.round(height * scale)}px`;
  return box;
}
