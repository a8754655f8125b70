//! Index and card of a data set whose shards are committed.

use std::collections::BTreeSet;

use uso_queue::{DatasetTask, DatasetView, Gate, Measure, Queue};
use uso_store::Store;

use super::term::TERM;
use crate::shards::{self, About, Licence, Scorer};
use crate::{Error, Settings};

/// Shards that one call to the queue asks for.
const PAGE: u64 = 200;

/// Writes the index and the card anew.
pub(super) async fn describe(
    queue: &Queue,
    store: &Store,
    task: &DatasetTask,
    view: &DatasetView,
    settings: &Settings,
) -> Result<(), Error> {
    let mut committed = BTreeSet::new();
    let mut first = 0;
    loop {
        let page = queue.dataset_shards(&task.batch, first, PAGE).await?;
        let is_last = (page.len() as u64) < PAGE;
        committed.extend((first..).zip(&page).filter(|(_, shard)| shard.committed.is_some()).map(|(n, _)| n));
        first += page.len() as u32;
        if is_last {
            break;
        }
    }
    let licences = settings.licences.iter();
    let about = About {
        name: if settings.name.is_empty() { view.name.clone() } else { settings.name.clone() },
        licences: licences
            .map(|(name, licence)| Licence { name: name.clone(), licence: licence.clone() })
            .collect(),
        scorers: settings.gate.as_ref().map(scorers).unwrap_or_default(),
        asked: Some(view.sealed),
        split: settings.split.clone(),
    };
    // Another process may have taken over while this one was stopped.
    if !task.renew(TERM).await?.held {
        return Ok(());
    }
    shards::describe(store, &task.batch, &committed, &about).await?;
    task.described(view.packed).await?;
    Ok(())
}

/// The measures of a gate's scorers, each with its threshold. Rows with a gate of their own may differ.
fn scorers(gate: &Gate) -> Vec<Scorer> {
    let measures = Measure::THRESHOLDS.into_iter();
    let given =
        measures.filter(|measure| measure.scorer().is_none_or(|scorer| gate.scorers.contains(&scorer)));
    let scorer = |measure: Measure| Scorer {
        name: measure.as_str().to_owned(),
        least: gate.min.get(&measure).copied(),
        rejected: None,
    };
    given.map(scorer).collect()
}
