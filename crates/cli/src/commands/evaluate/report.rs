//! `evaluation.json` and `evaluation.md`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use uso_engine::scorers::Profile;

use super::compare::{Comparison, Role};
use super::scores::{Profiles, Scores};
use super::suite::Item;
use super::table::{Line, markdown, markdown_of_paper, markdown_table};
use super::warnings::Engine;
use crate::commands::print::safe;
use crate::commands::save;

/// What is written at the end.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    /// The suite as it was named.
    pub(super) suite: String,
    pub(super) seed: u64,
    pub(super) limit: Option<u32>,
    /// Parameters for items that do not say them.
    pub(super) settings: &'a Value,
    /// Pictures that the suite asks for, equal ones counted once.
    pub(super) pictures: usize,
    /// Of those, how many there are not.
    pub(super) missing: usize,
    pub(super) engines: Vec<MadeBy<'a>>,
    pub(super) profiles: Vec<&'a Profile>,
    pub(super) warnings: &'a [String],
    pub(super) table: &'a [Line],
    pub(super) items: Vec<Value>,
}

/// What made how many pictures.
#[derive(Serialize)]
pub(super) struct MadeBy<'a> {
    #[serde(flatten)]
    pub(super) engine: &'a Engine,
    pub(super) pictures: usize,
}

/// The means of each item.
///
/// # Errors
/// If a score is missing.
pub(super) fn items(
    items: &[Item],
    files: &[Vec<String>],
    profiles: &Profiles,
    comparisons: &[Comparison],
    scores: &Scores,
) -> anyhow::Result<Vec<Value>> {
    let mut sums: BTreeMap<(usize, String), (f64, usize)> = BTreeMap::new();
    for comparison in comparisons.iter().filter(|comparison| comparison.role == Role::Own) {
        if let Some(item) = comparison.item {
            let (sum, count) = sums.entry((item, comparison.column.measure.to_string())).or_default();
            *sum += scores.value(profiles, comparison)?;
            *count += 1;
        }
    }
    let mut means = vec![BTreeMap::new(); items.len()];
    for ((item, measure), (sum, count)) in sums {
        means[item].insert(measure, sum / count as f64);
    }
    let described = items.iter().zip(means).zip(files).map(|((item, scores), files)| {
        json!({
            "file": item.file.display().to_string(),
            "item": item.number,
            "task": item.kind,
            "stem": item.stem,
            "pictures": files,
            "scores": scores,
        })
    });
    Ok(described.collect())
}

impl Report<'_> {
    /// Writes both files.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        save(&folder.join("evaluation.json"), &json)?;
        save(&folder.join("evaluation.md"), self.markdown().as_bytes())
    }

    fn markdown(&self) -> String {
        let rows = self.profiles.iter().map(|profile| {
            let Profile { name, preprocessing, feature, .. } = profile;
            [name, preprocessing, feature]
        });
        let warnings: String = self.warnings.iter().map(|text| format!("- {}\n", safe(text))).collect();
        let made = self.pictures - self.missing;
        let limit = self.limit.map(|limit| format!(", the first {limit} items")).unwrap_or_default();
        format!(
            "# Evaluation\n\n\
             Suite `{}`{limit}; seed {}; {made} of {} pictures; parameters `{}`.\n\n\
             {}\n\
             The floor compares each picture with a reference or prompt of another item, the ceiling each reference with \
             itself. Published figures are those of arXiv 2508.18966, tables 1 and 2.\n\n\
             ## What to know\n\n{warnings}\n\
             ## Scorers\n\n{}\n\
             ## Figures of the paper\n\n{}",
            safe(&self.suite),
            self.seed,
            self.pictures,
            self.settings,
            markdown(self.table),
            markdown_table(&["profile", "prepared by", "feature"], rows),
            markdown_of_paper(),
        )
    }
}
