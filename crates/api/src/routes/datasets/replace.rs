//! `PUT /v1/batches/{id}/chunks/{number}`: rows of a data set ask for something else.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use uso_dataset::layout;
use uso_dataset::rows::{CHUNK_ROWS, Chunk, Row};
use uso_dataset::run::ChunkEntry;
use uso_queue::{BatchId, FieldError, Kept, Replaced};
use uso_store::hexadecimal_sha256;

use super::add::{check, pointer};
use super::chunks::no_such_chunk;
use super::rows::{MAX_ROWS_BODY, read_rows};
use crate::body::lines::{JSON_LINES, read_lines};
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::path::Path;
use crate::problem::Problem;
use crate::routes::batch_view::find_dataset;
use crate::routes::on_batch::on_dataset;
use crate::shared::Shared;

/// How often it is tried while others change the same chunk, or rows of it begin.
const TRIES: u32 = 20;

/// What became of rows that were to be replaced.
#[derive(Serialize, JsonSchema)]
struct RowsReplaced {
    /// How many of them ask for this now.
    rows: u64,
    /// The others: they stay as they are.
    kept: Vec<KeptRow>,
}

/// A row that cannot be replaced.
#[derive(Serialize, JsonSchema)]
struct KeptRow {
    /// Its key.
    key: String,
    /// Why: it has its picture, it is being made, or the data set had too many passes.
    #[schemars(extend("enum" = ["succeeded", "running", "passes"]))]
    reason: &'static str,
    /// The same as a sentence.
    message: &'static str,
}

/// What became of rows that were to be replaced.
pub(super) enum Replacement {
    /// All but these ask for something else now.
    Done(Vec<(Row, Kept)>),
    /// Something is wrong with some of them, by their lines; nothing was replaced.
    Bad(Vec<FieldError>),
}

/// Why a row stays, as a word and as a sentence.
pub(super) fn why(kept: Kept) -> (&'static str, &'static str) {
    match kept {
        Kept::Succeeded => {
            ("succeeded", "has its picture, which stays: give a row that asks for something else another key")
        }
        Kept::Running => ("running", "is being made now: try again when that has ended"),
        Kept::Passes => ("passes", "has been tried in as many passes as a data set may have"),
    }
}

