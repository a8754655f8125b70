//! Routes with their operations: each call adds both, so that there is no route without a description.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::MethodRouter;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::operation::Operation;
use super::schema::SCHEMAS;
use crate::access::credential::SESSION_COOKIE;
use crate::access::csrf::CSRF_HEADER;
use crate::access::mode::Access;
use crate::access::need::Need;
use crate::problem::Problem;
use crate::shared::Shared;

const DESCRIPTION: &str = "Generates pictures: submit a job, follow it, fetch its picture.\n\n\
    Every refusal is a problem document (RFC 9457) with a `code` for programs; `retryable` says whether \
    the same request may succeed later, and `errors` names each bad field by its JSON pointer. If you \
    repeat a submission with the same `Idempotency-Key`, you get the same job. New fields may be added to \
    answers without a new version of this API.";

/// Routes, and what describes them.
pub(crate) struct Routes {
    router: Router<Arc<Shared>>,
    paths: Map<String, Value>,
    tags: Vec<Value>,
    schemas: SchemaGenerator,
    access: Access,
}

impl Routes {
    /// None yet, of an API with this access.
    pub(crate) fn new(access: Access) -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = SCHEMAS.trim_start_matches('#').into();
        });
        let (router, schemas) = (Router::new(), settings.into_generator());
        Self { router, paths: Map::new(), tags: Vec::new(), schemas, access }
    }

    /// The routes that follow have this tag.
    pub(crate) fn tag(mut self, name: &str, description: &str) -> Self {
        self.tags.push(json!({ "name": name, "description": description }));
        self
    }

    pub(crate) fn get<H, T>(self, path: &str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(&Method::GET, path, axum::routing::get(handler), operation)
    }

    pub(crate) fn post<H, T>(self, path: &str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(&Method::POST, path, axum::routing::post(handler), operation)
    }

    pub(crate) fn put<H, T>(self, path: &str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(&Method::PUT, path, axum::routing::put(handler), operation)
    }

    pub(crate) fn delete<H, T>(self, path: &str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        self.add(&Method::DELETE, path, axum::routing::delete(handler), operation)
    }

    fn add(
        mut self,
        method: &Method,
        path: &str,
        route: MethodRouter<Arc<Shared>>,
        operation: Operation,
    ) -> Self {
        let need = Need::of(method, Some(path));
        let mut described = operation.under(&need, method).describe(&mut self.schemas);
        described["security"] = security(&need, method, self.access);
        described["tags"] = json!([self.tags.last().map(|tag| &tag["name"])]);
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method.as_str().to_ascii_lowercase()] = described;
        self.router = self.router.route(path, route);
        self
    }

    /// The routes, and the document's bytes.
    pub(crate) fn finish(mut self) -> (Router<Arc<Shared>>, Vec<u8>) {
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
        (self.router, document.to_string().into_bytes())
    }
}

/// What a request needs: a key, or a session, which also needs a header for requests that change something.
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
        // No key is needed, and a key that is sent is ignored.
        Access::Open | Access::Local => json!([{}, { "key": scopes }, session]),
    }
}

fn security_schemes() -> Value {
    json!({
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key: you create one with `uso keys create`. The words beside it are the \
                            scopes that the key needs.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": SESSION_COOKIE,
            "description": "A browser gets it when it logs in with a key at `POST /v1/session`.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": CSRF_HEADER,
            "description": "Needed with a session for requests that change something: the value of the cookie `uso_csrf`.",
        },
    })
}
