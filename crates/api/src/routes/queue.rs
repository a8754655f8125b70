//! `GET /v1/queue`, `GET /v1/dead`: the queue's depth, and its dead letters.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::{DeadLetter, Depth, JobId, LetterId, WindowView};

use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::problem::Problem;
use crate::query::Params;
use crate::shared::Shared;

/// Most dead letters of a page, and how many it has by default.
const MOST: usize = 100;
const USUAL: usize = 20;

/// The queue's depth, over all tenants.
#[derive(Serialize, JsonSchema)]
struct QueueDepth {
    classes: ClassDepths,
    /// Dead letters.
    dead: u64,
    /// Workers that run.
    workers: usize,
    tenant: TenantDepth,
    /// The nightly window of bulk jobs; null if they may start at all times.
    window: Option<NightWindow>,
}

/// When bulk jobs of all tenants may start.
#[derive(Serialize, JsonSchema)]
struct NightWindow {
    /// From this time of the day on, as `HH:MM:SS`.
    opens: String,
    /// Until this time.
    closes: String,
    /// By the clocks of this place in the IANA database.
    zone: String,
    /// Whether they may also start outside, as long as no interactive job waits.
    fill: bool,
    /// Whether it is open now.
    is_open: bool,
    /// When it opens next, or has opened, in milliseconds since 1970.
    opens_ms: i64,
    /// When it closes after that.
    closes_ms: i64,
}

impl NightWindow {
    fn of(view: WindowView, now: Timestamp) -> Self {
        let WindowView { window, next_opens, next_closes } = view;
        Self {
            opens: window.opens.to_string(),
            closes: window.closes.to_string(),
            zone: window.zone,
            fill: window.fill,
            is_open: (next_opens..next_closes).contains(&now),
            opens_ms: next_opens.as_millisecond(),
            closes_ms: next_closes.as_millisecond(),
        }
    }
}

/// Jobs by class.
#[derive(Serialize, JsonSchema)]
struct ClassDepths {
    /// Jobs that a user waits for.
    interactive: ClassDepth,
    /// Jobs that may take until later.
    bulk: ClassDepth,
}

/// Jobs of one class.
#[derive(Serialize, JsonSchema)]
struct ClassDepth {
    /// Jobs that wait, delayed ones included.
    queued: u64,
    /// Jobs that workers hold.
    running: u64,
    /// Jobs that wait for a time.
    delayed: u64,
    /// Whether none of them is started for now.
    paused: bool,
}

impl From<Depth> for ClassDepth {
    fn from(Depth { queued, running, delayed, paused, .. }: Depth) -> Self {
        Self { queued, running, delayed, paused }
    }
}

/// The caller's own jobs.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TenantDepth {
    /// Jobs that wait.
    pub(crate) queued: u64,
    /// Jobs that workers hold.
    pub(crate) running: u64,
}

/// A page of dead letters.
#[derive(Serialize, JsonSchema)]
struct LetterPage {
    /// The letters, the newest first.
    letters: Vec<Letter>,
    /// The `cursor` of the next page; none at the end.
    #[schemars(with = "Option<LetterId>")]
    next: Option<String>,
}

/// A dead letter: an entry that could not be read, or a job that no attempt could finish.
#[derive(Serialize, JsonSchema)]
struct Letter {
    /// Its id.
    #[schemars(with = "LetterId")]
    id: String,
    /// The job, if it is known.
    job: Option<JobId>,
    /// Why it is a dead letter.
    reason: String,
    /// When, in milliseconds since 1970.
    at_ms: u64,
    /// The error of the job's last attempt, if its record can be read.
    message: Option<String>,
}

pub(crate) fn depth_operation() -> Operation {
    Operation::new("getQueue", "Get the queue's depth")
        .gives::<QueueDepth>(StatusCode::OK, "The queue's own numbers.", &[])
        .refuses(StatusCode::BAD_REQUEST, &["invalid_parameters"])
}

/// The queue's own numbers, of all tenants together, and the caller's.
pub(crate) async fn depth(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let queue = &shared.queue;
    let (stats, workers, own, window) =
        tokio::join!(queue.stats(), queue.workers(), queue.tenant_depth(&caller.tenant), queue.window());
    let (stats, workers, (queued, running)) = (stats?, workers?, own?);
    let window = window?.map(|view| NightWindow::of(view, Timestamp::now()));
    let body = QueueDepth {
        classes: ClassDepths { interactive: stats.interactive.into(), bulk: stats.bulk.into() },
        dead: stats.dead,
        workers: workers.len(),
        tenant: TenantDepth { queued, running },
        window,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

pub(crate) fn dead_operation() -> Operation {
    Operation::new("listDeadLetters", "List dead letters")
        .says("Those of all tenants: entries that could not be read, and jobs that no attempt could finish.")
        .parameter(parts::limit(MOST, USUAL))
        .parameter(parts::cursor::<LetterId>())
        .gives::<LetterPage>(StatusCode::OK, "A page.", &[])
}

/// Dead letters, the newest first.
pub(crate) async fn dead(State(shared): State<Arc<Shared>>, mut params: Params) -> Result<Response, Problem> {
    let limit = params.number("limit", 1..=MOST, USUAL);
    let cursor = params.given("cursor", "must be the `next` of the page before");
    params.finish()?;
    // One more tells whether there is another page.
    let mut letters = shared.queue.dead_letters_before(cursor, limit + 1).await?;
    let more = letters.len() > limit;
    letters.truncate(limit);
    let next = letters.last().filter(|_| more).map(|letter| letter.id.to_string());
    let letters = join_all(letters.iter().map(|letter| show(&shared, letter))).await;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(LetterPage { letters, next })).into_response())
}

async fn show(shared: &Shared, letter: &DeadLetter) -> Letter {
    let record = match &letter.job {
        // A record that cannot be read is often the reason of a dead letter.
        Some(job) => shared.queue.view(job).await.ok().flatten(),
        None => None,
    };
    Letter {
        id: letter.id.to_string(),
        job: letter.job,
        reason: letter.reason.clone(),
        at_ms: letter.id.at_ms(),
        message: record.and_then(|view| view.error).map(|failure| failure.message),
    }
}
