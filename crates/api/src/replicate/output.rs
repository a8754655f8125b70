//! What a prediction has made: its picture, and the stream that tells of it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::json;
use uso_queue::{EventId, EventKind, JobView, Source, State as JobState};

use super::predictions::describe;
use super::shape::{output_path, progress, progress_line};
use crate::caller::Caller;
use crate::follow::{Follower, Told};
use crate::origin::Origin;
use crate::path::Path;
use crate::routes::events::{answer, come_back};
use crate::routes::jobs::find;
use crate::{Problem, Shared};

/// The picture itself: clients that send a key here follow no redirect to where it lies.
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
        // Nothing is ever written over an output that counts.
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600, immutable")),
    ];
    Ok((StatusCode::OK, headers, bytes).into_response())
}

fn no_such_output() -> Problem {
    let detail = "the prediction has no output of this name";
    Problem::new(StatusCode::NOT_FOUND, "no_such_output", detail)
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
    let story = Story { shared, caller, origin, follower, ready: Vec::new() };
    let events = stream::unfold(Some(story), |story| async move {
        let mut story = story?;
        match story.next().await {
            Some(event) => Some((event, Some(story))),
            None => (!story.follower.is_over()).then(|| (come_back(), None)),
        }
    });
    Ok(answer(events))
}

/// What one client is told of a prediction.
struct Story {
    shared: Arc<Shared>,
    caller: Caller,
    origin: Origin,
    follower: Follower,
    /// What is to be told next, the last first.
    ready: Vec<Event>,
}

impl Story {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Some(event);
            }
            self.ready = match self.follower.next().await? {
                Told::Snapshot(view) if view.state.is_terminal() => self.ending(&view).await?,
                Told::Snapshot(view) => lines(view.last_event, &progress(&view)),
                Told::Event(event) if event.is_terminal() => {
                    let view = self.shared.queue.view(&event.job).await.ok()??;
                    self.ending(&view).await?
                }
                Told::Event(event) => match event.kind {
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
