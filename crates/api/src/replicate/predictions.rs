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
use uso_queue::{Canceled, FieldError, JobId, JobView, KeyScope, ListFilter, Submission, WebhookShape};

use super::input::Wanted;
use super::models::no_such_model;
use super::shape::Prediction;
use crate::body::{Letter, read_letter};
use crate::caller::Caller;
use crate::origin::Origin;
use crate::path::Path;
use crate::query::Params;
use crate::repeats::Asked;
use crate::routes::jobs::{deleted, find};
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
    let request = Request::read(&shared, &caller, &origin, &headers, body).await?;
    let named = request.letter.body.get("version").and_then(Value::as_str).map(str::to_owned);
    let is_named = named.is_some_and(|named| shared.shape.is_named(&named));
    request
        .answer(|| {
            let message = format!("must be {} or {}", shared.shape.version, shared.shape.model());
            let error = FieldError { pointer: "/version".into(), code: "not_a_choice", message };
            if is_named { Ok(()) } else { Err(Problem::fields(vec![error])) }
        })
        .await
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
    letter: Letter,
    asked: Asked,
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
        let letter = read_letter(headers, body, MAX_PREDICTION_BODY, most, &shared.room).await?;
        let asked = Asked::new(headers, &letter.body)?;
        Ok(Self { shared, caller, origin, wait, letter, asked })
    }

    /// Makes the prediction, or finds the one that this request has made before; `check` says whether the model is
    /// there.
    async fn answer(self, check: impl FnOnce() -> Result<(), Problem>) -> Result<Response, Problem> {
        let Self { shared, caller, origin, letter, asked, .. } = &self;
        let read = || Wanted::read(shared, &origin.all(), letter);
        let earlier = asked.job(shared, caller, || read().ok().map(|wanted| wanted.spec)).await?;
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
            // Clients that wait take everything else for the end.
            prediction.status = "starting";
        }
        let mut response = (StatusCode::CREATED, answer(prediction)).into_response();
        if let Some(Ok(applied)) = applied.map(HeaderValue::try_from) {
            response.headers_mut().insert("preference-applied", applied);
        }
        Ok(response)
    }

    /// Stores nothing before all else is known to be right: what is refused leaves nothing behind.
    async fn submit(&self, mut wanted: Wanted) -> Result<JobId, Problem> {
        let Self { shared, caller, asked, .. } = self;
        let at_hand = wanted.at_hand();
        if !at_hand.is_empty() {
            let mut spec = [wanted.spec.clone()];
            intake::check_with(shared, caller, &mut spec, |_| "/input".into(), &at_hand).await?;
            shared.queue.would_accept(&caller.tenant, 1).await?;
            wanted.keep_pictures(shared, caller).await?;
        }
        intake::check(shared, caller, std::slice::from_mut(&mut wanted.spec), |_| "/input".into()).await?;
        let job = Submission {
            key: asked.key.as_deref(),
            request: Some(&asked.digest),
            shape: WebhookShape::Prediction,
            ..Submission::from(&wanted.spec)
        };
        Ok(shared.queue.submit(&caller.tenant, job).await?.id)
    }
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
            Ok(answer(describe(&shared, &caller, &view, &origin).await?).into_response())
        }
    }
}

/// A prediction with links that a reader who may read can follow, also without a key.
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
        *link = shared.links.sign(shared, caller, origin, link).await?;
    }
    Ok(prediction)
}

fn answer(body: impl Serialize) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}
