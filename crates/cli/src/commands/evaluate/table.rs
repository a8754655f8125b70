//! The table: the paper's columns with what was measured, and the paper's figures beside them.

use std::fmt::Display;

use serde::Serialize;

use super::compare::{Comparison, Role};
use super::kind::TaskKind;
use super::measure::{BUNDLED, Column, Encoder, Measure, PAPER};
use super::published::{OTHERS, Row, USO, note};
use super::scores::{Profiles, Scores};
use crate::commands::print::{Table, safe};

const HEADS: [&str; 7] = ["task", "measure", "pictures", "this run", "floor", "ceiling", "USO, published"];
/// What stands where there is nothing.
const NONE: &str = "-";

/// One line of the table.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) task: TaskKind,
    pub(super) measure: Measure,
    /// Pictures with this score.
    pub(super) pictures: usize,
    /// Their mean.
    pub(super) mean: Option<f64>,
    /// The mean of pictures with references or prompts of others.
    pub(super) floor: Option<f64>,
    /// The mean of references with themselves.
    pub(super) ceiling: Option<f64>,
    /// USO's figure in the paper.
    pub(super) published: Option<f64>,
    /// What must be said beside that figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published_note: Option<&'static str>,
    /// Name of the profile of the scores.
    pub(super) profile: Option<String>,
}

/// The columns that the scorers can fill.
pub(super) fn measured(profiles: &Profiles) -> Vec<Column> {
    let has = |column: &Column| profiles.contains_key(&column.measure.encoder());
    BUNDLED.into_iter().chain(PAPER).filter(has).collect()
}

/// All lines: those of the bundled model's encoder if it is there, then the paper's.
///
/// # Errors
/// If a score is missing.
pub(super) fn lines(
    profiles: &Profiles,
    comparisons: &[Comparison],
    scores: &Scores,
) -> anyhow::Result<Vec<Line>> {
    let bundled = BUNDLED.into_iter().filter(|_| profiles.contains_key(&Encoder::Bundled));
    bundled.chain(PAPER).map(|column| line(column, profiles, comparisons, scores)).collect()
}

fn line(
    column: Column,
    profiles: &Profiles,
    comparisons: &[Comparison],
    scores: &Scores,
) -> anyhow::Result<Line> {
    let mut sums = [(0.0, 0usize); 3];
    for comparison in comparisons.iter().filter(|comparison| comparison.column == column) {
        let (sum, count) = &mut sums[comparison.role as usize];
        *sum += scores.value(profiles, comparison)?;
        *count += 1;
    }
    let mean = |role: Role| {
        let (sum, count) = sums[role as usize];
        (count > 0).then(|| sum / count as f64)
    };
    let place = PAPER.iter().position(|paper| *paper == column);
    Ok(Line {
        task: column.kind,
        measure: column.measure,
        pictures: sums[Role::Own as usize].1,
        mean: mean(Role::Own),
        floor: mean(Role::Floor),
        ceiling: mean(Role::Ceiling),
        published: place.and_then(|place| USO.figures[place]),
        published_note: note(column),
        profile: profiles.get(&column.measure.encoder()).map(|profile| profile.name.clone()),
    })
}

impl Line {
    fn cells(&self) -> [String; 7] {
        let published = match (self.published, self.published_note) {
            (Some(value), Some(note)) => format!("{value:.3} ({note})"),
            (value, _) => figure(value),
        };
        [
            self.task.to_string(),
            self.measure.to_string(),
            self.pictures.to_string(),
            figure(self.mean),
            figure(self.floor),
            figure(self.ceiling),
            published,
        ]
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.into(), |value| format!("{value:.3}"))
}

/// The table for the terminal.
pub(super) fn text(lines: &[Line]) -> String {
    let mut table = Table::new(&HEADS);
    lines.iter().for_each(|line| table.row(line.cells()));
    table.to_string()
}

