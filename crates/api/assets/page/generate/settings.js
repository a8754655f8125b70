// The settings of the form, within the limits of the server.

import { button, radio, segmented } from '../shared/controls.js';
import { fill, h, setText } from '../shared/dom.js';
import { NumberField, PriorityField, SeedField, TimeField } from './fields.js';
import { formatLabel } from '../shared/format.js';
import { server } from '../shared/server.js';

const NUMBERS = {
  width: { label: 'Generation width', shown: 'Width', step: 16 },
  height: { label: 'Generation height', shown: 'Height', step: 16 },
  steps: { label: 'Number of steps', step: 1 },
  guidance: { label: 'Guidance', step: 0.1 },
  content_size: { label: 'Content reference size', unit: 'px', step: 16 },
  quality: { label: 'File quality', step: 1 },
};
const PICTURE_COUNTS = [1, 2, 4, 8];
const CLASS_LABELS = { interactive: 'Now', bulk: 'When idle' };
/** Initial values that the server does not set. */
const INITIAL = { seed: -1, priority: 0, start_by: null, finish_by: null };

export class Settings {
  /** `changed()` is called on every change by the user. */
  constructor(element, changed) {
    this.changed = changed;
    this.numbers = Object.fromEntries(
      Object.entries(NUMBERS).map(([name, kind]) => [
        name,
        new NumberField(name, kind, () => this.changedByHand(name)),
      ]),
    );
    this.fields = {
      ...this.numbers,
      seed: new SeedField(() => this.changedByHand('seed')),
      priority: new PriorityField(() => this.changedByHand('priority')),
      start_by: new TimeField('start_by', 'Start by', () => this.changedByHand('start_by')),
      finish_by: new TimeField('finish_by', 'Finish by', () => this.changedByHand('finish_by')),
    };
    /** The names of the settings that the user changed since the last reset. */
    this.byHand = new Set();
    this.sizes = h('div', { class: 'sizes', role: 'radiogroup', 'aria-label': 'Preset sizes' });
    this.pickSize = segmented(this.sizes, (value) => {
      const [width, height] = value.split('x').map(Number);
      this.numbers.width.set(width);
      this.numbers.height.set(height);
      this.changedByHand('width', 'height');
    });
    this.keepSize = h('input', { type: 'checkbox', id: 'keep_size', onchange: () => this.changedByHand('keep_size') });
    this.keepNote = h('span', { class: 'note' });
    this.swapButton = button('swap-axes', 'Swap width and height', () => this.swapSize());
    this.count = h(
      'div',
      { class: 'segments', role: 'radiogroup', 'aria-labelledby': 'count-label' },
      PICTURE_COUNTS.map((count) => radio(count, String(count))),
    );
    this.pickCount = segmented(
      this.count,
      (value) => ((this.pictures = Number(value)), this.changedByHand('pictures')),
    );
    this.classes = h('div', { class: 'segments', role: 'radiogroup', 'aria-labelledby': 'class-label' });
    this.pickClass = segmented(this.classes, (value) => ((this.class = value), this.changedByHand('class')));
    this.formats = h('div', { class: 'segments', role: 'radiogroup', 'aria-labelledby': 'format-label' });
    this.pickFormat = segmented(this.formats, (value) => ((this.format = value), this.changedByHand('format')));
    this.moreNote = h('span', { class: 'note' });
    this.hasContent = false;
    fill(element, this.layout());
    this.reset();
  }

  layout() {
    const { width, height, steps, guidance, content_size: contentSize, quality } = this.numbers;
    const { seed, priority, start_by: startBy, finish_by: finishBy } = this.fields;
    const group = (label, id, control) =>
      h('div', { class: 'field' }, h('span', { class: 'label', id }, label), control);
    return [
      h(
        'fieldset',
        { class: 'group size-group' },
        h('legend', {}, 'Generation size'),
        this.sizes,
        h('div', { class: 'pair' }, width.element, this.swapButton, height.element),
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
        h('legend', {}, 'Sampling'),
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
        group('File format', 'format-label', this.formats),
        quality.element,
        group('When', 'class-label', this.classes),
        priority.element,
        startBy.element,
        finishBy.element,
        h('p', { class: 'note' }, 'A job that has not started or finished by these times expires.'),
      ),
    ];
  }

