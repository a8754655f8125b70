//! `/v1/models/{owner}/{name}` and its one version.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};
use uso_queue::{Defaults, JobSpec, Time};

use super::shape::{OWNER, Shape, time};
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::origin::Origin;
use crate::path::Path;
use crate::problem::Problem;
use crate::shared::Shared;

/// Versions of Replicate's packager before 0.3.9 had outputs that clients take for streams.
const COG: &str = "0.9.0";

/// The fleet's model.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Model {
    url: String,
    owner: String,
    name: String,
    description: &'static str,
    visibility: &'static str,
    github_url: Option<String>,
    paper_url: Option<&'static str>,
    license_url: Option<String>,
    run_count: u64,
    cover_image_url: Option<String>,
    default_example: Option<String>,
    latest_version: Version,
}

/// A version of a model, with the schemas of its input and output.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelVersion")]
pub(crate) struct Version {
    id: String,
    #[schemars(with = "Option<Time>")]
    created_at: Option<String>,
    cog_version: &'static str,
    /// An OpenAPI document whose schemas `Input` and `Output` are the model's.
    openapi_schema: Value,
}

/// The versions of a model: there is one.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelVersionPage")]
pub(crate) struct VersionPage {
    previous: Option<String>,
    next: Option<String>,
    results: [Version; 1],
}

/// An operation on the model, whose name is in its path.
pub(super) fn on_model(operation: Operation, shape: &Shape) -> Operation {
    operation
        .parameter(parts::in_path("owner", "Whose model it is.", json!({ "const": OWNER })))
        .parameter(parts::in_path("name", "The model's name.", json!({ "const": shape.name })))
        .refuses(StatusCode::NOT_FOUND, &["no_such_model"])
}

pub(super) fn no_such_model(shared: &Shared) -> Problem {
    let detail = format!("there is no such model; this fleet runs {}", shared.shape.model());
    Problem::new(StatusCode::NOT_FOUND, "no_such_model", detail)
}

fn check(shared: &Shared, owner: &str, name: &str) -> Result<(), Problem> {
    let known = shared.shape.is_named(&format!("{owner}/{name}"));
    known.then_some(()).ok_or_else(|| no_such_model(shared))
}

pub(crate) fn show_operation(shape: &Shape) -> Operation {
    let operation = on_model(Operation::new("getModel", "Get the model"), shape);
    operation.gives::<Model>(StatusCode::OK, "The model.", &[])
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    origin: Origin,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Json<Model>, Problem> {
    check(&shared, &owner, &name)?;
    Ok(Json(Model {
        url: format!("{}/", origin.text()),
        owner,
        name,
        description: "USO on FLUX: any subject, in any scene, in any style",
        visibility: "private",
        github_url: None,
        paper_url: Some("https://arxiv.org/abs/2508.18966"),
        license_url: None,
        run_count: 0,
        cover_image_url: None,
        default_example: None,
        latest_version: version(&shared),
    }))
}

pub(crate) fn versions_operation(shape: &Shape) -> Operation {
    let operation = on_model(Operation::new("listVersions", "List the model's versions"), shape);
    operation.gives::<VersionPage>(StatusCode::OK, "The one there is.", &[])
}

pub(crate) async fn versions(
    State(shared): State<Arc<Shared>>,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Json<VersionPage>, Problem> {
    check(&shared, &owner, &name)?;
    Ok(Json(VersionPage { previous: None, next: None, results: [version(&shared)] }))
}

pub(crate) fn one_version_operation(shape: &Shape) -> Operation {
    on_model(Operation::new("getVersion", "Get a version of the model"), shape)
        .parameter(parts::in_path("id", "The version.", json!({ "const": shape.version })))
        .gives::<Version>(StatusCode::OK, "The version.", &[])
}

pub(crate) async fn one_version(
    State(shared): State<Arc<Shared>>,
    Path((owner, name, id)): Path<(String, String, String)>,
) -> Result<Json<Version>, Problem> {
    check(&shared, &owner, &name)?;
    if id != shared.shape.version {
        return Err(no_such_model(&shared));
    }
    Ok(Json(version(&shared)))
}

fn version(shared: &Shared) -> Version {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let input = input_schema(&mut generator, &shared.config.defaults);
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Input".into(), input);
    schemas
        .insert("Output".into(), json!({ "type": "array", "items": { "type": "string", "format": "uri" } }));
    Version {
        id: shared.shape.version.clone(),
        created_at: time(Some(shared.begun_ms)),
        cog_version: COG,
        openapi_schema: json!({
            "openapi": "3.1.0",
            "info": { "title": shared.shape.model(), "version": env!("CARGO_PKG_VERSION") },
            "paths": {},
            "components": { "schemas": schemas },
        }),
    }
}

/// The schema of an input: of a request for a job, whose references may be files, too.
pub(super) fn input_schema(generator: &mut SchemaGenerator, defaults: &Defaults) -> Value {
    let mut schema = Value::from(JobSpec::request_schema(generator, defaults));
    let file = "a data: URL, a file that was put under /v1/files, or whatever a job takes";
    let properties = &mut schema["properties"];
    properties["content"] = json!({
        "description": format!("The subject, or the picture whose layout is kept: {file}."),
        "type": ["string", "null"],
    });
    properties["styles"]["items"] = json!({ "description": format!("A picture: {file}."), "type": "string" });
    schema
}
