//! A prediction's output: its picture, and its stream of events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::{Value, json};
use uso_queue::{EventId, EventKind, Format, JobView, Source, State as JobState};

use super::predictions::{describe, on_prediction};
use super::shape::{output_path, progress, progress_line};
use crate::caller::Caller;
use crate::follow::{Follower, JobUpdate};
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::openapi::schema::reference;
use crate::origin::Origin;
use crate::path::Path;
use crate::problem::Problem;
use crate::routes::job_view::find;
use crate::shared::Shared;
use crate::sse::{answer, retry_event};

pub(crate) fn picture_operation() -> Operation {
    let name = json!({ "type": "string", "examples": ["0.png", "0.jpg", "0.webp"] });
    on_prediction("getPredictionOutput", "Fetch the picture")
        .says("The links in predictions are signed: they need no key for an hour, or until the key that they were made for ends.")
        .parameter(parts::in_path("name", "Which picture.", name))
        .gives_one_of(&Format::ALL.map(Format::media_type), json!({}), "The picture.")
        .refuses(StatusCode::NOT_FOUND, &["no_such_output"])
        .refuses(StatusCode::UNAUTHORIZED, &["old_link"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

/// The picture itself, not a redirect: clients that send a key here follow none.
pub(crate) async fn picture(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    let output = view.output.as_ref().filter(|_| output_path(&view).ends_with(&format!("/{name}")));
    let output = output.ok_or_else(no_such_output)?;
    let Ok(Source::S3 { key, .. }) = output.uri.parse() else {
        return Err(uso_queue::Error::Unreadable(format!("output {}", output.uri)).into());
    };
    let bytes = shared.store.get(&key).await?;
    let media_type = HeaderValue::try_from(output.content_type.as_str());
    let headers = [
        (header::CONTENT_TYPE, media_type.unwrap_or(HeaderValue::from_static("application/octet-stream"))),
        // The output of a finished job never changes.
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600, immutable")),
    ];
    Ok((StatusCode::OK, headers, bytes).into_response())
}

fn no_such_output() -> Problem {
    let detail = "the prediction has no output of this name";
    Problem::new(StatusCode::NOT_FOUND, "no_such_output", detail)
}

pub(crate) fn events_operation() -> Operation {
    on_prediction("streamPrediction", "Follow a prediction")
        .says("Server-sent events: `logs` with each step, `output` with the picture's link or `error`, then `done`.")
        .gives_other("text/event-stream", event_schema(), "The prediction's events, until it has ended.")
        .refuses(StatusCode::UNAUTHORIZED, &["old_link"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["stopping"])
}

/// As with other streams, the schema is that of each event.
fn event_schema() -> Value {
    json!({
        "description": "One event of the stream.",
        "type": "object",
        "properties": {
            "id": reference::<EventId>(),
            "event": { "type": "string", "enum": ["logs", "output", "error", "done"] },
            "data": { "description": "A line, a link, a sentence, or JSON for `done`.", "type": "string" },
            "retry": { "type": "integer" },
        },
    })
}

/// A prediction's events: `logs` for each step, `output` with the picture's address or `error`, then `done`.
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    let watch = shared.watches.get(usize::from(view.id.shard())).ok_or_else(Problem::no_such_job)?;
    let follower = Follower::new(watch, &shared.queue, view, None).await?.ok_or_else(Problem::stopping)?;
    let updates = PredictionStream { shared, caller, origin, follower, ready: Vec::new() };
    let events = stream::unfold(Some(updates), |updates| async move {
        let mut updates = updates?;
        match updates.next().await {
            Some(event) => Some((event, Some(updates))),
            None => (!updates.follower.has_ended()).then(|| (retry_event(), None)),
        }
    });
    Ok(answer(events))
}

/// The events of one prediction, for one client.
struct PredictionStream {
    shared: Arc<Shared>,
    caller: Caller,
    origin: Origin,
    follower: Follower,
    /// The next events, the last first.
    ready: Vec<Event>,
}

impl PredictionStream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Some(event);
            }
            self.ready = match self.follower.next().await? {
                JobUpdate::Snapshot(view) if view.state.is_terminal() => self.ending(&view).await?,
                JobUpdate::Snapshot(view) => lines(view.last_event, &progress(&view)),
                JobUpdate::Event(event) if event.is_terminal() => {
                    let view = self.shared.queue.view(&event.job).await.ok()??;
                    self.ending(&view).await?
                }
                JobUpdate::Event(event) => match event.kind {
                    EventKind::Progress { step, of } => lines(event.id, &progress_line(step, of)),
                    _ => Vec::new(),
                },
            };
        }
    }

    async fn ending(&self, view: &JobView) -> Option<Vec<Event>> {
        let prediction = describe(&self.shared, &self.caller, view, &self.origin).await.ok()?;
        let id = view.last_event;
        let (what, reason) = match view.state {
            JobState::Succeeded => (prediction.output.map(|[url]| named(id, "output", &url)), json!({})),
            JobState::Canceled => (None, json!({ "reason": "canceled" })),
            _ => (prediction.error.map(|text| named(id, "error", &text)), json!({ "reason": "error" })),
        };
        Some([Some(named(id, "done", &reason.to_string())), what].into_iter().flatten().collect())
    }
}

fn named(id: EventId, name: &str, data: &str) -> Event {
    Event::default().id(id.to_string()).event(name).data(data)
}

fn lines(id: EventId, text: &str) -> Vec<Event> {
    if text.is_empty() { Vec::new() } else { vec![named(id, "logs", text)] }
}
