// The slots for reference pictures: choose, drop, paste, swap, remove.

import { emit } from '../shared/bus.js';
import { button, picture } from '../shared/controls.js';
import { fill, h } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { thumbs } from '../shared/storage.js';
import { prepare, store } from '../shared/pictures.js';
import { announce } from '../shared/notices.js';
import { server } from '../shared/server.js';

const KINDS = [
  { role: 'content', name: 'Content reference', hint: 'Subject or layout', icon: 'subject' },
  { role: 'style', name: 'Style reference', hint: 'Style to apply', icon: 'style' },
  { role: 'style', name: 'Extra style reference', beta: true, hint: 'Blends with the first', icon: 'style' },
  { role: 'style', name: 'Third style reference', beta: true, hint: 'Blends with the others', icon: 'style' },
  { role: 'style', name: 'Fourth style reference', beta: true, hint: 'Blends with the others', icon: 'style' },
];
/** How many slots are shown even if they are empty. */
const MIN_SHOWN = 3;
const SLOT_DRAG_TYPE = 'application/x-uso-slot';
/** The data type of a dragged result; its value is the job id. */
export const JOB_DRAG_TYPE = 'application/x-uso-job';

export class Slots {
  /** `changed()` is called whenever the references change. */
  constructor(element, errors, changed) {
    this.element = element;
    this.changed = changed;
    this.slots = KINDS.map((kind, index) => new Slot(kind, index, this));
    fill(
      element,
      this.slots.map((slot) => slot.element),
    );
    // The errors are below all slots, because a slot is too narrow for a sentence.
    fill(
      errors,
      this.slots.map((slot) => slot.error),
    );
    this.arrange();
  }

  /** Shows as many slots as the server allows; those after the first three only once the slot before is filled. */
  arrange() {
    const styles = server.limits.styles?.[1] ?? 2;
    const used = this.slots.findLastIndex((slot) => slot.reference) + 1;
    this.slots.forEach((slot, index) => {
      slot.element.hidden = index > styles || (index >= MIN_SHOWN && index > used);
    });
  }

  get content() {
    return this.slots[0].source;
  }

  get styles() {
    return this.slots
      .slice(1)
      .map((slot) => slot.source)
      .filter(Boolean);
  }

  get busy() {
    return this.slots.some((slot) => slot.reference && !slot.source);
  }

  /** Resolves when the current uploads have ended, with the slot of one that failed, if any. */
  async uploadsDone() {
    const uploading = this.slots.map((slot) => slot.reference).filter((reference) => reference && !reference.source);
    await Promise.all(uploading.map((reference) => reference.uploaded));
    return uploading.find((reference) => !reference.source)?.slot;
  }

  /** Sets the references of a job, with the thumbnails that this browser has. */
  set(content, styles) {
    this.slots.forEach((slot, index) => {
      const source = index === 0 ? content : styles[index - 1];
      slot.put(source ? { source, thumb: thumbs.get(source), name: source } : null);
    });
  }

  put(role, reference, wanted) {
    const slot = wanted ?? this.slotFor(role);
    slot.put(reference);
    return slot;
  }

  /** Adds dropped or pasted files to `first`, if given, and to the empty slots. */
  addFiles(files, first) {
    const pictures = [...files];
    if (first && pictures.length) first.addFile(pictures.shift());
    for (const file of pictures) {
      const slot = this.slots.find((slot) => !slot.element.hidden && !slot.reference);
      if (!slot) break;
      slot.addFile(file);
    }
  }

  slotFor(role) {
    const candidates = this.slots.filter((slot) => slot.kind.role === role && !slot.element.hidden);
    return candidates.find((slot) => !slot.reference) ?? candidates[0];
  }

  swap(one, other) {
    const kept = one.reference;
    one.show(other.reference);
    other.show(kept);
    announce(`${one.kind.name} and ${other.kind.name.toLowerCase()} swapped`);
  }

  /** The slot of the JSON pointer `/content` or `/styles/1`; an empty slot has no index. */
  slotAt(pointer) {
    if (pointer.startsWith('/content')) return this.slots[0];
    const filled = this.slots.slice(1).filter((slot) => slot.source);
    return filled[Number(pointer.split('/')[2] ?? 0)] ?? this.slots[1];
  }

  /** Uploads the picture of a reference, which may move to another slot meanwhile. */
  async upload(reference, file) {
    const { signal } = reference.stop;
    try {
      const ready = await prepare(file);
      signal.throwIfAborted();
      Object.assign(reference, { thumb: ready.thumb, size: [ready.width, ready.height] });
      reference.slot.show(reference);
      const progress = (part) => reference.slot.showProgress(part);
      const source = await store(ready.blob, ready.type, { signal, progress });
      signal.throwIfAborted();
      thumbs.put(source, ready.thumb);
      reference.source = source;
      reference.slot.show(reference);
      announce(
        `${reference.slot.kind.name}: ${reference.name} is ready${ready.converted ? ' and was converted to PNG' : ''}`,
      );
    } catch (error) {
      if (signal.aborted) return;
      reference.slot.put(null);
      reference.slot.setError(error.message);
    }
  }
}

