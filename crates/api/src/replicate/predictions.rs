//! `/v1/predictions` and what is under it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};
use uso_queue::{
    Canceled, FieldError, JobId, JobView, KeyScope, ListCursor, ListFilter, MAX_URL, Submission, WebhookShape,
};

use super::input::Wanted;
use super::models::{input_schema, no_such_model, on_model};
use super::shape::{Prediction, Shape};
use crate::body::{PredictionBody, read_with_pictures};
use crate::caller::Caller;
use crate::config::Config;
use crate::idempotency::RequestKey;
use crate::intake;
use crate::openapi::operation::Operation;
use crate::openapi::parts::{self, PREFERENCE_APPLIED, RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::openapi::schema::define;
use crate::origin::Origin;
use crate::path::Path;
use crate::problem::Problem;
use crate::query::Params;
use crate::routes::job_view::{deleted, find};
use crate::routes::wait::Wait;
use crate::shared::Shared;

/// Largest body in bytes: it may contain pictures.
const MAX_PREDICTION_BODY: usize = 16 * 1024 * 1024;
/// Predictions of a page.
const PAGE: usize = 100;

/// Predictions, the newest first.
#[derive(Serialize, JsonSchema)]
struct PredictionPage {
    /// Always null: pages lead one way.
    previous: Option<String>,
    /// Where the next page is.
    next: Option<String>,
    results: Vec<Prediction>,
}

/// The schema of a request, with the version in it or in the path.
fn request_schema(config: &Config, with_version: bool) -> impl FnOnce(&mut SchemaGenerator) -> Value + use<> {
    let (shape, defaults) = (Shape::new(&config.model), config.defaults.clone());
    move |schemas| {
        let input = input_schema(schemas, &defaults);
        let input = define(schemas, "PredictionInput", input);
        let (model, version) = (shape.model(), &shape.version);
        let url = json!({ "type": ["string", "null"], "pattern": "^https?://", "maxLength": MAX_URL });
        let required = if with_version { json!(["version", "input"]) } else { json!(["input"]) };
        json!({
            "description": "What to generate, and the webhook for its end.",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "version": {
                    "description": "The fleet's one version, or the model's name.",
                    "enum": [version, model, format!("{model}:{version}")],
                },
                "input": input,
                "webhook": url,
                "webhook_completed": url,
                "webhook_events_filter": {
                    "description": "Only `completed` is ever sent.",
                    "type": ["array", "null"],
                    "items": { "enum": ["start", "output", "logs", "completed"] },
                },
                "stream": { "description": "Ignored: every prediction has a stream." },
            },
            "required": required,
        })
    }
}

fn submission(
    id: &'static str,
    body: &'static str,
    schema: impl FnOnce(&mut SchemaGenerator) -> Value + 'static,
    mut example: Value,
) -> Operation {
    example["input"] = json!({ "prompt": "a lighthouse at dusk", "width": 64, "height": 64, "steps": 4 });
    let wait = "`wait` or `wait=N` waits for the end, 60 seconds at most.";
    let prefer = parts::in_header("Prefer", wait, json!({ "type": "string", "examples": ["wait=10"] }));
    Operation::new(id, "Create a prediction")
        .parameter(parts::idempotency_key())
        .parameter(prefer)
        .takes(body, schema, [("A prompt", example)])
        .gives::<Prediction>(
            StatusCode::CREATED,
            "The prediction: ended, or `starting` even if it runs.",
            &[PREFERENCE_APPLIED, RATE_LIMIT, RATE_LIMIT_POLICY],
        )
        .refuses(StatusCode::BAD_REQUEST, &["invalid_idempotency_key", "invalid_preference"])
        .refuses(StatusCode::CONFLICT, &["job_deleted"])
        .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["idempotency_key_reused"])
        .refuses(StatusCode::TOO_MANY_REQUESTS, &["too_many_queued", "too_fast", "too_much_stored"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable", "no_room"])
}

pub(crate) fn create_operation(config: &Config) -> Operation {
    let example = json!({ "version": Shape::new(&config.model).model() });
    submission("createPrediction", "PredictionRequest", request_schema(config, true), example)
}

pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let request = Request::read(&shared, &caller, &origin, &headers, body).await?;
    let named = request.body.json.get("version").and_then(Value::as_str).map(str::to_owned);
    let is_named = named.is_some_and(|named| shared.shape.is_named(&named));
    request
        .answer(|| {
            let message = format!("must be {} or {}", shared.shape.version, shared.shape.model());
            let error = FieldError { pointer: "/version".into(), code: "not_a_choice", message };
            if is_named { Ok(()) } else { Err(Problem::fields(vec![error])) }
        })
        .await
}

pub(crate) fn create_of_model_operation(config: &Config) -> Operation {
    let schema = request_schema(config, false);
    let operation = submission("createModelPrediction", "ModelPredictionRequest", schema, json!({}));
    on_model(operation, &Shape::new(&config.model))
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
    let request = Request::read(&shared, &caller, &origin, &headers, body).await?;
    let is_named = shared.shape.is_named(&format!("{owner}/{name}"));
    request.answer(|| if is_named { Ok(()) } else { Err(no_such_model(&shared)) }).await
}

/// A request for a prediction.
struct Request<'a> {
    shared: &'a Arc<Shared>,
    caller: &'a Caller,
    origin: &'a Origin,
    wait: Option<Wait>,
    body: PredictionBody,
    key: RequestKey,
}

