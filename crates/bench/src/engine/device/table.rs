//! The table of what was measured.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::client::say;
use crate::figure::written;
use crate::machine::Machine;

/// What a check gives.
pub(super) type Checked = anyhow::Result<Vec<Row>>;

/// All rows, and the machine that they were taken on.
#[derive(Serialize)]
pub(super) struct Table {
    machine: Machine,
    rows: Vec<Row>,
    /// Seconds that it took.
    seconds: f64,
    #[serde(skip)]
    begun: Instant,
    #[serde(skip)]
    limit: Duration,
}

/// One number, beside what the cost model or the plan says.
#[derive(Serialize)]
pub(super) struct Row {
    /// The check that it belongs to.
    check: &'static str,
    what: String,
    /// None if it could not be measured; the note says why.
    measured: Option<f64>,
    unit: &'static str,
    /// What the cost model or the plan expects.
    model: Option<f64>,
    /// The least that the cost model holds for possible.
    floor: Option<f64>,
    /// What it must not exceed.
    most: Option<f64>,
    /// Whether it does not; none without a bound.
    ok: Option<bool>,
    note: String,
}

impl Row {
    pub(super) fn new(what: impl Into<String>, measured: impl Into<Option<f64>>, unit: &'static str) -> Self {
        Self {
            check: "",
            what: what.into(),
            measured: measured.into(),
            unit,
            model: None,
            floor: None,
            most: None,
            ok: None,
            note: String::new(),
        }
    }

    pub(super) fn most(self, most: f64) -> Self {
        let ok = self.measured.is_some_and(|value| value <= most);
        Self { most: Some(most), ok: Some(ok), ..self }
    }

    pub(super) fn model(self, model: impl Into<Option<f64>>, floor: impl Into<Option<f64>>) -> Self {
        Self { model: model.into(), floor: floor.into(), ..self }
    }

    pub(super) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

impl Table {
    pub(super) fn new(machine: Machine, limit: Duration) -> Self {
        Self { machine, rows: Vec::new(), seconds: 0.0, begun: Instant::now(), limit }
    }

    /// What is left of the time.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.begun.elapsed())
    }

    /// Adds the rows of a check. One that could not be made is a row that is not good.
    pub(super) fn add(&mut self, check: &'static str, rows: Checked) {
        let rows = rows.unwrap_or_else(|error| {
            let failed = Row::new("could not be measured", None, "");
            vec![Row { ok: Some(false), ..failed.note(format!("{error:#}")) }]
        });
        for row in &rows {
            tracing::info!("{check}: {row}");
        }
        self.rows.extend(rows.into_iter().map(|row| Row { check, ..row }));
        self.seconds = self.begun.elapsed().as_secs_f64();
    }

    /// Whether nothing is beyond its bound.
    pub(super) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.ok != Some(false))
    }

    /// Says it all on stdout, and writes it to a file if there is to be one.
    pub(super) fn publish(&self, file: Option<&Path>) -> anyhow::Result<()> {
        say(&self.to_string())?;
        match file {
            Some(file) => std::fs::write(file, serde_json::to_vec_pretty(self)?)
                .with_context(|| format!("cannot write {}", file.display())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: Option<f64>| value.map_or("-".to_owned(), written);
        let ok = match self.ok {
            Some(true) => "ok",
            Some(false) => "FAILED",
            None => "",
        };
        let (measured, model, floor) = (value(self.measured), value(self.model), value(self.floor));
        let Self { what, unit, note, .. } = self;
        write!(f, "{what:42} {measured:>10} {model:>10} {floor:>10} {unit:9} {ok:7}{note}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        writeln!(f, "{:8} {:42} {:>10} {:>10} {:>10}", "check", "what", "measured", "model", "at least")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{:8} {row}", row.check))?;
        write!(f, "\n{:.0} s in all, of at most {}", self.seconds, self.limit.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn a_number_that_is_missing_is_within_no_bound() {
        let ok = |measured: Option<f64>| Row::new("x", measured, "s").most(2.0).ok;
        assert_eq!((ok(Some(2.0)), ok(Some(2.1)), ok(None)), (Some(true), Some(false), Some(false)));
        assert_eq!(Row::new("x", 1.0, "s").ok, None);
    }
}
