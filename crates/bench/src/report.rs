//! What was found, for people and for programs.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::client::say;
use crate::figure::{Figure, Goal, written};
use crate::machine::Machine;

/// The figures of one run.
#[derive(Serialize)]
pub(crate) struct Report {
    bench: &'static str,
    machine: Machine,
    rows: Vec<Row>,
    /// What the rows were made from, for people alone.
    #[serde(skip)]
    notes: Vec<String>,
}

/// One number beside its goal.
#[derive(Serialize)]
struct Row {
    figure: String,
    /// None if it could not be measured.
    value: Option<f64>,
    unit: &'static str,
    goal: Goal,
    met: bool,
}

impl Report {
    pub(crate) fn new(bench: &'static str, machine: Machine) -> Self {
        Self { bench, machine, rows: Vec::new(), notes: Vec::new() }
    }

    /// Measures the figures that are named, or all of them if none is, in the order of their table.
    pub(crate) async fn measure<S>(
        mut self,
        figures: &[Figure<S>],
        only: &[String],
        shared: &S,
    ) -> anyhow::Result<Self> {
        for figure in figures {
            if only.is_empty() || only.iter().any(|name| name == figure.name) {
                tracing::info!("measuring {}", figure.name);
                self.add(figure, shared).await?;
            }
        }
        Ok(self)
    }

    /// A value that could not be measured has missed its goal.
    async fn add<S>(&mut self, figure: &Figure<S>, shared: &S) -> anyhow::Result<()> {
        let found = (figure.measure)(shared).await?;
        let (values, rows) = (found.values.len(), figure.rows.len());
        ensure!(values == rows, "{} has {rows} rows and {values} values", figure.name);
        for (row, value) in figure.rows.iter().zip(found.values) {
            let met = value.is_some_and(|value| row.goal.is_met(value));
            self.rows.push(Row { figure: (row.name)(shared), value, unit: row.unit, goal: row.goal, met });
        }
        self.notes.extend(found.notes);
        Ok(())
    }

    /// Says it all on stdout, and writes it to a file if there is to be one.
    pub(crate) fn publish(&self, file: Option<&Path>) -> anyhow::Result<()> {
        say(&self.to_string())?;
        match file {
            Some(file) => std::fs::write(file, serde_json::to_vec_pretty(self)?)
                .with_context(|| format!("cannot write {}", file.display())),
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
