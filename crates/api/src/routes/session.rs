//! `POST`, `GET` and `DELETE /v1/session`: a browser logs in with a key, sees who it is, and logs out.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};
use uso_queue::{ApiKey, FieldError, KeyScope};

use crate::access::credential::SESSION_COOKIE;
use crate::access::mode::Access;
use crate::access::refusal::Refusal;
use crate::body::{MAX_BODY, read_json};
use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts::SET_COOKIE;
use crate::origin::over_https;
use crate::problem::Problem;
use crate::shared::Shared;

/// How long a session lasts.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// The cookie that pages may read, to repeat it in a header.
const CSRF_COOKIE: &str = "uso_csrf";

/// Who the caller is.
#[derive(Serialize, JsonSchema)]
struct Session {
    /// Whose jobs it submits and sees.
    tenant: String,
    /// What it may do.
    scopes: Vec<KeyScope>,
    /// Whether a key is needed.
    #[schemars(extend("enum" = ["open", "keys"]))]
    auth: &'static str,
    /// Whether the request has a browser's session.
    session: bool,
}

fn request_schema(_: &mut SchemaGenerator) -> Value {
    json!({
        "description": "The key to log in with.",
        "type": "object",
        "additionalProperties": false,
        "properties": { "key": { "type": "string", "description": "An API key." } },
        "required": ["key"],
    })
}

pub(crate) fn open_operation() -> Operation {
    let key = format!("uso_{}_{}", "8".repeat(8), "8".repeat(43));
    Operation::new("openSession", "Log in")
        .takes("SessionRequest", request_schema, [("A key", json!({ "key": key }))])
        .gives_nothing(StatusCode::NO_CONTENT, "The session is open.", &[SET_COOKIE])
        .refuses(StatusCode::UNAUTHORIZED, &["invalid_key"])
        .refuses(StatusCode::CONFLICT, &["no_keys_needed"])
        .refuses(StatusCode::INTERNAL_SERVER_ERROR, &["internal"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["queue_unavailable", "not_durable"])
}

/// Opens a session for a key.
pub(crate) async fn open(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let key = read_key(&read_json(&headers, body, MAX_BODY).await?).map_err(Problem::fields)?;
    if shared.config.access != Access::Keys {
        let detail = "this API needs no key, so you do not have to log in";
        return Err(Problem::new(StatusCode::CONFLICT, "no_keys_needed", detail).into());
    }
    let key: ApiKey = key.parse().map_err(|_| Refusal::invalid_key())?;
    let view = shared.keys.key(&key).await?.ok_or_else(Refusal::invalid_key)?;
    let token = shared.queue.open_session(&view.prefix, LIFE).await.map_err(Problem::from)?;
    let token = token.ok_or_else(Refusal::invalid_key)?;
    tracing::info!(key = view.prefix, tenant = view.tenant, "a browser logged in");
    let life = LIFE.as_secs();
    let secure = if over_https(&headers) { "; Secure" } else { "" };
    let csrf = token.csrf();
    Ok(with_cookies([
        format!(
            "{SESSION_COOKIE}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age={life}{secure}",
            token.expose()
        ),
        format!("{CSRF_COOKIE}={csrf}; SameSite=Strict; Path=/; Max-Age={life}{secure}"),
    ]))
}

pub(crate) fn show_operation() -> Operation {
    let operation = Operation::new("getSession", "Get who you are");
    operation.gives::<Session>(StatusCode::OK, "Who you are.", &[])
}

/// Who the caller is.
pub(crate) async fn show(State(shared): State<Arc<Shared>>, caller: Caller) -> Response {
    let auth = shared.config.access.as_str();
    let body =
        Session { session: caller.session.is_some(), tenant: caller.tenant, scopes: caller.scopes, auth };
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

pub(crate) fn close_operation() -> Operation {
    let operation = Operation::new("closeSession", "Log out");
    operation.gives_nothing(StatusCode::NO_CONTENT, "The session has ended.", &[SET_COOKIE])
}

/// Ends the session of the request.
pub(crate) async fn close(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Problem> {
    if let Some(token) = &caller.session {
        shared.queue.end_session(token).await?;
        shared.keys.forget_session(token);
    }
    let gone = |name| format!("{name}=; SameSite=Strict; Path=/; Max-Age=0");
    Ok(with_cookies([gone(SESSION_COOKIE), gone(CSRF_COOKIE)]))
}

fn read_key(body: &Value) -> Result<String, Vec<FieldError>> {
    let fault = |pointer: &str, code, message: &str| {
        vec![FieldError { pointer: pointer.to_owned(), code, message: message.to_owned() }]
    };
    let Value::Object(fields) = body else {
        return Err(fault("", "wrong_type", "the body must be a JSON object"));
    };
    if fields.keys().any(|name| name != "key") {
        return Err(fault("", "unknown_field", "the only field is key"));
    }
    match fields.get("key") {
        Some(Value::String(key)) => Ok(key.clone()),
        Some(_) => Err(fault("/key", "wrong_type", "must be a string")),
        None => Err(fault("/key", "missing", "must be there")),
    }
}

fn with_cookies(cookies: [String; 2]) -> Response {
    let cookies = cookies.map(|cookie| {
        // Both are made of characters that a header may have.
        (header::SET_COOKIE, HeaderValue::try_from(cookie).unwrap_or(HeaderValue::from_static("")))
    });
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (StatusCode::NO_CONTENT, no_store, AppendHeaders(cookies)).into_response()
}
