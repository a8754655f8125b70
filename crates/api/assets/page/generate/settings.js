// The parameters of a job as controls, with the ranges that the server gives.

import { button, radio, segmented } from '../shared/controls.js';
import { fill, h, setText } from '../shared/dom.js';
import { NumberField, PriorityField, SeedField, TimeField } from './fields.js';
import { server } from '../shared/server.js';

const NUMBERS = {
  width: { label: 'Generation width', shown: 'Width', step: 16 },
  height: { label: 'Generation height', shown: 'Height', step: 16 },
  steps: { label: 'Number of steps', step: 1 },
  guidance: { label: 'Guidance', step: 0.1 },
  content_size: { label: 'Content reference size', unit: 'px', step: 16 },
};
const COUNTS = [1, 2, 4, 8];
const CLASS_WORDS = { interactive: 'Now', bulk: 'When idle' };
/** What a form begins with where the server has no say. */
const UNSET = { seed: -1, priority: 0, start_by: null, finish_by: null };

export class Settings {
  /** `changed()` is called on every change by hand. */
  constructor(element, changed) {
    this.changed = changed;
    this.numbers = Object.fromEntries(
      Object.entries(NUMBERS).map(([name, kind]) => [name, new NumberField(name, kind, () => this.touched(name))]),
    );
    this.fields = {
      ...this.numbers,
      seed: new SeedField(() => this.touched('seed')),
      priority: new PriorityField(() => this.touched('priority')),
      start_by: new TimeField('start_by', 'Start by', () => this.touched('start_by')),
      finish_by: new TimeField('finish_by', 'Finish by', () => this.touched('finish_by')),
    };
    /** Names of what was changed by hand since the last reset. */
    this.byHand = new Set();
    this.sizes = h('div', { class: 'sizes', role: 'radiogroup', 'aria-label': 'Usual sizes' });
    this.pickSize = segmented(this.sizes, (value) => {
      const [width, height] = value.split('x').map(Number);
      this.numbers.width.set(width);
      this.numbers.height.set(height);
      this.touched('width', 'height');
    });
    this.keepSize = h('input', { type: 'checkbox', id: 'keep_size', onchange: () => this.touched('keep_size') });
    this.keepNote = h('span', { class: 'note' });
    this.turn = button('turn', 'Swap width and height', () => this.turnSize());
    this.count = h(
      'div',
      { class: 'segments', role: 'radiogroup', 'aria-labelledby': 'count-label' },
      COUNTS.map((count) => radio(count, String(count))),
    );
    this.pickCount = segmented(this.count, (value) => ((this.pictures = Number(value)), this.touched('pictures')));
    this.classes = h('div', { class: 'segments', role: 'radiogroup', 'aria-labelledby': 'class-label' });
    this.pickClass = segmented(this.classes, (value) => ((this.class = value), this.touched('class')));
    this.moreNote = h('span', { class: 'note' });
    this.hasContent = false;
    fill(element, this.layout());
    this.reset();
  }

  layout() {
    const { width, height, steps, guidance, content_size: contentSize } = this.numbers;
    const { seed, priority, start_by: startBy, finish_by: finishBy } = this.fields;
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
        seed.element,
        group('Pictures', 'count-label', this.count),
      ),
      h(
        'details',
        { class: 'group' },
        h('summary', {}, 'More settings', this.moreNote),
        contentSize.element,
        group('When', 'class-label', this.classes),
        priority.element,
        startBy.element,
        finishBy.element,
        h('p', { class: 'note' }, 'What is not begun or not done by then ends as too late.'),
      ),
    ];
  }

  /** Takes limits and defaults as the server has them now. */
  reset() {
    this.byHand.clear();
    for (const [name, field] of Object.entries(this.numbers)) field.limit(server.limits[name], server.defaults[name]);
    fill(
      this.sizes,
      server.sizes.map(([width, height]) =>
        radio(`${width}x${height}`, shape(width, height), h('span', {}, `${width}×${height}`)),
      ),
    );
    this.sizes.hidden = server.sizes.length === 0;
    fill(
      this.classes,
      server.classes.map((name) => radio(name, CLASS_WORDS[name] ?? name)),
    );
    for (const [name, value] of Object.entries(UNSET)) this.fields[name].set(value);
    this.keepSize.checked = false;
    this.pickCount(1, { quiet: true });
    this.pictures = 1;
    this.pickClass(server.classes[0], { quiet: true });
    this.class = server.classes[0];
    this.reflect();
  }

  /** Takes what of `spec` is a parameter. */
  set(spec) {
    for (const [name, field] of Object.entries(this.fields)) {
      // Without a time there is none; the rest stays as it is where a spec does not say.
      if (spec[name] !== undefined && (spec[name] !== null || UNSET[name] === null)) field.set(spec[name]);
    }
    if (spec.keep_size !== undefined) this.keepSize.checked = Boolean(spec.keep_size);
    if (server.classes.includes(spec.class)) {
      this.class = spec.class;
      this.pickClass(spec.class, { quiet: true });
    }
    if (spec.pictures) {
      this.pictures = spec.pictures;
      this.pickCount(spec.pictures, { quiet: true });
    }
    this.reflect();
  }

  /** What a job asks for; the seed only if it is not left to chance. */
  get() {
    const values = Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.get()]));
    if (values.seed < 0) delete values.seed;
    return { ...values, keep_size: this.keepSize.checked && this.hasContent, class: this.class };
  }

  /** What somebody has set by hand, as it stands there. */
  get typed() {
    const others = { keep_size: this.keepSize.checked, class: this.class, pictures: this.pictures };
    return Object.fromEntries([...this.byHand].map((name) => [name, others[name] ?? this.fields[name].raw]));
  }

  /** The first field that a job cannot be asked for with, now told so. */
  fault() {
    const passed = [this.fields.start_by, this.fields.finish_by].find((field) => field.passed);
    passed?.complain('This time has passed.');
    return passed;
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
    this.touched('width', 'height');
  }

  touched(...names) {
    for (const name of names) this.byHand.add(name);
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
    setText(this.moreNote, this.unusual());
    this.pickSize(keeps ? '' : `${width.get()}x${height.get()}`, { quiet: true });
  }

  /** What of the settings out of sight is not as usual: they count for the next job all the same. */
  unusual() {
    const { priority, start_by: startBy, finish_by: finishBy } = this.fields;
    return [
      this.class !== server.classes[0] && (CLASS_WORDS[this.class] ?? this.class).toLowerCase(),
      priority.get() !== 0 && `priority ${priority.get()}`,
      startBy.raw && 'start by',
      finishBy.raw && 'finish by',
    ]
      .filter(Boolean)
      .join(', ');
  }
}

/** A small rectangle of these proportions. */
function shape(width, height) {
  const box = h('i', { class: 'shape', 'aria-hidden': 'true' });
  const scale = 14 / Math.max(width, height);
  box.style.width = `${Math.round(width * scale)}px`;
  box.style.height = `${Math.round(height * scale)}px`;
  return box;
}
