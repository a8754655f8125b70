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
use uso_dataset::run::{OutcomeFilter, page_of_outcomes};
use uso_queue::{Failure, JobId, State as JobState};

use super::packed::Packed;
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

pub(crate) fn list_operation() -> Operation {
    let ends = JobState::ALL.into_iter().filter(|state| state.is_terminal());
    let states: Vec<&str> = ends.map(JobState::as_str).collect();
    let states = json!({ "type": "string", "enum": states });
    let cursor = json!({ "type": "string", "pattern": CURSOR });
    on_dataset("listRows", "List the rows of a data set that have ended")
        .says("In the order in which they ended, some seconds after. A row that was retried is listed once for each time.")
        .parameter(parts::in_query("state", "Only those in this state.", states))
        .parameter(parts::limit(MOST, USUAL))
        .parameter(parts::in_query("cursor", "The `next` of the page before, with the same filter.", cursor))
        .gives::<OutcomesPage>(StatusCode::OK, "A page.", &[])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
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
    let cursor = params.given("cursor", "must be the `next` of the page before").unwrap_or(Cursor(0, 0));
    params.finish()?;
    let (view, dataset) = find_dataset(&shared, &caller, &id).await?;
    let from = (cursor.0, cursor.1);
    let page = page_of_outcomes(&shared.queue, &shared.store, &view.id, from, limit, &filter).await?;
    let packed = Packed::of(&shared.queue, &view.id, dataset.packed).await?;
    let found = page.outcomes.into_iter().zip(page.segments);
    let rows = found.map(|(outcome, segment)| describe(&shared, outcome, packed.holds(segment)));
    let rows = try_join_all(rows).await?;
    let next = page.next.map(|(segment, line)| Cursor(segment, line).to_string());
    // The links in it are secret while they are valid.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(OutcomesPage { rows, next })).into_response())
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
