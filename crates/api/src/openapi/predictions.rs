//! The door for Replicate's clients.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uso_queue::{EventId, ListCursor, MAX_URL};

use super::operation::Operation;
use super::parts::{self, PREFERENCE_APPLIED, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::{Table, named, reference};
use crate::Config;
use crate::replicate::models::{self, Model, Version, VersionPage};
use crate::replicate::predictions::{self, PredictionPage};
use crate::replicate::{OWNER, Prediction, Shape, files, output};

pub(super) fn add(table: &mut Table, config: &Config) {
    let shape = Shape::new(&config.model);
    let input = models::input_schema(&mut table.schemas, &config.defaults);
    table.define("PredictionInput", input);
    table.define("PredictionRequest", request(&shape, true));
    table.define("ModelPredictionRequest", request(&shape, false));
    table.tag("Predictions", "The same jobs in the shape of Replicate's API, for its clients.");
    let create = submit("createPrediction", named("PredictionRequest"), json!({ "version": shape.model() }));
    table.post("/v1/predictions", predictions::create, create);
    table.get("/v1/predictions", predictions::list, list());
    let show = on_prediction("getPrediction", "Look at a prediction");
    let show = show.gives::<Prediction>(StatusCode::OK, "The prediction.", &[]);
    table.get("/v1/predictions/{id}", predictions::show, show);
    let cancel = on_prediction("cancelPrediction", "Cancel a prediction")
        .says("Of one that has ended it only tells how.")
        .gives::<Prediction>(StatusCode::OK, "The prediction as it is now.", &[]);
    table.post("/v1/predictions/{id}/cancel", predictions::cancel, cancel);
    table.get("/v1/predictions/{id}/output/{name}", output::picture, picture());
    table.get("/v1/predictions/{id}/stream", output::events, stream());
    add_models(table, &shape);
    add_files(table);
}

fn add_models(table: &mut Table, shape: &Shape) {
    let on_model = |id, summary| {
        model_names(Operation::new(id, summary), shape).refuses(StatusCode::NOT_FOUND, &["no_such_model"])
    };
    let show = on_model("getModel", "Look at the model");
    let show = show.gives::<Model>(StatusCode::OK, "The model.", &[]);
    table.get("/v1/models/{owner}/{name}", models::show, show);
    let create = submit("createModelPrediction", named("ModelPredictionRequest"), json!({}));
    let create = model_names(create, shape).refuses(StatusCode::NOT_FOUND, &["no_such_model"]);
    table.post("/v1/models/{owner}/{name}/predictions", predictions::create_of_model, create);
    let versions = on_model("listVersions", "List the model's versions");
    let versions = versions.gives::<VersionPage>(StatusCode::OK, "The one there is.", &[]);
    table.get("/v1/models/{owner}/{name}/versions", models::versions, versions);
    let version = on_model("getVersion", "Look at a version of the model")
        .parameter(parts::in_path("id", "The version.", json!({ "const": shape.version })))
        .gives::<Version>(StatusCode::OK, "The version.", &[]);
    table.get("/v1/models/{owner}/{name}/versions/{id}", models::one_version, version);
}

fn add_files(table: &mut Table) {
    table.post("/v1/files", files::create, send_file());
    let on_file = |id, summary| {
        Operation::new(id, summary)
            .parameter(parts::in_path("id", "The file.", json!({ "type": "string", "format": "uuid" })))
            .refuses(StatusCode::NOT_FOUND, &["no_such_file"])
            .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
    };
    let show = on_file("getFile", "Look at a file").gives::<files::File>(StatusCode::OK, "The file.", &[]);
    table.get("/v1/files/{id}", files::show, show);
    let delete = on_file("deleteFile", "Delete a file")
        .says("Jobs that name it and have not begun will fail.")
        .gives_nothing(StatusCode::NO_CONTENT, "It is gone.", &[]);
    table.delete("/v1/files/{id}", files::delete, delete);
}

/// The schema of a request, with the version in it or in the path.
fn request(shape: &Shape, with_version: bool) -> Value {
    let (model, version) = (shape.model(), &shape.version);
    let url = json!({ "type": ["string", "null"], "pattern": "^https?://", "maxLength": MAX_URL });
    let mut schema = json!({
        "description": "What to draw, and who is told of the end.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "version": {
                "description": "The fleet's one version, or the model's name.",
                "enum": [version, model, format!("{model}:{version}")],
            },
            "input": named("PredictionInput"),
            "webhook": url,
            "webhook_completed": url,
            "webhook_events_filter": {
                "description": "Only `completed` is ever told.",
                "type": ["array", "null"],
                "items": { "enum": ["start", "output", "logs", "completed"] },
            },
            "stream": { "description": "Not looked at: every prediction has a stream." },
        },
        "required": ["input"],
    });
    if with_version {
        schema["required"] = json!(["version", "input"]);
    }
    schema
}

