//! Uploads, the fleet, and what its operators need.

use axum::http::StatusCode;
use schemars::json_schema;
use serde_json::json;
use uso_queue::LetterId;
use uso_store::PictureKind;

use super::operation::Operation;
use super::parts::{self, ETAG};
use super::{Table, named, show};
use crate::routes::capabilities::{self, Capabilities};
use crate::routes::health;
use crate::routes::queue::{self, LetterPage, MOST, QueueDepth, USUAL};
use crate::routes::uploads::{self, Upload};
use crate::routes::workers::{self, WorkerList};

pub(super) fn add_uploads(table: &mut Table, max_bytes: u64) {
    let request = json_schema!({
        "description": "The file that is to be put.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "content_type": { "type": "string", "enum": PictureKind::ALL.map(PictureKind::media_type) },
            "bytes": { "description": "Its size.", "type": "integer", "minimum": 1, "maximum": max_bytes },
        },
        "required": ["content_type", "bytes"],
    });
    table.define("UploadRequest", request.into());
    table.tag("Uploads", "Reference images of your own.");
    let create = Operation::new("createUpload", "Ask where to put a reference image")
        .says("Gives a request that puts this one file; a job then names it by its `source`.")
        .takes(named("UploadRequest"), [("A picture", json!({ "content_type": "image/png", "bytes": 1000 }))])
        .gives::<Upload>(StatusCode::CREATED, "The request that puts the file.", &[])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"]);
    table.post("/v1/uploads", uploads::create, create);
}

pub(super) fn add(table: &mut Table) {
    table.tag("Fleet", "What it can do, and how it is.");
    let ask = Operation::new("getCapabilities", "Ask what this fleet can do and allows");
    let ask = ask.gives::<Capabilities>(StatusCode::OK, "What it can do.", &[]);
    table.get("/v1/capabilities", capabilities::show, ask);
    let depth = Operation::new("getQueue", "Ask how much there is to do")
        .gives::<QueueDepth>(StatusCode::OK, "The queue's own numbers.", &[])
        .refuses(StatusCode::BAD_REQUEST, &["invalid_parameters"]);
    table.get("/v1/queue", queue::depth, depth);
    let list = Operation::new("listWorkers", "List the workers").gives::<WorkerList>(
        StatusCode::OK,
        "Those that are there.",
        &[],
    );
    table.get("/v1/workers", workers::list, list);
    let dead = Operation::new("listDeadLetters", "List dead letters")
        .says("Of all tenants: entries that nobody understood, and jobs that no attempt could finish.")
        .parameter(parts::limit(MOST, USUAL))
        .parameter(parts::cursor::<LetterId>())
        .gives::<LetterPage>(StatusCode::OK, "A page.", &[]);
    table.get("/v1/dead", queue::dead, dead);
    let alive = Operation::new("isAlive", "Ask whether the process runs").gives_other(
        "text/plain",
        json!({ "type": "string" }),
        "It runs.",
    );
    table.get("/healthz", health::alive, alive);
    let ready = Operation::new("isReady", "Ask whether requests make sense")
        .gives_other("text/plain", json!({ "type": "string" }), "Queue and object store are there.")
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["not_ready"]);
    table.get("/readyz", health::ready, ready);
    let metrics = Operation::new("getMetrics", "Read the metrics")
        .says("In the text format of Prometheus.")
        .gives_other("text/plain", json!({ "type": "string" }), "The metrics.")
        .refuses(StatusCode::INTERNAL_SERVER_ERROR, &["no_metrics"]);
    table.get("/metrics", health::metrics, metrics);
    table.get("/openapi.json", show, document());
}

fn document() -> Operation {
    let known = parts::in_header(
        "If-None-Match",
        "The `ETag` of the document that is known.",
        json!({
            "type": "string",
        }),
    );
    Operation::new("getDocument", "Read this document")
        .parameter(known)
        .gives::<serde_json::Map<String, serde_json::Value>>(StatusCode::OK, "OpenAPI 3.1.", &[ETAG])
        .gives_nothing(StatusCode::NOT_MODIFIED, "The document that is known is the newest.", &[ETAG])
}
