//! The routes, and the document that describes them (OpenAPI 3.1), made from the same calls: there is no
//! route without a description.
//!
//! Each file below adds the operations of one part. What a request must come with is asked of
//! [`Need`], which also guards the routes; schemas come from the types that are answered and from
//! beside the code that reads a body.

mod batches;
mod fleet;
mod jobs;
mod operation;
mod parts;
mod predictions;
mod session;
mod streams;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::handler::Handler;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use uso_queue::{JobEvent, JobSpec};

use crate::access::{Access, CSRF_HEADER, Need, SESSION_COOKIE};
use crate::files::Files;
use crate::{Config, Problem, Shared, routes};
use operation::Operation;

/// The document's name.
const NAME: &str = "openapi.json";

/// Where schemas lie in the document.
const SCHEMAS: &str = "#/components/schemas";

const DESCRIPTION: &str = "Draws pictures: submit a job, watch it, fetch what it drew.\n\n\
    Every refusal is a problem document (RFC 9457) with a `code` for programs; `retryable` tells whether \
    the same request may succeed later, and `errors` names each bad field by its JSON pointer. Whoever \
    repeats a submission with the same `Idempotency-Key` gets the same job. Fields that are added to \
    answers later are no new version of this API.";

/// The operations of the API.
pub(crate) struct Table {
    router: Router<Arc<Shared>>,
    paths: Map<String, Value>,
    tags: Vec<Value>,
    schemas: SchemaGenerator,
    access: Access,
}

/// All operations: as routes, and as the document.
pub(crate) fn routes(config: &Config, max_upload: u64) -> (Router<Arc<Shared>>, Files) {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = SCHEMAS.trim_start_matches('#').into();
    });
    let mut table = Table {
        router: Router::new(),
        paths: Map::new(),
        tags: Vec::new(),
        schemas: settings.into_generator(),
        access: config.access,
    };
    let request = JobSpec::request_schema(&mut table.schemas, &config.defaults);
    table.define("JobRequest", request.into());
    // Streams only name what their events have.
    table.schemas.subschema_for::<JobEvent>();
    table.schemas.subschema_for::<routes::queue::TenantDepth>();
    jobs::add(&mut table);
    batches::add(&mut table);
    fleet::add_uploads(&mut table, max_upload);
    webhooks::add(&mut table, config.private_webhooks);
    predictions::add(&mut table, config);
    session::add(&mut table);
    fleet::add(&mut table);
    table.finish()
}

/// The document.
pub(crate) async fn show(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match shared.document.answer(NAME, &headers) {
        Some(response) => response,
        None => routes::no_such_route().await.into_response(),
    }
}

impl Table {
    /// The operations that follow belong together.
    fn tag(&mut self, name: &str, description: &str) {
        self.tags.push(json!({ "name": name, "description": description }));
    }

    fn get<H: Handler<T, Arc<Shared>>, T: 'static>(&mut self, path: &str, handler: H, operation: Operation) {
        self.add(&Method::GET, path, axum::routing::get(handler), operation);
    }

    fn post<H: Handler<T, Arc<Shared>>, T: 'static>(&mut self, path: &str, handler: H, operation: Operation) {
        self.add(&Method::POST, path, axum::routing::post(handler), operation);
    }

    fn delete<H: Handler<T, Arc<Shared>>, T: 'static>(
        &mut self,
        path: &str,
        handler: H,
        operation: Operation,
    ) {
        self.add(&Method::DELETE, path, axum::routing::delete(handler), operation);
    }

    fn add(&mut self, method: &Method, path: &str, route: MethodRouter<Arc<Shared>>, operation: Operation) {
        let need = Need::of(method, Some(path));
        let mut described = operation.under(&need, method).describe(&mut self.schemas);
        described["security"] = security(&need, method, self.access);
        described["tags"] = json!([self.tags.last().map(|tag| &tag["name"])]);
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method.as_str().to_ascii_lowercase()] = described;
        self.router = std::mem::take(&mut self.router).route(path, route);
    }

    /// Gives a schema a name.
    fn define(&mut self, name: &str, schema: Value) {
        self.schemas.definitions_mut().insert(name.to_owned(), schema);
    }

    fn finish(mut self) -> (Router<Arc<Shared>>, Files) {
        self.schemas.subschema_for::<Problem>();
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "uso-fleet",
                "version": env!("CARGO_PKG_VERSION"),
                "description": DESCRIPTION,
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "servers": [{ "url": "/" }],
            "tags": self.tags,
            "paths": self.paths,
            "components": {
                "schemas": self.schemas.take_definitions(true),
                "securitySchemes": security_schemes(),
            },
        });
        let document = document.to_string().into_bytes();
        (self.router, Files::new([(NAME.to_owned(), document)]))
    }
}

/// A reference to the schema of a type, whose name must be known by then or later.
fn reference<T: JsonSchema>() -> Value {
    named(&T::schema_name())
}

fn named(name: &str) -> Value {
    json!({ "$ref": format!("{SCHEMAS}/{name}") })
}

/// What a request must come with: a key, or a session, which needs a header too where something is changed.
fn security(need: &Need, method: &Method, access: Access) -> Value {
    let scopes = match need {
        Need::Nothing => return json!([]),
        Need::AnyKey => json!([]),
        Need::Scope(scope) => json!([scope]),
    };
    let session = match method.is_safe() {
        true => json!({ "session": scopes }),
        false => json!({ "session": scopes, "csrf": [] }),
    };
    match access {
        Access::Keys => json!([{ "key": scopes }, session]),
        // Nothing is asked for, and what is shown is not looked at.
        Access::Open | Access::Local => json!([{}, { "key": scopes }, session]),
    }
}

fn security_schemes() -> Value {
    json!({
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key: `uso keys create` makes one. The words beside it are the scopes that \
                            it needs.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": SESSION_COOKIE,
            "description": "What a browser gets that logs in with a key at `POST /v1/session`.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": CSRF_HEADER,
            "description": "Beside the session where something is changed: the value of the cookie `uso_csrf`.",
        },
    })
}
