//! Sessions of browsers.

use axum::http::StatusCode;
use serde_json::json;

use super::operation::Operation;
use super::parts::SET_COOKIE;
use super::{Table, named};
use crate::routes::session::{self, Session};

pub(super) fn add(table: &mut Table) {
    table.define(
        "SessionRequest",
        json!({
            "description": "The key to log in with.",
            "type": "object",
            "additionalProperties": false,
            "properties": { "key": { "type": "string", "description": "An API key." } },
            "required": ["key"],
        }),
    );
    table.tag("Session", "A browser logs in with a key, and need not keep it.");
    let key = format!("uso_{}_{}", "8".repeat(8), "8".repeat(43));
    let open = Operation::new("openSession", "Log in")
        .takes(named("SessionRequest"), [("A key", json!({ "key": key }))])
        .gives_nothing(StatusCode::NO_CONTENT, "The session is open.", &[SET_COOKIE])
        .refuses(StatusCode::UNAUTHORIZED, &["invalid_key"])
        .refuses(StatusCode::CONFLICT, &["no_keys_needed"])
        .refuses(StatusCode::INTERNAL_SERVER_ERROR, &["internal"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["queue_unavailable", "not_durable"]);
    table.post("/v1/session", session::open, open);
    let show = Operation::new("getSession", "Ask who you are");
    table.get("/v1/session", session::show, show.gives::<Session>(StatusCode::OK, "Who you are.", &[]));
    let close = Operation::new("closeSession", "Log out");
    let close = close.gives_nothing(StatusCode::NO_CONTENT, "The session is over.", &[SET_COOKIE]);
    table.delete("/v1/session", session::close, close);
}
