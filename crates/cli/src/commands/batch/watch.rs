//! `uso batch watch`: a live view on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Batches;
use super::progress::Pace;
use super::span::span;
use super::state::DatasetState;
use crate::commands::print::safe;
use crate::commands::say;

/// How often it asks.
const EVERY: Duration = Duration::from_secs(1);
/// How often it prints a line where there is no terminal, if anything has changed.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Batches {
    pub(super) async fn watch(&self, batch: &str) -> anyhow::Result<()> {
        let id = self.id(batch).await?;
        let (begun, mut pace) = (Instant::now(), Pace::default());
        let mut shown = Shown::new(std::io::stderr().is_terminal() && !self.json);
        loop {
            let view = self.client.patiently(async || self.view(&id).await).await?;
            let state = DatasetState::read(&view).context("this batch is no data set")?;
            pace.note(begun.elapsed(), state.ended());
            if state.is_finished() {
                shown.end();
                return self.answer(&view, &super::list::describe(&view)?);
            }
            if !self.json {
                shown.show(&state, &pace)?;
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = tokio::signal::ctrl_c() => {
                    shown.end();
                    return say("no longer watching; the data set goes on");
                }
            }
        }
    }
}

/// How it is shown.
enum Shown {
    Bars(Box<Bars>),
    /// The last line, and when it was printed.
    Lines(Option<(String, Instant)>),
}

struct Bars {
    all: MultiProgress,
    rows: ProgressBar,
    shards: ProgressBar,
    about: ProgressBar,
}

impl Shown {
    fn new(on_terminal: bool) -> Self {
        if !on_terminal {
            return Self::Lines(None);
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let bar = |template: &str| {
            let bar = all.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        };
        let (rows, shards, about) =
            (bar("rows   {wide_bar} {pos}/{len}"), bar("shards {wide_bar} {pos}/{len}"), bar("{msg}"));
        Self::Bars(Box::new(Bars { rows, shards, about, all }))
    }

    fn show(&mut self, state: &DatasetState, pace: &Pace) -> anyhow::Result<()> {
        match self {
            Self::Bars(bars) => {
                bars.rows.set_length(state.started);
                bars.rows.set_position(state.ended());
                bars.shards.set_length(state.shards);
                bars.shards.set_position(state.packed);
                bars.about.set_message(line(state, Some(pace)));
                Ok(())
            }
            Self::Lines(last) => {
                // Without the pace, which changes all the time.
                let what = line(state, None);
                let due = |(text, at): &(String, Instant)| *text != what && at.elapsed() >= LINE_EVERY;
                if last.as_ref().is_none_or(due) {
                    say(&line(state, Some(pace)))?;
                    *last = Some((what, Instant::now()));
                }
                Ok(())
            }
        }
    }

    fn end(&self) {
        if let Self::Bars(bars) = self {
            // A terminal that is gone needs no clearing.
            let _ = bars.all.clear();
        }
    }
}

/// Where the data set is, in a line.
fn line(state: &DatasetState, pace: Option<&Pace>) -> String {
    let DatasetState {
        started, queued, running, succeeded, failed, canceled, expired, packed, shards, ..
    } = state;
    let mut parts = vec![format!("{}/{started} rows ended", state.ended()), format!("{succeeded} pictures")];
    let counts = [
        (failed, "failed"),
        (canceled, "canceled"),
        (expired, "expired"),
        (running, "running"),
        (queued, "queued"),
    ];
    parts.extend(
        counts.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{count} {what}")),
    );
    parts.push(format!("{packed}/{shards} shards packed"));
    if let Some(pace) = pace {
        parts.extend(pace.per_second().map(|rate| format!("{rate:.2} rows/s")));
        let left = pace.seconds_for(started.saturating_sub(state.ended()));
        parts.extend(left.map(|seconds| format!("{} left", span(seconds))));
    }
    parts.push(state.doing());
    safe(&parts.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_is_done_and_how_long_it_takes() {
        let state = DatasetState::read(&json!({
            "counts": { "succeeded": 40, "failed": 2, "running": 1 },
            "dataset": { "name": "a", "rows": 100, "started": 100, "shards": 3, "packed": 1, "held": null },
        }))
        .unwrap();
        let mut pace = Pace::default();
        pace.note(Duration::ZERO, 22);
        pace.note(Duration::from_secs(10), 42);
        assert_eq!(
            line(&state, Some(&pace)),
            "42/100 rows ended, 40 pictures, 2 failed, 1 running, 1/3 shards packed, 2.00 rows/s, 29s left, running"
        );
    }
}
