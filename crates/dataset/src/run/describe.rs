//! Index and card of a data set whose shards are committed.

use std::collections::BTreeSet;

use uso_queue::{DatasetTask, DatasetView, Gate, Measure, Queue};
use uso_store::Store;

use super::term::TERM;
use crate::shards::{self, About, Hashes, Licence, Scorer};
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
    hashes: &mut Hashes,
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
        scorers: scorers(settings.gate.as_ref(), view),
        asked: Some(view.sealed),
        split: settings.split.clone(),
    };
    // Another process may have taken over while this one was stopped.
    if !task.renew(TERM).await?.held {
        return Ok(());
    }
    shards::describe(store, &task.batch, &committed, &about, hashes).await?;
    task.described(view.packed).await?;
    Ok(())
}

/// The measures of the gate's scorers, each with its threshold; and those by which gates of single rows rejected pictures.
fn scorers(gate: Option<&Gate>, view: &DatasetView) -> Vec<Scorer> {
    let is_asked = |measure: Measure| {
        gate.is_some_and(|gate| measure.scorer().is_none_or(|scorer| gate.scorers.contains(&scorer)))
    };
    // Without the outcomes that a version before has archived, it would be too few.
    let is_counted = view.counted == view.archived;
    let scorer = |measure: Measure| {
        let least = gate.and_then(|gate| gate.min.get(&measure).copied());
        let rejected = view.rejected.get(measure.as_str()).copied();
        let is_told = is_counted && (least.is_some() || rejected.is_some());
        let rejected = is_told.then(|| rejected.unwrap_or_default());
        (is_asked(measure) || rejected.is_some()).then(|| Scorer {
            name: measure.as_str().to_owned(),
            least,
            rejected,
        })
    };
    Measure::THRESHOLDS.into_iter().filter_map(scorer).collect()
}
