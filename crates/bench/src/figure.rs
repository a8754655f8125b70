//! What a benchmark measures: numbers with a name, a unit and a goal, and how they are measured.

use std::fmt;

use clap::builder::{PossibleValue, PossibleValuesParser};
use futures::future::LocalBoxFuture;
use serde::{Serialize, Serializer};

/// What `--only` selects: one measurement and the rows that it gives. `S` is what the figures of a benchmark share,
/// such as its servers and how much is measured.
pub(crate) struct Figure<S: 'static> {
    /// Its name for `--only`.
    pub(crate) name: &'static str,
    /// What it tells, for `--help`.
    pub(crate) about: &'static str,
    pub(crate) rows: &'static [Row<S>],
    /// Gives one value for each row, in the order of the rows.
    pub(crate) measure: for<'a> fn(&'a S) -> LocalBoxFuture<'a, anyhow::Result<Findings>>,
}

/// One number of a figure, as it stands in the report.
pub(crate) struct Row<S> {
    /// What is measured. Many names say how much of it there was.
    pub(crate) name: fn(&S) -> String,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

/// What a number should be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// At most so far from a value.
    Within {
        by: f64,
        of: f64,
    },
}

/// What was measured.
pub(crate) struct Findings {
    /// A value for each row; none if it could not be measured.
    pub(crate) values: Vec<Option<f64>>,
    /// What the values were made from, for people alone.
    pub(crate) notes: Vec<String>,
}

/// The names of figures, as values of an option.
pub(crate) fn names<S>(figures: &'static [Figure<S>]) -> PossibleValuesParser {
    let name = |figure: &'static Figure<S>| PossibleValue::new(figure.name).help(figure.about);
    figures.iter().map(name).collect::<Vec<_>>().into()
}

impl Goal {
    pub(crate) fn is_met(self, value: f64) -> bool {
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

impl Findings {
    /// A number, or `None`, for each row.
    pub(crate) fn of<V: Into<Option<f64>>>(values: impl IntoIterator<Item = V>) -> Self {
        Self { values: values.into_iter().map(Into::into).collect(), notes: Vec::new() }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// A number as people like it: enough digits, and not more.
pub(crate) fn written(value: f64) -> String {
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
