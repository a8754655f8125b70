//! The table of routes: method, path, handler, and the operation that describes it in the document.
//!
//! A new route is a handler with its operation beside it in one file, and a line here.

mod batch_events;
mod batch_request;
mod batch_view;
mod batches;
mod capabilities;
mod control;
pub(crate) mod datasets;
mod document;
mod estimate;
mod events;
mod examples;
mod health;
pub(crate) mod job_view;
mod jobs;
mod list;
mod on_batch;
mod page;
mod queue;
mod remove;
mod session;
mod uploads;
pub(crate) mod wait;
mod webhook_request;
mod webhooks;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::config::Config;
use crate::files::Files;
use crate::openapi::routes::Routes;
use crate::replicate::shape::Shape;
use crate::replicate::{files, models, output, predictions};
use crate::shared::Shared;

/// All routes, and the document that describes them. `max_upload` is the largest upload in bytes.
pub(crate) fn table(config: &Config, max_upload: u64) -> (Router<Arc<Shared>>, Files) {
    let defaults = &config.defaults;
    let shape = Shape::new(&config.model);
    let (router, document) = Routes::new(config.access)
        .tag("Jobs", "A job generates a picture.")
        .post("/v1/jobs", jobs::submit, jobs::submit_operation(defaults))
        .get("/v1/jobs", list::list, list::list_operation())
        .get("/v1/jobs/{id}", jobs::show, jobs::show_operation())
        .delete("/v1/jobs/{id}", remove::remove, remove::remove_operation())
        .get("/v1/jobs/{id}/result", jobs::result, jobs::result_operation())
        .get("/v1/jobs/{id}/preview", jobs::preview, jobs::preview_operation())
        .get("/v1/jobs/{id}/events", events::of_job, events::of_job_operation())
        .post("/v1/jobs/{id}/cancel", control::cancel, control::cancel_operation())
        .post("/v1/jobs/{id}/retry", control::retry, control::retry_operation())
        .get("/v1/events", events::of_tenant, events::of_tenant_operation())
        .post("/v1/estimate", estimate::estimate, estimate::estimate_operation(defaults))
        .tag("Batches", "Many jobs as one.")
        .post("/v1/batches", batches::submit, batches::submit_operation())
        .get("/v1/batches/{id}", batches::show, batches::show_operation())
        .get("/v1/batches/{id}/events", batch_events::follow, batch_events::follow_operation())
        .post("/v1/batches/{id}/cancel", batches::cancel, batches::cancel_operation())
        .post("/v1/batches/{id}/pause", batches::pause, batches::pause_operation())
        .post("/v1/batches/{id}/resume", batches::resume, batches::resume_operation())
        .post("/v1/batches/{id}/retry-failed", batches::retry_failed, batches::retry_failed_operation())
        .tag("Data sets", "Batches of any number of rows that end in shards.")
        .get("/v1/batches", datasets::list::list, datasets::list::list_operation())
        .put("/v1/batches/{id}/rows", datasets::rows::put, datasets::rows::put_operation())
        .delete("/v1/batches/{id}/rows", datasets::discard::delete, datasets::discard::delete_operation())
        .get("/v1/batches/{id}/rows", datasets::outcomes::list, datasets::outcomes::list_operation())
        .post("/v1/batches/{id}/start", datasets::start::start, datasets::start::start_operation())
        .put("/v1/batches/{id}/budget", datasets::budget::set, datasets::budget::set_operation())
        .get("/v1/batches/{id}/files", datasets::files::list, datasets::files::list_operation())
        .get("/v1/batches/{id}/chunks/{number}", datasets::chunks::show, datasets::chunks::show_operation())
        .put("/v1/batches/{id}/chunks/{number}", datasets::replace::put, datasets::replace::put_operation())
        .tag("Uploads", "Reference images of your own.")
        .post("/v1/uploads", uploads::create, uploads::create_operation(max_upload))
        .tag("Webhooks", "Endpoints that are called when jobs end, as Standard Webhooks says.")
        .post("/v1/webhooks", webhooks::create, webhooks::create_operation(config.private_webhooks))
        .get("/v1/webhooks", webhooks::list, webhooks::list_operation())
        .delete("/v1/webhooks/{id}", webhooks::delete, webhooks::delete_operation())
        .post("/v1/webhooks/{id}/rotate", webhooks::rotate, webhooks::rotate_operation())
        .post("/v1/webhooks/{id}/disable", webhooks::disable, webhooks::disable_operation())
        .post("/v1/webhooks/{id}/enable", webhooks::enable, webhooks::enable_operation())
        .get("/v1/webhooks/{id}/deliveries", webhooks::deliveries, webhooks::deliveries_operation())
        .post(
            "/v1/webhooks/{id}/deliveries/{delivery}/replay",
            webhooks::replay,
            webhooks::replay_operation(),
        )
        .get("/v1/webhooks/default/secret", webhooks::default_secret, webhooks::default_secret_operation())
        .tag("Predictions", "The same jobs in the shape of Replicate's API, for its clients.")
        .post("/v1/predictions", predictions::create, predictions::create_operation(config))
        .get("/v1/predictions", predictions::list, predictions::list_operation())
        .get("/v1/predictions/{id}", predictions::show, predictions::show_operation())
        .post("/v1/predictions/{id}/cancel", predictions::cancel, predictions::cancel_operation())
        .get("/v1/predictions/{id}/output/{name}", output::picture, output::picture_operation())
        .get("/v1/predictions/{id}/stream", output::events, output::events_operation())
        .get("/v1/models/{owner}/{name}", models::show, models::show_operation(&shape))
        .post(
            "/v1/models/{owner}/{name}/predictions",
            predictions::create_of_model,
            predictions::create_of_model_operation(config),
        )
        .get("/v1/models/{owner}/{name}/versions", models::versions, models::versions_operation(&shape))
        .get(
            "/v1/models/{owner}/{name}/versions/{id}",
            models::one_version,
            models::one_version_operation(&shape),
        )
        .post("/v1/files", files::create, files::create_operation())
        .get("/v1/files/{id}", files::show, files::show_operation())
        .delete("/v1/files/{id}", files::delete, files::delete_operation())
        .tag("Session", "A browser logs in with a key, and does not have to keep it.")
        .post("/v1/session", session::open, session::open_operation())
        .get("/v1/session", session::show, session::show_operation())
        .delete("/v1/session", session::close, session::close_operation())
        .tag("Fleet", "What the fleet can do, and its state.")
        .get("/v1/capabilities", capabilities::show, capabilities::show_operation())
        .get("/v1/queue", queue::depth, queue::depth_operation())
        .get("/v1/workers", workers::list, workers::list_operation())
        .get("/v1/dead", queue::dead, queue::dead_operation())
        .get("/healthz", health::alive, health::alive_operation())
        .get("/readyz", health::ready, health::ready_operation())
        .get("/metrics", health::metrics, health::metrics_operation())
        .get("/openapi.json", document::show, document::show_operation())
        .finish();
    (files_of_the_page(router), document::file(document))
}

/// Routes to the files of the web page, which the document does not describe.
fn files_of_the_page(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .route("/", get(page::index))
        .route("/page/{*name}", get(page::file))
        .route("/examples/{name}", get(examples::picture))
}