class Slot {
  constructor(kind, index, all) {
    this.kind = kind;
    this.all = all;
    this.index = index;
    this.reference = null;
    const id = `slot-${index}`;
    this.input = h('input', {
      type: 'file',
      id,
      class: 'visually-hidden',
      accept: 'image/*',
      'aria-describedby': `${id}-error`,
      onchange: () => {
        if (this.input.files[0]) this.addFile(this.input.files[0]);
        this.input.value = '';
      },
    });
    this.area = h('label', { class: 'slot-area', htmlFor: id });
    this.tools = h('div', { class: 'slot-tools' });
    this.error = h('p', { class: 'field-error', id: `${id}-error`, hidden: true });
    this.name = h('span', { class: 'slot-name' }, kind.name, kind.beta && h('span', { class: 'tag' }, 'beta'));
    this.element = h(
      'div',
      { class: 'slot', data: { role: kind.role } },
      this.name,
      h('div', { class: 'slot-box' }, this.input, this.area, this.tools),
    );
    this.listen();
    this.render();
  }

  get source() {
    return this.reference?.source ?? null;
  }

  listen() {
    const { element } = this;
    const over = (on) => element.classList.toggle('over', on);
    element.addEventListener('dragover', (event) => {
      event.preventDefault();
      over(true);
    });
    element.addEventListener('dragleave', (event) => {
      if (!element.contains(event.relatedTarget)) over(false);
    });
    element.addEventListener('drop', (event) => {
      event.preventDefault();
      event.stopPropagation();
      over(false);
      const from = event.dataTransfer.getData(SLOT_DRAG_TYPE);
      const job = event.dataTransfer.getData(JOB_DRAG_TYPE);
      if (job) emit('use-as-reference', { id: job, slot: this });
      else if (from) this.all.swap(this.all.slots[Number(from)], this);
      else this.all.addFiles(event.dataTransfer.files, this);
    });
    element.addEventListener('dragstart', (event) => {
      if (!this.reference) return;
      event.dataTransfer.setData(SLOT_DRAG_TYPE, this.index);
      event.dataTransfer.effectAllowed = 'move';
    });
  }

  /** Shows a picture and uploads it. */
  addFile(file) {
    const reference = { name: file.name || 'Pasted picture', progress: 0, stop: new AbortController() };
    this.setError(null);
    this.put(reference);
    reference.uploaded = this.all.upload(reference, file);
  }

  /** Replaces the reference and cancels the upload of the previous one. */
  put(reference) {
    this.reference?.stop?.abort();
    this.show(reference);
  }

  /** Sets the reference. Every change goes through here, because the whole form depends on it. */
  show(reference) {
    this.reference = reference;
    if (reference) reference.slot = this;
    if (reference?.source) this.setError(null);
    this.render();
    this.all.arrange();
    this.all.changed();
  }

  showProgress(part) {
    this.reference.progress = part;
    const bar = this.area.querySelector('progress');
    if (bar) bar.value = part;
  }

  remove() {
    this.put(null);
    this.setError(null);
    this.input.focus();
    announce(`${this.kind.name} removed`);
  }

  setError(message) {
    this.error.textContent = message ? `${this.kind.name}: ${message.charAt(0).toLowerCase()}${message.slice(1)}` : '';
    this.error.hidden = !message;
    this.element.classList.toggle('invalid', Boolean(message));
    if (message) this.input.setAttribute('aria-invalid', 'true');
    else this.input.removeAttribute('aria-invalid');
  }

  render() {
    const { reference, kind } = this;
    this.element.classList.toggle('filled', Boolean(reference));
    this.element.draggable = Boolean(reference);
    this.input.setAttribute(
      'aria-label',
      reference ? `${kind.name}: ${reference.name}. Choose another picture` : `${kind.name}: choose a picture`,
    );
    if (!reference) {
      fill(this.area, icon(kind.icon), h('span', { class: 'slot-hint' }, kind.hint));
      fill(this.tools);
      return;
    }
    const waiting = !reference.source;
    fill(
      this.area,
      reference.thumb
        ? picture(reference.thumb, '', { draggable: false })
        : h('span', { class: 'slot-hint' }, waiting ? 'Reading…' : 'Stored picture'),
      waiting && h('progress', { max: 1, value: reference.progress, 'aria-label': `Uploading ${reference.name}` }),
    );
    this.area.title = reference.name;
    const next = this.all.slots?.slice(this.index + 1).find((slot) => !slot.element.hidden) ?? this.all.slots?.[0];
    fill(
      this.tools,
      next &&
        button('swap', `Swap ${kind.name.toLowerCase()} with ${next.kind.name.toLowerCase()}`, () =>
          this.all.swap(this, next),
        ),
      button('close', `Remove ${kind.name.toLowerCase()}`, () => this.remove()),
    );
  }
}
