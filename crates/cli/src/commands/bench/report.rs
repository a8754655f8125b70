//! What was found, for people and for programs.

use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::machine::Machine;
use crate::commands::{save, say};

/// The figures of one run.
#[derive(Serialize)]
pub(super) struct Report {
    bench: &'static str,
    machine: Machine,
    rows: Vec<Row>,
    /// What the rows were made from, for people alone.
    #[serde(skip)]
    notes: Vec<String>,
}

/// One figure beside its goal.
#[derive(Serialize)]
struct Row {
    figure: String,
    /// None if it could not be measured.
    value: Option<f64>,
    unit: &'static str,
    goal: Goal,
    met: bool,
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// At most so far from a value.
    Within {
        by: f64,
        of: f64,
    },
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Within { by, of } => (value - of).abs() <= by,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::Within { by, of } => write!(f, "within {by} of {of}"),
        }
    }
}

impl Serialize for Goal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Report {
    pub(super) fn new(bench: &'static str, machine: Machine) -> Self {
        Self { bench, machine, rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a figure. One that could not be measured has missed its goal.
    pub(super) fn row(
        &mut self,
        figure: impl Into<String>,
        value: Option<f64>,
        unit: &'static str,
        goal: Goal,
    ) {
        let met = value.is_some_and(|value| goal.is_met(value));
        self.rows.push(Row { figure: figure.into(), value, unit, goal, met });
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Says it all on stdout, and writes it to a file if there is to be one.
    pub(super) fn publish(&self, file: Option<&Path>) -> anyhow::Result<()> {
        say(&self.to_string())?;
        match file {
            Some(file) => save(file, &serde_json::to_vec_pretty(self)?),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        let width = self.rows.iter().map(|row| row.figure.len()).max().unwrap_or_default();
        for row in &self.rows {
            let value = row.value.map_or("not measured".to_owned(), written);
            let met = if row.met { "met" } else { "missed" };
            let Row { figure, unit, goal, .. } = row;
            writeln!(f, "{figure:width$}  {value:>12} {unit:7}  {:20} {met}", goal.to_string())?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

/// A number as people like it: enough digits, and not more.
pub(super) fn written(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Goal;

    #[test]
    fn a_goal_is_met_at_its_edge() {
        assert!(Goal::AtLeast(0.8).is_met(0.8) && !Goal::AtLeast(0.8).is_met(0.799));
        assert!(Goal::AtMost(12.0).is_met(12.0) && !Goal::AtMost(12.0).is_met(12.1));
        let share = Goal::Within { by: 5.0, of: 75.0 };
        assert!(share.is_met(70.0) && share.is_met(80.0) && !share.is_met(80.1) && !share.is_met(69.9));
    }
}
