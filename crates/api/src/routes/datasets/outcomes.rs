//! `GET /v1/batches/{id}/rows`: what became of the rows of a data set.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use uso_dataset::Outcome;
use uso_dataset::rows::MAX_ROW_KEY;
use uso_dataset::run::{OutcomeFilter, page_of_outcomes};
use uso_queue::{BatchId, Failure, FieldError, JobId, State as JobState};

use super::known;
use super::packed::Packed;
use super::place::{Place, Segments};
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::path::Path;
use crate::problem::Problem;
use crate::query::Params;
use crate::routes::batch_view::find_dataset;
use crate::routes::job_view::{Picture, picture};
use crate::routes::on_batch::on_dataset;
use crate::shared::Shared;

/// Most rows of a page, and how many it has by default.
const MOST: usize = 100;
const USUAL: usize = 20;
/// Most rows of a data set.
const MOST_ROWS: usize = u32::MAX as usize;
/// How a cursor is written.
const CURSOR: &str = "^[0-9]{1,15}\\.[0-9]{1,15}$";

/// A row that has ended.
#[derive(Serialize, JsonSchema)]
struct RowOutcome {
    /// Its number in the data set, from 0.
    row: u64,
    /// Its key.
    key: String,
    /// Its job.
    job: JobId,
    state: JobState,
    /// Why it failed.
    error: Option<Failure>,
    /// The picture, if it succeeded.
    output: Option<Picture>,
    /// When it ended, in milliseconds since 1970.
    finished_ms: u64,
}

/// A page of rows.
#[derive(Serialize, JsonSchema)]
struct OutcomesPage {
    /// The rows in the order in which they ended; a page may have fewer than `limit` although more follow.
    rows: Vec<RowOutcome>,
    /// The `cursor` of the next page; none if this is the last for now.
    #[schemars(extend("pattern" = CURSOR))]
    next: Option<String>,
    /// Rows of the list before these; null with a `cursor`, and where nobody knows without reading them: for states other
    /// than `succeeded`.
    before: Option<u64>,
    /// Rows of the list for now; null likewise.
    total: Option<u64>,
}

/// A segment, and a line in it.
struct Cursor(u64, u64);

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 15;
            text.parse().ok().filter(|_| plain).ok_or(())
        };
        let (segment, line) = text.split_once('.').ok_or(())?;
        Ok(Self(number(segment)?, number(line)?))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Where a list begins, as the caller says it.
enum Start {
    Cursor(Cursor),
    Skip(u64),
    Row(u64),
    Key(String),
}

/// A row's key, if it can be one.
struct RowKey(String);

impl FromStr for RowKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (text.len() <= MAX_ROW_KEY && text.bytes().all(plain)).then(|| Self(text.to_owned())).ok_or(())
    }
}

