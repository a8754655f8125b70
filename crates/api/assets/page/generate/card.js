// The card of a job, from its submission to its picture.

import { repeat, copyCurl, download, pictureUrl, resultPath, editInForm, useAsReference } from '../shared/actions.js';
import { emit } from '../shared/bus.js';
import { button, picture } from '../shared/controls.js';
import { fill, h, setText } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { cancelJob, retryJob } from '../shared/jobs.js';
import { ownJobs, thumbs } from '../shared/storage.js';
import { showError, announce } from '../shared/notices.js';
import { previewOf } from '../shared/pictures.js';
import { JOB_DRAG_TYPE } from './slots.js';
import { withdraw } from '../shared/submit.js';
import { duration, ended, jobTitle, statusText, stateLabel } from '../shared/format.js';

/** Limits of the aspect ratio of a card. */
const MIN_RATIO = 0.75;
const MAX_RATIO = 1.8;

export class Card {
  /** `dismiss(card)` removes the card from the page. */
  constructor(job, dismiss) {
    this.dismiss = dismiss;
    this.frame = h('div', { class: 'frame' });
    this.preview = null;
    this.shownPreviews = 0;
    // A job that ran before this page was open may have a preview, although no event announced it.
    this.previewUnknown = job.state === 'running';
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
    setText(this.status, job.state === 'succeeded' ? this.summary() : statusText(job));
    this.updateShape();
    this.updateProgress();
    if (before?.state !== job.state) {
      this.renderReferences();
      this.renderActions();
      if (before) this.announceChange(before);
    } else if (before.canceling !== job.canceling) {
      this.renderActions();
    }
    this.renderFrame();
  }

  summary() {
    const receipt = this.job.output?.receipt;
    const size = this.job.output ? `${this.job.output.width}×${this.job.output.height}` : '';
    const took = receipt?.device_ms ?? this.job.finished_ms - this.job.started_ms;
    return [size, Number.isFinite(took) && `generated in ${duration(took)}`, `seed ${this.job.spec.seed}`]
      .filter(Boolean)
      .join(' · ');
  }

  updateShape() {
    const { width, height } = this.job.output ?? this.job.spec ?? {};
    if (ended(this.job.state) && !this.job.output) {
      // There is no picture, so the frame has only an icon.
      this.frame.style.aspectRatio = 4;
      return;
    }
    const ratio = width && height ? Math.min(MAX_RATIO, Math.max(MIN_RATIO, width / height)) : 1;
    this.frame.style.aspectRatio = ratio;
  }

  updateProgress() {
    const { job, progress } = this;
    progress.hidden = ended(job.state);
    if (job.state === 'running' && job.of) progress.value = job.step / job.of;
    else progress.removeAttribute('value');
  }

  renderReferences() {
    const sources = [this.job.spec?.content, ...(this.job.spec?.styles ?? [])].filter(Boolean);
    fill(
      this.references,
      sources
        .map((source) => thumbs.get(source))
        .filter(Boolean)
        .map((thumb) => h('img', { src: thumb, alt: '' })),
    );
  }

  renderActions() {
    const { job } = this;
    const run = (action, what) => () => Promise.resolve(action()).catch((error) => showError(error, what));
    switch (job.state) {
      case 'sending':
        fill(
          this.actions,
          button('close', 'Cancel', () => withdraw(job.key), { text: true, class: 'quiet' }),
        );
        break;
      case 'queued':
      case 'running':
        fill(
          this.actions,
          button(
            'stop',
            job.canceling ? 'Canceling' : 'Cancel',
            run(() => cancelJob(job.id), 'The job was not canceled'),
            { text: true, class: 'quiet', disabled: Boolean(job.canceling) },
          ),
        );
        break;
      case 'succeeded':
        fill(
          this.actions,
          button('download', 'Download', () => download(job)),
          button('subject', 'Use as content', () => useAsReference('content', job)),
          button('style', 'Use as style', () => useAsReference('style', job)),
          button('again', 'Repeat with another seed', () => repeat(job)),
          button('terminal', 'Copy as curl', () => copyCurl(job)),
          h('span', { class: 'spacer' }),
          button('close', 'Remove from this page', () => this.remove()),
        );
        break;
      default:
        fill(
          this.actions,
          button(
            'again',
            'Retry',
            run(() => retryJob(job.id), 'The job was not retried'),
            { text: true, class: 'quiet' },
          ),
          button('edit', 'Edit', () => editInForm(job), { text: true, class: 'quiet', title: 'Edit in the form' }),
          h('span', { class: 'spacer' }),
          button('close', 'Remove from this page', () => this.remove()),
        );
    }
  }

  remove() {
    ownJobs.remove(this.job.id);
    this.dismiss(this);
  }

  renderFrame() {
    const { job } = this;
    if (job.state === 'succeeded') {
      if (this.result !== job.id) this.renderResult();
      return;
    }
    if (job.state === 'running') {
      if (job.previews !== this.shownPreviews || this.previewUnknown) this.renderPreview();
      this.previewUnknown = false;
      if (this.preview) return;
    }
    if (this.shownState === job.state && !this.preview) return;
    this.shownState = job.state;
    if (ended(job.state)) this.preview = null;
    const iconName = { failed: 'warn', expired: 'clock', canceled: 'stop' }[job.state];
    fill(
      this.frame,
      h(
        'div',
        { class: iconName ? 'placeholder' : 'placeholder waiting' },
        iconName ? icon(iconName) : h('span', { class: 'dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')),
      ),
    );
  }

  /** Replaces the preview when the next one is decoded, so that nothing flickers. */
  renderPreview() {
    this.shownPreviews = this.job.previews;
    previewOf(this.job).then(
      (next) => {
        if (this.job.state !== 'running') return;
        fill(this.frame, next);
        this.preview = next;
      },
      // There is no preview yet.
      () => {},
    );
  }

  renderResult() {
    this.result = this.job.id;
    const image = picture(pictureUrl(this.job), jobTitle(this.job.spec), {
      other: resultPath(this.job),
      class: 'result',
    });
    const open = h(
      'button',
      {
        type: 'button',
        class: 'open',
        'aria-label': `Open ${jobTitle(this.job.spec)}`,
        onclick: () => emit('open', { id: this.job.id }),
      },
      image,
    );
    open.addEventListener('dragstart', (event) => event.dataTransfer.setData(JOB_DRAG_TYPE, this.job.id));
    if (this.preview) {
      // Keep the preview below the picture until the picture has loaded.
      const below = this.preview;
      image.addEventListener('load', () => setTimeout(() => below.remove(), 400), { once: true });
      this.frame.append(open);
      this.preview = null;
    } else {
      fill(this.frame, open);
    }
  }

  announceChange(before) {
    const { job } = this;
    if (!ended(job.state) && job.state !== 'running') return;
    if (before.state === 'sending' && ended(job.state)) return;
    announce(
      `${stateLabel(job.state)}: ${jobTitle(job.spec)}${job.state === 'failed' ? `. ${job.error?.message ?? ''}` : ''}`,
    );
  }
}