fn submit(id: &'static str, schema: Value, mut example: Value) -> Operation {
    example["input"] = json!({ "prompt": "a lighthouse at dusk", "width": 64, "height": 64, "steps": 4 });
    let wait = "`wait` or `wait=N` waits for the end, 60 seconds at most.";
    let prefer = parts::in_header("Prefer", wait, json!({ "type": "string", "examples": ["wait=10"] }));
    Operation::new(id, "Ask for a prediction")
        .parameter(parts::idempotency_key())
        .parameter(prefer)
        .takes(schema, [("A prompt", example)])
        .gives::<Prediction>(
            StatusCode::CREATED,
            "The prediction: ended, or `starting` whatever it does.",
            &[PREFERENCE_APPLIED, RATE_LIMIT, RATE_LIMIT_POLICY],
        )
        .refuses(StatusCode::BAD_REQUEST, &["invalid_idempotency_key", "invalid_preference"])
        .refuses(StatusCode::CONFLICT, &["job_deleted"])
        .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["idempotency_key_reused"])
        .refuses(StatusCode::TOO_MANY_REQUESTS, &["too_many_queued", "too_fast", "too_much_stored"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable", "no_room"])
}

fn list() -> Operation {
    Operation::new("listPredictions", "List your predictions")
        .says("Every job is one; the newest first.")
        .parameter(parts::cursor::<ListCursor>())
        .gives::<PredictionPage>(StatusCode::OK, "A page.", &[])
}

fn on_prediction(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary).parameter(parts::job_id()).refuses(StatusCode::NOT_FOUND, &["no_such_job"])
}

fn picture() -> Operation {
    let name = json!({ "type": "string", "examples": ["0.png"] });
    on_prediction("getPredictionOutput", "Fetch the picture")
        .says("The links in predictions are signed: they need no key for an hour, or until the key that they were made for ends.")
        .parameter(parts::in_path("name", "Which picture.", name))
        .gives_other("image/png", json!({}), "The picture.")
        .refuses(StatusCode::NOT_FOUND, &["no_such_output"])
        .refuses(StatusCode::UNAUTHORIZED, &["old_link"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

fn stream() -> Operation {
    on_prediction("streamPrediction", "Follow a prediction")
        .says("Server-sent events: `logs` with each step, `output` with the picture's link or `error`, then `done`.")
        .gives_other("text/event-stream", event(), "The prediction's events, until it has ended.")
        .refuses(StatusCode::UNAUTHORIZED, &["old_link"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["stopping"])
}

/// As with other streams, the schema is that of each event.
fn event() -> Value {
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

fn model_names(operation: Operation, shape: &Shape) -> Operation {
    operation
        .parameter(parts::in_path("owner", "Whose model it is.", json!({ "const": OWNER })))
        .parameter(parts::in_path("name", "The model's name.", json!({ "const": shape.name })))
}

fn send_file() -> Operation {
    let schema = json!({
        "type": "object",
        "properties": {
            "content": { "type": "string", "format": "binary", "description": "A PNG, JPEG or WebP file." },
        },
        "required": ["content"],
    });
    Operation::new("createFile", "Send a picture")
        .says("`POST /v1/uploads` gives a way to S3 that does not lead through here.")
        .takes_form(schema)
        .gives::<files::File>(StatusCode::CREATED, "The file.", &[RATE_LIMIT, RATE_LIMIT_POLICY])
        .refuses(StatusCode::TOO_MANY_REQUESTS, &["too_fast", "too_much_stored"])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable", "no_room"])
}