/// The table as Markdown.
pub(super) fn markdown(lines: &[Line]) -> String {
    markdown_table(&HEADS, lines.iter().map(Line::cells))
}

/// The paper's figures of all models as Markdown.
pub(super) fn markdown_of_paper() -> String {
    let head = |column: &Column| {
        let doubt = note(*column).map(|note| format!(" ({note})")).unwrap_or_default();
        format!("{} {}{doubt}", column.kind, column.measure)
    };
    let heads: Vec<String> = std::iter::once("model".to_owned()).chain(PAPER.iter().map(head)).collect();
    let cells = |row: &Row| -> Vec<String> {
        std::iter::once(row.model.to_owned()).chain(row.figures.map(figure)).collect()
    };
    markdown_table(&heads, OTHERS.iter().chain([&USO]).map(cells))
}

/// A table as Markdown. All cells are escaped.
pub(super) fn markdown_table<C: Display>(
    heads: &[impl Display],
    rows: impl Iterator<Item = impl IntoIterator<Item = C>>,
) -> String {
    let mut text = markdown_row(heads);
    text.push_str(&format!("|{}\n", "---|".repeat(heads.len())));
    rows.for_each(|row| text.push_str(&markdown_row(row)));
    text
}

fn markdown_row<C: Display>(cells: impl IntoIterator<Item = C>) -> String {
    let cells = cells.into_iter().map(|cell| format!(" {} |", safe(&cell.to_string()).replace('|', "\\|")));
    format!("|{}\n", cells.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::measure::Measure;
    use super::*;

    fn lines() -> Vec<Line> {
        let line = |task, measure, mean, published, published_note| Line {
            task,
            measure,
            pictures: 4,
            mean,
            floor: Some(0.25),
            ceiling: Some(1.0),
            published,
            published_note,
            profile: None,
        };
        vec![
            line(TaskKind::Subject, Measure::BundledSubject, Some(0.5), None, None),
            line(
                TaskKind::Subject,
                Measure::ClipI,
                Some(0.61249),
                Some(0.623),
                Some("column order unverified"),
            ),
            Line {
                pictures: 0,
                floor: None,
                ceiling: None,
                ..line(TaskKind::Combined, Measure::Csd, None, Some(0.495), None)
            },
        ]
    }

    #[test]
    fn each_cell_is_in_its_column() {
        let expected = "task      measure              pictures  this run  floor  ceiling  USO, published\n\
                        subject   mini-siglip subject  4         0.500     0.250  1.000    -\n\
                        subject   CLIP-I               4         0.612     0.250  1.000    0.623 (column order unverified)\n\
                        combined  CSD                  0         -         -      -        0.495\n";
        assert_eq!(text(&lines()), expected);
        let markdown = markdown(&lines());
        assert!(markdown.contains("\n|---|---|---|---|---|---|---|\n"), "{markdown}");
        let row = "| subject | CLIP-I | 4 | 0.612 | 0.250 | 1.000 | 0.623 (column order unverified) |\n";
        assert!(markdown.contains(row), "{markdown}");
    }

    #[test]
    fn the_papers_table_has_every_model_and_every_column() {
        let table = markdown_of_paper();
        let uso = "| USO | 0.623 | 0.793 | 0.288 | 0.557 | 0.282 | 0.495 | 0.283 |\n";
        assert!(table.ends_with(uso), "{table}");
        assert!(table.contains(
            "| subject CLIP-I (column order unverified) | subject DINO (column order unverified) |"
        ));
        assert!(table.contains("| StyleID | - | - | - | - | - | 0.407 | 0.230 |"));
        assert_eq!(table.lines().count(), 2 + 15);
    }

    #[test]
    fn cells_cannot_break_the_table() {
        let table = markdown_table(&["a"], [["x|y\nz"]].into_iter());
        assert_eq!(table, "| a |\n|---|\n| x\\|y\\nz |\n");
    }
}
