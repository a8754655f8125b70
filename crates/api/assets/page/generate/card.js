// One job as a card: from the click to the picture.

import { again, copyCurl, download, pictureOf, resultPath, reuse, useAs } from '../shared/actions.js';
import { ask } from '../shared/bus.js';
import { button, picture } from '../shared/controls.js';
import { fill, h, setText } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { cancelJob, retryJob } from '../shared/jobs.js';
import { mine, thumbs } from '../shared/storage.js';
import { complain, say } from '../shared/notices.js';
import { previewOf } from '../shared/pictures.js';
import { DRAGGED_JOB } from './slots.js';
import { withdraw } from '../shared/submit.js';
import { duration, ended, jobTitle, standing, stateWord } from '../shared/format.js';

/** Extreme proportions would make a card a stripe. */
const NARROWEST = 0.75;
const WIDEST = 1.8;

export class Card {
  /** `dismiss()` takes the card away. */
  constructor(job, dismiss) {
    this.dismiss = dismiss;
    this.frame = h('div', { class: 'frame' });
    this.preview = null;
    this.shown = 0;
    // A job that was on its way before this page was opened may have a preview that no event tells of.
    this.late = job.state === 'running';
    this.title = h('h3', { class: 'card-title' });
    this.references = h('div', { class: 'card-references' });
    this.status = h('p', { class: 'card-status' });
    this.progress = h('progress', { max: 1, 'aria-label': 'Progress' });
    this.actions = h('div', { class: 'card-actions' });
    this.element = h(
      'article',
      { class: 'card' },
      this.frame,
      h(
        'div',
        { class: 'card-body' },
        h('div', { class: 'card-head' }, this.title, this.references),
        this.progress,
        this.status,
        this.actions,
      ),
    );
    this.update(job);
  }

  update(job) {
    const before = this.job;
    this.job = job;
    this.element.dataset.state = job.state;
    this.element.dataset.id = job.id;
    setText(this.title, jobTitle(job.spec));
    this.title.title = job.spec?.prompt ?? '';
    setText(this.status, job.state === 'succeeded' ? this.summary() : standing(job));
    this.shape();
    this.bar();
    if (before?.state !== job.state) {
      this.drawReferences();
      this.drawActions();
      if (before) this.tell(before);
    } else if (before.canceling !== job.canceling) {
      this.drawActions();
    }
    this.drawFrame();
  }

  summary() {
    const receipt = this.job.output?.receipt;
    const size = this.job.output ? `${this.job.output.width}×${this.job.output.height}` : '';
    const took = receipt?.device_ms ?? this.job.finished_ms - this.job.started_ms;
    return [size, Number.isFinite(took) && `drawn in ${duration(took)}`, `seed ${this.job.spec.seed}`]
      .filter(Boolean)
      .join(' · ');
  }

  shape() {
    const { width, height } = this.job.output ?? this.job.spec ?? {};
    if (ended(this.job.state) && !this.job.output) {
      // Nothing to see here: no more room than a sign needs.
      this.frame.style.aspectRatio = 4;
      return;
    }
    const ratio = width && height ? Math.min(WIDEST, Math.max(NARROWEST, width / height)) : 1;
    this.frame.style.aspectRatio = ratio;
  }

  bar() {
    const { job, progress } = this;
    progress.hidden = ended(job.state);
    if (job.state === 'running' && job.of) progress.value = job.step / job.of;
    else progress.removeAttribute('value');
  }

  drawReferences() {
    const sources = [this.job.spec?.content, ...(this.job.spec?.styles ?? [])].filter(Boolean);
    fill(
      this.references,
      sources
        .map((source) => thumbs.get(source))
        .filter(Boolean)
        .map((thumb) => h('img', { src: thumb, alt: '' })),
    );
  }

  drawActions() {
    const { job } = this;
    const attempt = (action, what) => () => Promise.resolve(action()).catch((error) => complain(error, what));
    switch (job.state) {
      case 'sending':
        fill(
          this.actions,
          button('close', 'Give up', () => withdraw(job.key), { text: true, class: 'quiet' }),
        );
        break;
      case 'queued':
      case 'running':
        fill(
          this.actions,
          button(
            'stop',
            job.canceling ? 'Canceling' : 'Cancel',
            attempt(() => cancelJob(job.id), 'Not canceled'),
            { text: true, class: 'quiet', disabled: Boolean(job.canceling) },
          ),
        );
        break;
      case 'succeeded':
        fill(
          this.actions,
          button('download', 'Download', () => download(job)),
          button('subject', 'Use as content', () => useAs('content', job)),
          button('style', 'Use as style', () => useAs('style', job)),
          button('again', 'Same again with another seed', () => again(job)),
          button('terminal', 'Copy as curl', () => copyCurl(job)),
          h('span', { class: 'gap' }),
          button('close', 'Take off this page', () => this.away()),
        );
        break;
      default:
        fill(
          this.actions,
          button(
            'again',
            'Try again',
            attempt(() => retryJob(job.id), 'Not repeated'),
            { text: true, class: 'quiet' },
          ),
          button('edit', 'Edit', () => reuse(job), { text: true, class: 'quiet', title: 'Back into the form' }),
          h('span', { class: 'gap' }),
          button('close', 'Take off this page', () => this.away()),
        );
    }
  }

  away() {
    mine.drop(this.job.id);
    this.dismiss(this);
  }

  drawFrame() {
    const { job } = this;
    if (job.state === 'succeeded') {
      if (this.result !== job.id) this.drawResult();
      return;
    }
    if (job.state === 'running') {
      if (job.previews !== this.shown || this.late) this.drawPreview();
      this.late = false;
      if (this.preview) return;
    }
    if (this.face === job.state && !this.preview) return;
    this.face = job.state;
    if (ended(job.state)) this.preview = null;
    const mark = { failed: 'warn', expired: 'clock', canceled: 'stop' }[job.state];
    fill(
      this.frame,
      h(
        'div',
        { class: mark ? 'face' : 'face waiting' },
        mark ? icon(mark) : h('span', { class: 'dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')),
      ),
    );
  }

  /** Exchanges previews only once the next is there, so that nothing flickers. */
  drawPreview() {
    this.shown = this.job.previews;
    previewOf(this.job).then(
      (next) => {
        if (this.job.state !== 'running') return;
        fill(this.frame, next);
        this.preview = next;
      },
      // There is none yet.
      () => {},
    );
  }

  drawResult() {
    this.result = this.job.id;
    const image = picture(pictureOf(this.job), jobTitle(this.job.spec), {
      other: resultPath(this.job),
      class: 'result',
    });
    const open = h(
      'button',
      {
        type: 'button',
        class: 'open',
        'aria-label': `Open ${jobTitle(this.job.spec)}`,
        onclick: () => ask('open', { id: this.job.id }),
      },
      image,
    );
    open.addEventListener('dragstart', (event) => event.dataTransfer.setData(DRAGGED_JOB, this.job.id));
    if (this.preview) {
      // The preview stays under the picture until that is there.
      const below = this.preview;
      image.addEventListener('load', () => setTimeout(() => below.remove(), 400), { once: true });
      this.frame.append(open);
      this.preview = null;
    } else {
      fill(this.frame, open);
    }
  }

  tell(before) {
    const { job } = this;
    if (!ended(job.state) && job.state !== 'running') return;
    if (before.state === 'sending' && ended(job.state)) return;
    say(
      `${stateWord(job.state)}: ${jobTitle(job.spec)}${job.state === 'failed' ? `. ${job.error?.message ?? ''}` : ''}`,
    );
  }
}
