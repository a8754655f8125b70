//! Server-sent events, as all streams send them.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use uso_queue::{EventId, JobEvent};

use crate::problem::Problem;
use crate::query::Params;

/// Many proxies close a connection that is idle for longer than this.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// When clients reconnect after a process has stopped, in milliseconds: not all at once.
const RECONNECT_AFTER: u64 = 500;
const RECONNECT_WITHIN: u64 = 2000;

/// A stream of events as an answer.
pub(crate) fn answer(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

/// The last event of a process that stops: when to reconnect.
pub(crate) fn retry_event() -> Event {
    Event::default().retry(Duration::from_millis(RECONNECT_AFTER + fastrand::u64(..RECONNECT_WITHIN)))
}

/// An event of a job.
pub(crate) fn event_of(event: &JobEvent) -> Option<Event> {
    let data = serde_json::to_string(event).ok()?;
    Some(Event::default().id(event.id.to_string()).event(event.name()).data(data))
}

/// The event after which a stream starts. An EventSource sends the header when it reconnects; a page that was
/// reloaded can only send the parameter.
pub(crate) fn resume_from(headers: &HeaderMap, mut params: Params) -> Result<Option<EventId>, Problem> {
    let parameter = params.text("after");
    params.finish()?;
    let header =
        headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let read = |text: Option<String>| {
        let id = text.filter(|text| !text.is_empty()).map(|text| text.parse());
        id.transpose().map_err(|_: String| {
            let detail = "Last-Event-ID and ?after= take the id of an event, like 1700000000000-0";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_event_id", detail)
        })
    };
    let (header, parameter) = (read(header)?, read(parameter)?);
    Ok(header.or(parameter))
}