impl<'a> Request<'a> {
    async fn read(
        shared: &'a Arc<Shared>,
        caller: &'a Caller,
        origin: &'a Origin,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, Problem> {
        let wait = Wait::asked(headers)?;
        let most = shared.store.config().max_bytes;
        let body = read_with_pictures(headers, body, MAX_PREDICTION_BODY, most, &shared.memory).await?;
        let key = RequestKey::new(headers, &body.json)?;
        Ok(Self { shared, caller, origin, wait, body, key })
    }

    /// Creates the prediction, or finds the one that this request created before; `check` says whether the model
    /// exists.
    async fn answer(self, check: impl FnOnce() -> Result<(), Problem>) -> Result<Response, Problem> {
        let Self { shared, caller, origin, body, key, .. } = &self;
        let read = || Wanted::read(shared, &origin.all(), body);
        let earlier = key.job(shared, caller, || read().ok().map(|wanted| wanted.spec)).await?;
        let id = match earlier {
            Some(id) => id,
            None => {
                check()?;
                self.submit(read().map_err(Problem::fields)?).await?
            }
        };
        let (view, applied) = match &self.wait {
            Some(wait) => (wait.until_end(shared, id).await?, Some(wait.applied())),
            None => (shared.queue.view(&id).await?.ok_or_else(|| deleted(&id))?, None),
        };
        let mut prediction = describe(shared, caller, &view, origin).await?;
        if !view.state.is_terminal() {
            // Clients that wait take every other status for the end.
            prediction.status = "starting";
        }
        let mut response = (StatusCode::CREATED, answer(prediction)).into_response();
        if let Some(Ok(applied)) = applied.map(HeaderValue::try_from) {
            response.headers_mut().insert("preference-applied", applied);
        }
        Ok(response)
    }

    /// Stores pictures only when everything else has been checked: a refused request leaves nothing behind.
    async fn submit(&self, mut wanted: Wanted) -> Result<JobId, Problem> {
        let Self { shared, caller, key, .. } = self;
        let at_hand = wanted.at_hand();
        if !at_hand.is_empty() {
            let mut spec = [wanted.spec.clone()];
            intake::check_with(shared, caller, &mut spec, |_| "/input".into(), &at_hand).await?;
            shared.queue.would_accept(&caller.tenant, 1).await?;
            wanted.keep_pictures(shared, caller).await?;
        }
        intake::check(shared, caller, std::slice::from_mut(&mut wanted.spec), |_| "/input".into()).await?;
        let job = Submission {
            key: key.key.as_deref(),
            request: Some(&key.digest),
            shape: WebhookShape::Prediction,
            ..Submission::from(&wanted.spec)
        };
        Ok(shared.queue.submit(&caller.tenant, job).await?.id)
    }
}

/// An operation on one prediction.
pub(super) fn on_prediction(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary).parameter(parts::job_id()).refuses(StatusCode::NOT_FOUND, &["no_such_job"])
}

pub(crate) fn show_operation() -> Operation {
    let operation = on_prediction("getPrediction", "Get a prediction");
    operation.gives::<Prediction>(StatusCode::OK, "The prediction.", &[])
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let view = find(&shared, &caller, &id).await?;
    Ok(answer(describe(&shared, &caller, &view, &origin).await?).into_response())
}

pub(crate) fn list_operation() -> Operation {
    Operation::new("listPredictions", "List your predictions")
        .says("Every job is one; the newest first.")
        .parameter(parts::cursor::<ListCursor>())
        .gives::<PredictionPage>(StatusCode::OK, "A page.", &[])
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    origin: Origin,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.given("cursor", "must be from the `next` of the page before");
    params.finish()?;
    let tenant = Some(caller.tenant.clone());
    let wanted = ListFilter { tenant, enough: PAGE, after, ..ListFilter::default() };
    let page = shared.queue.list(&wanted).await?;
    let results =
        try_join_all(page.jobs.iter().map(|view| describe(&shared, &caller, view, &origin))).await?;
    let next = page.next.map(|next| format!("{}/v1/predictions?cursor={next}", origin.text()));
    Ok(answer(PredictionPage { previous: None, next, results }).into_response())
}

pub(crate) fn cancel_operation() -> Operation {
    on_prediction("cancelPrediction", "Cancel a prediction")
        .says("A prediction that has ended stays as it is.")
        .gives::<Prediction>(StatusCode::OK, "The prediction as it is now.", &[])
}

/// Cancels a prediction; one that has ended stays as it is.
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
            Ok(answer(describe(&shared, &caller, &view, &origin).await?).into_response())
        }
    }
}

/// A prediction; for a caller who may read, its links are signed.
pub(super) async fn describe(
    shared: &Shared,
    caller: &Caller,
    view: &JobView,
    origin: &Origin,
) -> Result<Prediction, Problem> {
    let mut prediction = shared.shape.prediction(view, origin.text());
    prediction.output = prediction.output.filter(|_| caller.may(KeyScope::Read));
    let links = [Some(&mut prediction.urls.stream), prediction.output.as_mut().map(|[url]| url)];
    for link in links.into_iter().flatten() {
        *link = shared.links.sign(caller, origin.text(), link).await?;
    }
    Ok(prediction)
}

fn answer(body: impl Serialize) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}