pub(crate) fn list_operation() -> Operation {
    let ends = JobState::ALL.into_iter().filter(|state| state.is_terminal());
    let states: Vec<&str> = ends.map(JobState::as_str).collect();
    let states = json!({ "type": "string", "enum": states });
    let cursor = json!({ "type": "string", "pattern": CURSOR });
    let number = json!({ "type": "integer", "minimum": 0, "maximum": MOST_ROWS });
    let key = json!({ "type": "string", "pattern": format!("^[A-Za-z0-9_-]{{1,{MAX_ROW_KEY}}}$") });
    let skip = "Begin behind so many rows of the list. For all rows, and those that `succeeded`.";
    on_dataset("listRows", "List the rows of a data set that have ended")
        .says(
            "In the order in which they ended, some seconds after. A row that was retried is listed once for each time. The list \
             begins at one of `cursor`, `skip`, `from` and `key`, or with the first row.",
        )
        .parameter(parts::in_query("state", "Only those in this state.", states))
        .parameter(parts::limit(MOST, USUAL))
        .parameter(parts::in_query("cursor", "The `next` of the page before, with the same filter.", cursor))
        .parameter(parts::in_query("skip", skip, number.clone()))
        .parameter(parts::in_query("from", "Begin where the row of this number ended, whatever its state.", number))
        .parameter(parts::in_query("key", "The same, for the row with this key.", key))
        .gives::<OutcomesPage>(StatusCode::OK, "A page.", &[])
        .refuses(StatusCode::NOT_FOUND, &["no_such_row"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable", "keys_not_read"])
}

/// What became of rows.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let ends: Vec<_> = JobState::ALL.into_iter().filter(|state| state.is_terminal()).collect();
    let words: Vec<_> = ends.iter().map(|state| (state.as_str(), *state)).collect();
    let filter = OutcomeFilter { state: params.choice("state", &words) };
    let limit = params.number("limit", 1..=MOST, USUAL);
    let start = start(&mut params);
    params.finish()?;
    let (view, dataset) = find_dataset(&shared, &caller, &id).await?;
    let place = place(&shared, (&view.id, dataset.indexed), start?, &filter).await?;
    let most = place.passed + limit;
    let page = page_of_outcomes(&shared.queue, &shared.store, &view.id, place.at, most, &filter).await?;
    let packed = Packed::of(&shared.queue, &view.id, dataset.packed).await?;
    let found = page.outcomes.into_iter().zip(page.segments).skip(place.passed);
    let rows = found.map(|(outcome, segment)| describe(&shared, outcome, packed.holds(segment)));
    let rows = try_join_all(rows).await?;
    let next = page.next.map(|(segment, line)| Cursor(segment, line).to_string());
    let body = OutcomesPage { rows, next, before: place.before, total: place.total };
    // The links in it are secret while they are valid.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Reads where a list is to begin.
fn start(params: &mut Params) -> Result<Start, Problem> {
    let cursor = params.given("cursor", "must be the `next` of the page before").map(Start::Cursor);
    let mut number = |name| {
        let row = params.given::<u32>(name, format!("must be a whole number within 0 to {MOST_ROWS}"));
        row.map(u64::from)
    };
    let (skip, row) = (number("skip").map(Start::Skip), number("from").map(Start::Row));
    let says = format!("a key has 1 to {MAX_ROW_KEY} letters, digits, `_` and `-`");
    let key = params.given("key", says).map(|RowKey(key)| Start::Key(key));
    let named = [("cursor", cursor), ("skip", skip), ("from", row), ("key", key)];
    let mut given = named.into_iter().filter_map(|(name, start)| Some((name, start?)));
    let Some((_, start)) = given.next() else { return Ok(Start::Skip(0)) };
    match given.next() {
        None => Ok(start),
        Some((name, _)) => {
            Err(not_allowed(name, "only one of `cursor`, `skip`, `from` and `key` can be given"))
        }
    }
}

fn not_allowed(name: &str, message: &str) -> Problem {
    let pointer = format!("?{name}");
    Problem::parameters(vec![FieldError { pointer, code: "not_allowed", message: message.into() }])
}

/// Finds where a list begins.
async fn place(
    shared: &Shared,
    (batch, indexed): (&BatchId, u64),
    start: Start,
    filter: &OutcomeFilter,
) -> Result<Place, Problem> {
    let unknown = |at| Place { at, passed: 0, before: None, total: None };
    let is_counted = filter.state.is_none_or(|state| state == JobState::Succeeded);
    let row = match start {
        Start::Cursor(Cursor(segment, line)) => return Ok(unknown((segment, line))),
        Start::Skip(0) if !is_counted => return Ok(unknown((0, 0))),
        Start::Skip(rows) => {
            let place = Segments::of(&shared.queue, batch, filter.state).await?.behind(rows);
            return place.ok_or_else(|| not_allowed("skip", "only for all rows, and with `state=succeeded`"));
        }
        Start::Row(row) => row,
        Start::Key(key) => {
            let Shared { datasets, queue, store, .. } = shared;
            known::row_of_key(datasets, queue, store, batch, &key).await?
        }
    };
    let segments = Segments::of(&shared.queue, batch, filter.state).await?;
    segments.of_row((&shared.queue, &shared.store), batch, indexed, row).await
}

async fn describe(shared: &Shared, outcome: Outcome, is_packed: bool) -> Result<RowOutcome, Problem> {
    let output = match outcome.output {
        Some(output) => Some(picture(shared, output, is_packed).await?),
        None => None,
    };
    Ok(RowOutcome {
        row: outcome.row,
        key: outcome.key,
        job: outcome.job,
        state: outcome.state,
        error: outcome.error,
        output,
        finished_ms: outcome.finished_ms,
    })
}
