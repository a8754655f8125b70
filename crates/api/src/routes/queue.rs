//! `GET /v1/queue`, `GET /v1/dead`: how much there is to do, and what could not be done.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use serde_json::{Value, json};
use uso_queue::{DeadLetter, Depth};

use crate::caller::Caller;
use crate::query::Params;
use crate::{Problem, Shared};

/// Most letters of a page, and how many it has if nothing is asked for.
const MOST: usize = 100;
const USUAL: usize = 20;

/// The queue's own numbers, of all tenants together, and the caller's.
pub(crate) async fn depth(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let queue = &shared.queue;
    let (stats, workers, own) =
        tokio::join!(queue.stats(), queue.workers(), queue.tenant_depth(&caller.tenant));
    let (stats, workers, (queued, running)) = (stats?, workers?, own?);
    let class = |depth: Depth| {
        let Depth { queued, running, delayed, paused, .. } = depth;
        json!({ "queued": queued, "running": running, "delayed": delayed, "paused": paused })
    };
    let body = json!({
        "classes": { "interactive": class(stats.interactive), "bulk": class(stats.bulk) },
        "dead": stats.dead,
        "workers": workers.len(),
        "tenant": { "queued": queued, "running": running },
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
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
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(json!({ "letters": letters, "next": next })))
        .into_response())
}

async fn show(shared: &Shared, letter: &DeadLetter) -> Value {
    let record = match &letter.job {
        // A record that cannot be read is often why the letter is here.
        Some(job) => shared.queue.view(job).await.ok().flatten(),
        None => None,
    };
    json!({
        "id": letter.id.to_string(),
        "job": letter.job,
        "reason": letter.reason,
        "at_ms": letter.id.at_ms(),
        "message": record.and_then(|view| view.error).map(|failure| failure.message),
    })
}
