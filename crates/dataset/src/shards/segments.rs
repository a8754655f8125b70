//! Reads what became of the rows of a shard.

use uso_queue::State;
use uso_store::Store;

use super::place::read_object;
use crate::{Error, Outcome};

/// The outcomes in these segments whose jobs succeeded, by row. An outcome that is in two segments counts once.
///
/// # Errors
/// [`Error::Unreadable`] for a segment that is missing or damaged, and for a row that has two pictures; [`Error::Store`].
pub async fn read_segments(store: &Store, segments: &[String]) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::new();
    for key in segments {
        let unreadable = |reason: String| Error::Unreadable { object: key.clone(), reason };
        let bytes = read_object(store, key).await?.ok_or_else(|| unreadable("it is not there".into()))?;
        let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        for (number, line) in lines {
            let outcome: Outcome = serde_json::from_slice(line)
                .map_err(|error| unreadable(format!("line {}: {error}", number + 1)))?;
            if outcome.state == State::Succeeded {
                outcomes.push(outcome);
            }
        }
    }
    outcomes.sort_by_key(|outcome| (outcome.row, outcome.job));
    outcomes.dedup_by(|a, b| a.row == b.row && a.job == b.job);
    if let Some(double) = outcomes.windows(2).find(|pair| pair[0].row == pair[1].row) {
        let reason =
            format!("row {} has two pictures: of {} and {}", double[0].row, double[0].job, double[1].job);
        return Err(Error::Unreadable { object: segments.join(", "), reason });
    }
    Ok(outcomes)
}
