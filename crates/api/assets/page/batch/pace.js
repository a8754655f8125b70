// How fast the rows of a data set end, and when the last will have ended.

/** The rate is that of this time. */
const WINDOW_MS = 30_000;
const MAX_POINTS = 450;

/** Collects how many rows had ended at each poll. */
export class Pace {
  polls = [];
  /** `{ at, rate, left }` for the graphs: rows per second and minutes; `left` is null while it is not known. */
  points = [];

  /** Adds a poll at the time `at` in milliseconds: `ended` rows of `total` had ended. */
  add(at, ended, total) {
    // Rows that are retried have not ended any more: count anew from here.
    if (ended < (this.polls.at(-1)?.ended ?? 0)) this.polls = [];
    this.polls = [...this.polls.filter((poll) => at - poll.at <= WINDOW_MS), { at, ended }];
    const left = this.leftMs(total);
    this.points = [...this.points, { at, rate: this.rate, left: left === null ? null : left / 60_000 }];
    this.points = this.points.slice(-MAX_POINTS);
  }

  /** Rows per second; 0 if none has ended lately. */
  get rate() {
    const first = this.polls[0];
    const last = this.polls.at(-1);
    return last && last.at > first.at ? ((last.ended - first.ended) * 1000) / (last.at - first.at) : 0;
  }

  /** Milliseconds until the last of `total` rows has ended; null if that is not known. */
  leftMs(total) {
    const left = total - (this.polls.at(-1)?.ended ?? 0);
    if (left <= 0) return 0;
    return this.rate > 0 ? (left / this.rate) * 1000 : null;
  }
}