  /** Applies the limits and defaults of the server. */
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
      server.classes.map((name) => radio(name, CLASS_LABELS[name] ?? name)),
    );
    fill(
      this.formats,
      server.formats.map((name) => radio(name, formatLabel(name))),
    );
    for (const [name, value] of Object.entries(INITIAL)) this.fields[name].set(value);
    this.keepSize.checked = false;
    this.pickCount(1, { silent: true });
    this.pictures = 1;
    this.pickClass(server.classes[0], { silent: true });
    this.class = server.classes[0];
    this.pickFormat(server.formats[0], { silent: true });
    this.format = server.formats[0];
    this.updateControls();
  }

  /** Sets the values that `spec` contains. */
  set(spec) {
    for (const [name, field] of Object.entries(this.fields)) {
      // Null clears a time. Any other setting keeps its value if the spec has none.
      if (spec[name] !== undefined && (spec[name] !== null || INITIAL[name] === null)) field.set(spec[name]);
    }
    if (spec.keep_size !== undefined) this.keepSize.checked = Boolean(spec.keep_size);
    if (server.classes.includes(spec.class)) {
      this.class = spec.class;
      this.pickClass(spec.class, { silent: true });
    }
    if (server.formats.includes(spec.format)) {
      this.format = spec.format;
      this.pickFormat(spec.format, { silent: true });
    }
    if (spec.pictures) {
      this.pictures = spec.pictures;
      this.pickCount(spec.pictures, { silent: true });
    }
    this.updateControls();
  }

  /** The values for a request; without a seed if it is to be random. */
  get() {
    const values = Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.get()]));
    if (values.seed < 0) delete values.seed;
    if (!this.hasQuality) delete values.quality;
    const keepSize = this.keepSize.checked && this.hasContent;
    return { ...values, keep_size: keepSize, class: this.class, format: this.format };
  }

  /** Whether files of the chosen format have a quality. */
  get hasQuality() {
    return this.format !== 'png';
  }

  /** The values that the user changed, as entered. */
  get typed() {
    const { format, pictures } = this;
    const others = { keep_size: this.keepSize.checked, class: this.class, pictures, format };
    return Object.fromEntries([...this.byHand].map((name) => [name, others[name] ?? this.fields[name].raw]));
  }

  /** The first field with an invalid value, which now shows its error. */
  firstError() {
    const passed = [this.fields.start_by, this.fields.finish_by].find((field) => field.passed);
    passed?.setError('This time has passed.');
    return passed;
  }

  /** Tells the settings whether there is a content reference. */
  setHasContent(hasContent) {
    this.hasContent = hasContent;
    this.updateControls();
  }

  swapSize() {
    const { width, height } = this.numbers;
    const kept = width.get();
    width.set(height.get());
    height.set(kept);
    this.changedByHand('width', 'height');
  }

  changedByHand(...names) {
    for (const name of names) this.byHand.add(name);
    this.updateControls();
    this.changed();
  }

  /** Enables the controls that apply and updates the notes. */
  updateControls() {
    const { width, height, quality } = this.numbers;
    quality.element.hidden = !this.hasQuality;
    const keeps = this.keepSize.checked && this.hasContent;
    width.enable(!keeps);
    height.enable(!keeps);
    this.swapButton.disabled = keeps;
    this.keepSize.disabled = !this.hasContent;
    this.keepNote.textContent = this.hasContent ? 'Same as the content reference' : 'Needs a content reference';
    setText(this.moreNote, this.changedSettings());
    this.pickSize(keeps ? '' : `${width.get()}x${height.get()}`, { silent: true });
  }

  /** Lists the settings in the closed section that are not at their defaults. */
  changedSettings() {
    const { priority, start_by: startBy, finish_by: finishBy } = this.fields;
    return [
      this.class !== server.classes[0] && (CLASS_LABELS[this.class] ?? this.class).toLowerCase(),
      this.format !== server.formats[0] && formatLabel(this.format),
      priority.get() !== 0 && `priority ${priority.get()}`,
      startBy.raw && 'start by',
      finishBy.raw && 'finish by',
    ]
      .filter(Boolean)
      .join(', ');
  }
}

/** A small rectangle with this aspect ratio. */
function shape(width, height) {
  const box = h('i', { class: 'shape', 'aria-hidden': 'true' });
  const scale = 14 / Math.max(width, height);
  box.style.width = `${Math.round(width * scale)}px`;
  box.style.height = `${Math.round(height * scale)}px`;
  return box;
}
