// The places for reference pictures: choose, drop, paste, swap, remove.

import { ask } from '../shared/bus.js';
import { button, picture } from '../shared/controls.js';
import { fill, h } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { thumbs } from '../shared/storage.js';
import { prepare, store } from '../shared/pictures.js';
import { say } from '../shared/notices.js';
import { server } from '../shared/server.js';

const KINDS = [
  { role: 'content', name: 'Content reference', hint: 'Subject or layout', icon: 'subject' },
  { role: 'style', name: 'Style reference', hint: 'Its look is taken over', icon: 'style' },
  { role: 'style', name: 'Extra style reference', beta: true, hint: 'Blends with the first', icon: 'style' },
  { role: 'style', name: 'Third style reference', beta: true, hint: 'One more to blend', icon: 'style' },
  { role: 'style', name: 'Fourth style reference', beta: true, hint: 'One more to blend', icon: 'style' },
];
/** Shown even when they are empty. */
const ALWAYS = 3;
const DRAGGED = 'application/x-uso-slot';
/** Under which a card gives its job's id to whoever it is dropped on. */
export const DRAGGED_JOB = 'application/x-uso-job';

export class Slots {
  /** `changed()` is called whenever what a job would refer to is another. */
  constructor(element, errors, changed) {
    this.element = element;
    this.changed = changed;
    this.slots = KINDS.map((kind, index) => new Slot(kind, index, this));
    fill(
      element,
      this.slots.map((slot) => slot.element),
    );
    // Below all of them: a slot is too narrow for a sentence.
    fill(
      errors,
      this.slots.map((slot) => slot.error),
    );
    this.arrange();
  }

  /** Shows as many places as the server takes, and those beyond the usual ones only once they can be used. */
  arrange() {
    const styles = server.limits.styles?.[1] ?? 2;
    const used = this.slots.findLastIndex((slot) => slot.reference) + 1;
    this.slots.forEach((slot, index) => {
      slot.element.hidden = index > styles || (index >= ALWAYS && index > used);
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

  /** Resolves once what is on its way to the store now has come to its end, with the slot of a picture that was lost. */
  async settled() {
    const arriving = this.slots.map((slot) => slot.reference).filter((reference) => reference && !reference.source);
    await Promise.all(arriving.map((reference) => reference.arrived));
    return arriving.find((reference) => !reference.source)?.slot;
  }

  /** Takes sources as a job has them, with whatever small pictures this browser knows. */
  set(content, styles) {
    this.slots.forEach((slot, index) => {
      const source = index === 0 ? content : styles[index - 1];
      slot.put(source ? { source, thumb: thumbs.get(source), name: source } : null);
    });
  }

  put(role, reference, wanted) {
    const slot = wanted ?? this.free(role);
    slot.put(reference);
    return slot;
  }

  /** Takes files from a drop or the clipboard: the first empty place first. */
  take(files, first) {
    const pictures = [...files];
    if (first && pictures.length) first.take(pictures.shift());
    for (const file of pictures) {
      const slot = this.slots.find((slot) => !slot.element.hidden && !slot.reference);
      if (!slot) break;
      slot.take(file);
    }
  }

  free(role) {
    const candidates = this.slots.filter((slot) => slot.kind.role === role && !slot.element.hidden);
    return candidates.find((slot) => !slot.reference) ?? candidates[0];
  }

  swap(one, other) {
    const kept = one.reference;
    one.show(other.reference);
    other.show(kept);
    say(`${one.kind.name} and ${other.kind.name.toLowerCase()} swapped`);
  }

  /** The place that `/content` or `/styles/1` points at; empty places do not count. */
  at(pointer) {
    if (pointer.startsWith('/content')) return this.slots[0];
    const filled = this.slots.slice(1).filter((slot) => slot.source);
    return filled[Number(pointer.split('/')[2] ?? 0)] ?? this.slots[1];
  }

  /** Stores a picture that stands in a slot already; it may be moved to another meanwhile. */
  async bring(reference, file) {
    const { signal } = reference.stop;
    try {
      const ready = await prepare(file);
      signal.throwIfAborted();
      Object.assign(reference, { thumb: ready.thumb, size: [ready.width, ready.height] });
      reference.slot.show(reference);
      const progress = (part) => reference.slot.advance(part);
      const source = await store(ready.blob, ready.type, { signal, progress });
      signal.throwIfAborted();
      thumbs.put(source, ready.thumb);
      reference.source = source;
      reference.slot.show(reference);
      say(`${reference.slot.kind.name}: ${reference.name} is ready${ready.converted ? ', turned into PNG' : ''}`);
    } catch (error) {
      if (signal.aborted) return;
      reference.slot.put(null);
      reference.slot.complain(error.message);
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
      class: 'unseen',
      accept: 'image/*',
      'aria-describedby': `${id}-error`,
      onchange: () => {
        if (this.input.files[0]) this.take(this.input.files[0]);
        this.input.value = '';
      },
    });
    this.face = h('label', { class: 'slot-face', htmlFor: id });
    this.tools = h('div', { class: 'slot-tools' });
    this.error = h('p', { class: 'field-error', id: `${id}-error`, hidden: true });
    this.name = h('span', { class: 'slot-name' }, kind.name, kind.beta && h('span', { class: 'tag' }, 'beta'));
    this.element = h(
      'div',
      { class: 'slot', data: { role: kind.role } },
      this.name,
      h('div', { class: 'slot-box' }, this.input, this.face, this.tools),
    );
    this.listen();
    this.draw();
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
      const from = event.dataTransfer.getData(DRAGGED);
      const job = event.dataTransfer.getData(DRAGGED_JOB);
      if (job) ask('take', { id: job, slot: this });
      else if (from) this.all.swap(this.all.slots[Number(from)], this);
      else this.all.take(event.dataTransfer.files, this);
    });
    element.addEventListener('dragstart', (event) => {
      if (!this.reference) return;
      event.dataTransfer.setData(DRAGGED, this.index);
      event.dataTransfer.effectAllowed = 'move';
    });
  }