pub(crate) fn put_operation() -> Operation {
    let says = format!(
        "1 to {CHUNK_ROWS} rows as of `addRows`, each with the `key` of a row of this chunk. A row that waits is canceled; one \
         that is being made or has its picture stays as it is, and is named. Rows that were queued before are queued again \
         with the next start. In a refusal, `/3/steps` is the field `steps` of line 3. It is safe to repeat."
    );
    let number = json!({ "type": "integer", "minimum": 0 });
    let text = json!({ "type": "string", "description": "A JSON object a line.", "minLength": 2 });
    on_dataset("replaceRows", "Replace rows of a data set")
        .says(says)
        .parameter(parts::in_path("number", "The chunk that they are in, from 0.", number))
        .takes_lines(text)
        .gives::<RowsReplaced>(StatusCode::OK, "What became of them.", &[])
        .refuses(StatusCode::NOT_FOUND, &["no_such_chunk"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable", "rows_change"])
}

/// Has rows of a chunk ask for something else.
pub(crate) async fn put(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path((id, number)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<impl Serialize>, Problem> {
    let (view, dataset) = find_dataset(&shared, &caller, &id).await?;
    let number: u32 = number.parse().map_err(|_| no_such_chunk())?;
    let mut lines = read_lines(&headers, body, MAX_ROWS_BODY, &shared.memory).await?;
    let rows = read_rows(&shared, &dataset, std::mem::take(&mut lines.text)).await?;
    let asked = rows.len();
    match replace(&shared, &caller, &view.id, number.into(), rows).await? {
        Replacement::Bad(faults) => Err(Problem::fields(faults)),
        Replacement::Done(kept) => {
            let rows = (asked - kept.len()) as u64;
            let kept = kept.into_iter().map(|(row, kept)| {
                let (reason, message) = why(kept);
                KeptRow { key: row.key, reason, message }
            });
            Ok(Json(RowsReplaced { rows, kept: kept.collect() }))
        }
    }
}

/// Puts another chunk in the place of one, in which these rows ask for something else.
///
/// # Errors
/// That it cannot be found out or done now; it is safe to repeat.
pub(super) async fn replace(
    shared: &Shared,
    caller: &Caller,
    batch: &BatchId,
    number: u64,
    mut rows: Vec<Row>,
) -> Result<Replacement, Problem> {
    let mut faults = check(shared, caller, &mut rows).await?;
    let first = first_row(shared, batch, number).await?.ok_or_else(no_such_chunk)?;
    let mut all_kept = Vec::new();
    for _ in 0..TRIES {
        let there = shared.queue.dataset_chunks(batch, number, 1).await?.pop().ok_or_else(no_such_chunk)?;
        let chunk = fetch(shared, batch, number, &there).await?;
        faults.extend(strangers(&rows, &chunk));
        if !faults.is_empty() {
            return Ok(Replacement::Bad(faults));
        }
        let (chunk, changed) = changed(chunk, &rows);
        if changed.is_empty() {
            return Ok(Replacement::Done(all_kept));
        }
        let text = chunk.write()?;
        let entry = ChunkEntry { rows: chunk.rows().len() as u64, sha256: hexadecimal_sha256(&text) };
        shared.store.put(&layout::chunk(batch, number, &entry.sha256), JSON_LINES, text.into()).await?;
        let told = serde_json::to_string(&entry).map_err(|error| Problem::internal(&error))?;
        let numbers: Vec<u64> = changed.iter().map(|place| first + *place as u64).collect();
        let replaced = shared.queue.replace_chunk(batch, number, &there, &told, &numbers).await?;
        match replaced.ok_or_else(Problem::no_such_dataset)? {
            Replaced::Done => return Ok(Replacement::Done(all_kept)),
            Replaced::Moved => {}
            Replaced::Kept(kept) => {
                let key = |row: u64| Some(chunk.rows().get((row - first) as usize)?.key.as_str());
                let kept: HashMap<&str, Kept> =
                    kept.into_iter().filter_map(|(row, kept)| Some((key(row)?, kept))).collect();
                for row in std::mem::take(&mut rows) {
                    match kept.get(row.key.as_str()) {
                        Some(kept) => all_kept.push((row, *kept)),
                        None => rows.push(row),
                    }
                }
            }
        }
    }
    let detail = "rows of this chunk begin or change all the time; try again";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "rows_change", detail).later(Duration::from_secs(1)))
}

/// The number of a chunk's first row.
async fn first_row(shared: &Shared, batch: &BatchId, number: u64) -> Result<Option<u64>, Problem> {
    let known = shared.datasets.of(batch);
    let mut known = known.lock().await;
    let view = shared.queue.dataset(batch).await?.ok_or_else(Problem::no_such_dataset)?;
    known.refresh(&shared.queue, &shared.store, batch, &view).await?;
    Ok(known.first_row(number as usize))
}

async fn fetch(shared: &Shared, batch: &BatchId, number: u64, entry: &str) -> Result<Chunk, Problem> {
    let entry: ChunkEntry = serde_json::from_str(entry).map_err(|error| Problem::internal(&error))?;
    let key = layout::chunk(batch, number, &entry.sha256);
    Ok(Chunk::read(&key, &shared.store.get(&key).await?)?)
}

/// Rows that are not in the chunk.
fn strangers(rows: &[Row], chunk: &Chunk) -> Vec<FieldError> {
    let keys: HashSet<&str> = chunk.rows().iter().map(|row| row.key.as_str()).collect();
    let strange = rows.iter().filter(|row| !keys.contains(row.key.as_str()));
    strange
        .map(|row| FieldError {
            pointer: pointer(row) + "/key",
            code: "no_such_row",
            message: format!("the chunk has no row {}", row.key),
        })
        .collect()
}

/// The chunk in which these rows have taken the places of those with the same keys, and the places of those that differ.
fn changed(chunk: Chunk, rows: &[Row]) -> (Chunk, Vec<usize>) {
    let by_key: HashMap<&str, &Row> = rows.iter().map(|row| (row.key.as_str(), row)).collect();
    let mut changed = Vec::new();
    let mut all = chunk.into_rows();
    for (place, there) in all.iter_mut().enumerate() {
        if let Some(row) = by_key.get(there.key.as_str()).filter(|row| row.digest != there.digest) {
            *there = Row { line: there.line, ..(*row).clone() };
            changed.push(place);
        }
    }
    (Chunk::from(all), changed)
}
