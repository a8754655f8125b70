//! `PUT /v1/batches/{id}/rows`: rows of a data set, a chunk at a time.

use std::io::Cursor;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use uso_dataset::Settings;
use uso_dataset::rows::{BadRow, CHUNK_ROWS, Checker, Kind, MAX_ROW_KEY, Manifest, Options, Row};
use uso_queue::{DatasetView, FieldError};

use super::add::{Added, add};
use super::fields::fault;
use super::patience::Patience;
use crate::body::MAX_BODY;
use crate::body::lines::read_lines;
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::path::Path;
use crate::problem::Problem;
use crate::query::Params;
use crate::routes::batch_view::find_dataset;
use crate::routes::on_batch::on_dataset;
use crate::shared::Shared;

/// Largest body with rows, in bytes.
pub(super) const MAX_ROWS_BODY: usize = 8 * 1024 * 1024;
/// Faults of one row that are named at most.
const MOST_FAULTS: usize = 20;
/// What JSON numbers hold exactly.
pub(super) const MOST_ROWS: usize = (1 << 53) - 1;

/// How far a data set has come.
#[derive(Serialize, JsonSchema)]
struct RowsAdded {
    /// Rows up to the last one of this request.
    rows: u64,
    /// Whether this request added its rows; else they were there, by an earlier one whose answer was lost or by
    /// somebody else's.
    fresh: bool,
}

pub(crate) fn put_operation() -> Operation {
    let says = format!(
        "1 to {CHUNK_ROWS} rows in at most {MAX_ROWS_BODY} bytes, a JSON object a line of at most {MAX_BODY} bytes: the \
         fields of a `JobRequest` but `webhook`, and a `key` of 1 to {MAX_ROW_KEY} letters, digits, `_` and `-` that no \
         other row has; without one it is made from the row. The class is `bulk` unless a row says otherwise. All rows are \
         added, or none. In a refusal, `/3/steps` is the field `steps` of line 3. It is safe to repeat, and where \
         the queue is slow it waits some seconds for it."
    );
    let from = json!({ "type": "integer", "minimum": 0, "maximum": MOST_ROWS, "default": 0 });
    let text = json!({ "type": "string", "description": "A JSON object a line.", "minLength": 2 });
    on_dataset("addRows", "Add rows to a data set")
        .says(says)
        .parameter(parts::in_query("from", "The rows that the data set has before these.", from))
        .takes_lines(text)
        .gives::<RowsAdded>(StatusCode::OK, "The rows are there.", &[])
        .refuses(StatusCode::CONFLICT, &["rows_moved", "batch_canceled"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

/// Adds rows behind those that are there.
pub(crate) async fn put(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<impl Serialize>, Problem> {
    let from = params.number("from", 0..=MOST_ROWS, 0) as u64;
    params.finish()?;
    let patience = Patience::new();
    let (view, dataset) = loop {
        match find_dataset(&shared, &caller, &id).await {
            Err(refusal) if patience.allows(&refusal).await => {}
            found => break found?,
        }
    };
    if view.canceled {
        return Err(Problem::batch_canceled());
    }
    let mut lines = read_lines(&headers, body, MAX_ROWS_BODY, &shared.memory).await?;
    let rows = read_rows(&shared, &dataset, std::mem::take(&mut lines.text)).await?;
    if view.id.job_of_row(from + rows.len() as u64 - 1, 0).is_none() {
        let message = format!("a data set has at most {} rows", u32::MAX);
        return Err(Problem::fields(vec![fault("?from".into(), "out_of_range", message)]));
    }
    match add(&shared, &caller, &view.id, from, rows).await? {
        Added::Rows { rows, fresh } => Ok(Json(RowsAdded { rows, fresh })),
        Added::Bad(faults) => Err(Problem::fields(faults)),
        Added::Moved(rows) => {
            Err(Problem::rows_moved(rows, format!("the data set has {rows} rows, and other ones than these")))
        }
    }
}

/// The rows of a text, for this data set.
///
/// # Errors
/// All that is wrong with them.
pub(super) async fn read_rows(
    shared: &Shared,
    dataset: &DatasetView,
    text: Vec<u8>,
) -> Result<Vec<Row>, Problem> {
    let split = Settings::read(&dataset.settings)?.split;
    let checker = Checker::new(shared.config.defaults.clone(), Options::default())
        .with_place(Kind::Jsonl.place())
        .with_split(split);
    // Parsing takes too long for a thread that serves others, too.
    let checked = tokio::task::spawn_blocking(move || check(text, checker)).await;
    checked.map_err(|error| Problem::internal(&error))?.map_err(Problem::fields)
}

/// The rows of a text, or all that is wrong with them.
fn check(text: Vec<u8>, mut checker: Checker) -> Result<Vec<Row>, Vec<FieldError>> {
    let long = (1..).zip(text.split(|byte| *byte == b'\n')).filter(|(_, line)| line.len() > MAX_BODY);
    let long = long.map(|(line, _): (u64, _)| {
        fault(format!("/{line}"), "too_long", format!("is longer than {MAX_BODY} bytes"))
    });
    let mut faults: Vec<FieldError> = long.collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let whole = |message: String| vec![fault(String::new(), "out_of_range", message)];
    let mut rows = Vec::new();
    let manifest = Manifest::read("the body", Kind::Jsonl, Cursor::new(text));
    for row in manifest.map_err(|error| whole(error.to_string()))? {
        let row = row.map_err(|error| whole(error.to_string()))?;
        match row.and_then(|row| checker.check(row)) {
            Ok(row) => rows.push(row),
            Err(bad) => faults.extend(faults_of(bad)),
        }
        if rows.len() > CHUNK_ROWS {
            return Err(whole(format!("at most {CHUNK_ROWS} rows are taken at once; send the others next")));
        }
    }
    if faults.is_empty() && rows.is_empty() {
        return Err(whole("there are no rows".into()));
    }
    if faults.is_empty() { Ok(rows) } else { Err(faults) }
}

/// The faults of a row, with its line.
pub(super) fn faults_of(bad: BadRow) -> impl Iterator<Item = FieldError> {
    let BadRow { line, faults } = bad;
    let named = faults.into_iter().take(MOST_FAULTS);
    named.map(move |error| FieldError { pointer: format!("/{line}{}", error.pointer), ..error })
}