  /** Checks a file and stores it; the picture is shown at once. */
  take(file) {
    const reference = { name: file.name || 'Pasted picture', progress: 0, stop: new AbortController() };
    this.complain(null);
    this.put(reference);
    reference.arrived = this.all.bring(reference, file);
  }

  /** Puts another reference in the place of the one that is here, whose upload is given up if it is under way. */
  put(reference) {
    this.reference?.stop?.abort();
    this.show(reference);
  }

  /** Every change of a reference, whenever it comes, goes through here: the whole form depends on it. */
  show(reference) {
    this.reference = reference;
    if (reference) reference.slot = this;
    if (reference?.source) this.complain(null);
    this.draw();
    this.all.arrange();
    this.all.changed();
  }

  advance(part) {
    this.reference.progress = part;
    const bar = this.face.querySelector('progress');
    if (bar) bar.value = part;
  }

  remove() {
    this.put(null);
    this.complain(null);
    this.input.focus();
    say(`${this.kind.name} removed`);
  }

  complain(message) {
    this.error.textContent = message ? `${this.kind.name}: ${message.charAt(0).toLowerCase()}${message.slice(1)}` : '';
    this.error.hidden = !message;
    this.element.classList.toggle('wrong', Boolean(message));
    if (message) this.input.setAttribute('aria-invalid', 'true');
    else this.input.removeAttribute('aria-invalid');
  }

  draw() {
    const { reference, kind } = this;
    this.element.classList.toggle('filled', Boolean(reference));
    this.element.draggable = Boolean(reference);
    this.input.setAttribute(
      'aria-label',
      reference ? `${kind.name}: ${reference.name}. Choose another picture` : `${kind.name}: choose a picture`,
    );
    if (!reference) {
      fill(this.face, icon(kind.icon), h('span', { class: 'slot-hint' }, kind.hint));
      fill(this.tools);
      return;
    }
    const waiting = !reference.source;
    fill(
      this.face,
      reference.thumb
        ? picture(reference.thumb, '', { draggable: false })
        : h('span', { class: 'slot-hint' }, waiting ? 'Reading…' : 'Picture in the store'),
      waiting && h('progress', { max: 1, value: reference.progress, 'aria-label': `Uploading ${reference.name}` }),
    );
    this.face.title = reference.name;
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
