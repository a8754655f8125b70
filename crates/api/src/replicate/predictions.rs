//! `/v1/predictions` and what is under it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uso_queue::{Browse, Canceled, FieldError, JobView, Submission, WebhookShape};

use super::input::Asked;
use super::models::no_such_model;
use super::shape::Prediction;
use crate::body::read_json;
use crate::caller::Caller;
use crate::origin::Origin;
use crate::path::Path;
use crate::query::Params;
use crate::routes::jobs::{find, idempotency_key};
use crate::routes::wait::Wait;
use crate::{Problem, Shared, intake};

/// Largest body: pictures may be in it.
pub(crate) const MAX_PREDICTION_BODY: usize = 16 * 1024 * 1024;
/// Predictions of a page.
const PAGE: usize = 100;

/// Predictions, the newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PredictionPage {
    /// Always null: pages lead one way.
    previous: Option<String>,
    /// Where the next page is.
    next: Option<String>,
    results: Vec<Prediction>,
}

pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_json(&headers, body, MAX_PREDICTION_BODY).await?;
    let named = body.get("version").and_then(Value::as_str);
    if !named.is_some_and(|named| shared.shape.is_named(named)) {
        let message = format!("must be {} or {}", shared.shape.version, shared.shape.model());
        let error = FieldError { pointer: "/version".into(), code: "not_a_choice", message };
        return Err(Problem::fields(vec![error]));
    }
    submit(&shared, &caller, &origin, &headers, &body).await
}

/// The same, where the model stands in the path.
pub(crate) async fn create_of_model(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_json(&headers, body, MAX_PREDICTION_BODY).await?;
    if !shared.shape.is_named(&format!("{owner}/{name}")) {
        return Err(no_such_model(&shared));
    }
    submit(&shared, &caller, &origin, &headers, &body).await
}

async fn submit(
    shared: &Arc<Shared>,
    caller: &Caller,
    origin: &Origin,
    headers: &HeaderMap,
    body: &Value,
) -> Result<Response, Problem> {
    let wait = Wait::asked(headers)?;
    let mut asked = Asked::read(shared, &origin.all(), body).map_err(Problem::fields)?;
    asked.keep_pictures(shared, caller).await?;
    intake::check(shared, caller, std::slice::from_mut(&mut asked.spec), |_| "/input".into()).await?;
    let key = idempotency_key(headers)?;
    let job =
        Submission { key: key.as_deref(), shape: WebhookShape::Prediction, ..Submission::from(&asked.spec) };
    let id = shared.queue.submit(&caller.tenant, job).await?.id;

    let (view, applied) = match wait {
        Some(wait) => (wait.until_end(shared, id).await?, Some(wait.applied())),
        None => (find(shared, caller, &id.to_string()).await?, None),
    };
    let mut prediction = describe(shared, &view, origin).await?;
    if !view.state.is_terminal() {
        // Clients that wait take everything else for the end.
        prediction.status = "starting";
    }
    let mut response = (StatusCode::CREATED, answer(prediction)).into_response();
    if let Some(Ok(applied)) = applied.map(HeaderValue::try_from) {
        response.headers_mut().insert("preference-applied", applied);
    }
    Ok(response)
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    Ok(answer(describe(&shared, &view, &origin).await?).into_response())
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.given("cursor", "must be from the `next` of the page before");
    params.finish()?;
    let wanted = Browse { tenant: caller.tenant, state: None, class: None, batch: None, enough: PAGE, after };
    let page = shared.queue.browse(&wanted).await?;
    let results = try_join_all(page.jobs.iter().map(|view| describe(&shared, view, &origin))).await?;
    let next = page.next.map(|next| format!("{}/v1/predictions?cursor={next}", origin.text()));
    Ok(answer(PredictionPage { previous: None, next, results }).into_response())
}

/// Ends a prediction; of one that has ended it only tells how.
pub(crate) async fn cancel(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = find(&shared, &caller, &id).await?.id;
    match shared.queue.cancel(&job).await?.ok_or_else(Problem::no_such_job)? {
        Canceled::Done | Canceled::Ended(_) => {
            let view = find(&shared, &caller, &id).await?;
            Ok(answer(describe(&shared, &view, &origin).await?).into_response())
        }
    }
}

/// A prediction with links that its reader can follow, also without a key.
pub(super) async fn describe(
    shared: &Shared,
    view: &JobView,
    origin: &Origin,
) -> Result<Prediction, Problem> {
    let mut prediction = shared.shape.prediction(view, origin.text());
    let links = [Some(&mut prediction.urls.stream), prediction.output.as_mut().map(|[url]| url)];
    for link in links.into_iter().flatten() {
        *link = shared.links.sign(shared, &view.tenant, origin, link).await?;
    }
    Ok(prediction)
}

fn answer(body: impl Serialize) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}
