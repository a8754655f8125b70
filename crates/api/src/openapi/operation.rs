//! One operation, as the document describes it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::parts::{self, Header};
use super::reference;
use crate::Problem;
use crate::access::Need;

/// What an operation takes and answers.
pub(super) struct Operation {
    id: &'static str,
    summary: &'static str,
    description: Cow<'static, str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Vec<Answer>,
    /// Codes of problems by status.
    refusals: BTreeMap<StatusCode, BTreeSet<&'static str>>,
}

/// An answer that is no refusal.
struct Answer {
    status: StatusCode,
    description: &'static str,
    headers: Vec<Header>,
    content: Content,
    /// Operations on what is answered, by its id.
    links: &'static [&'static str],
}

enum Content {
    Nothing,
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Of another media type, with its schema.
    Other(&'static str, Value),
}

impl Operation {
    pub(super) fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            description: Cow::Borrowed(""),
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// What there is to say beyond the summary.
    pub(super) fn says(mut self, description: impl Into<Cow<'static, str>>) -> Self {
        self.description = description.into();
        self
    }

    /// Takes a parameter: of the path, behind the `?` or a header.
    pub(super) fn parameter(mut self, parameter: Value) -> Self {
        self = match parameter["in"].as_str() {
            Some("path") => self
                .refuses(StatusCode::BAD_REQUEST, &["invalid_path"])
                // A part of the path that is empty leads elsewhere.
                .refuses(StatusCode::NOT_FOUND, &["no_such_route"]),
            Some("query") => self.refuses(StatusCode::BAD_REQUEST, &["invalid_parameters"]),
            _ => self,
        };
        self.parameters.push(parameter);
        self
    }

    pub(super) fn parameters(self, parameters: impl IntoIterator<Item = Value>) -> Self {
        parameters.into_iter().fold(self, Self::parameter)
    }

    /// Takes a body of JSON.
    pub(super) fn takes<const N: usize>(mut self, schema: Value, examples: [(&str, Value); N]) -> Self {
        let examples: Map<String, Value> = examples
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!({ "summary": name, "value": value })))
            .collect();
        let content = json!({ "application/json": { "schema": schema, "examples": examples } });
        self.body = Some(json!({ "required": true, "content": content }));
        self.refuses(StatusCode::BAD_REQUEST, &["invalid_json"])
            .refuses(StatusCode::REQUEST_TIMEOUT, &["body_too_slow"])
            .refuses(StatusCode::PAYLOAD_TOO_LARGE, &["body_too_large"])
            .refuses(StatusCode::UNSUPPORTED_MEDIA_TYPE, &["not_json"])
            .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["invalid_fields"])
    }

    /// Takes a form with a file.
    pub(super) fn takes_form(mut self, schema: Value) -> Self {
        self.body =
            Some(json!({ "required": true, "content": { "multipart/form-data": { "schema": schema } } }));
        self.refuses(StatusCode::BAD_REQUEST, &["invalid_form"])
            .refuses(StatusCode::REQUEST_TIMEOUT, &["body_too_slow"])
            .refuses(StatusCode::PAYLOAD_TOO_LARGE, &["body_too_large"])
            .refuses(StatusCode::UNSUPPORTED_MEDIA_TYPE, &["not_a_form"])
            .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["invalid_fields"])
    }

    /// Answers with JSON.
    pub(super) fn gives<T: JsonSchema>(
        self,
        status: StatusCode,
        description: &'static str,
        headers: &[Header],
    ) -> Self {
        self.answers(status, description, headers, Content::Json(SchemaGenerator::subschema_for::<T>))
    }

    /// Answers with something else than JSON.
    pub(super) fn gives_other(
        self,
        media_type: &'static str,
        schema: Value,
        description: &'static str,
    ) -> Self {
        self.answers(StatusCode::OK, description, &[], Content::Other(media_type, schema))
    }

    /// Answers without a body.
    pub(super) fn gives_nothing(
        self,
        status: StatusCode,
        description: &'static str,
        headers: &[Header],
    ) -> Self {
        self.answers(status, description, headers, Content::Nothing)
    }

    fn answers(
        mut self,
        status: StatusCode,
        description: &'static str,
        headers: &[Header],
        content: Content,
    ) -> Self {
        self.answers.push(Answer { status, description, headers: headers.to_vec(), content, links: &[] });
        self
    }

    /// What was answered last has an id, by which these operations are done to it.
    pub(super) fn leads_to(mut self, operations: &'static [&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.links = operations;
        }
        self
    }

    /// May answer with one of these problems.
    pub(super) fn refuses(mut self, status: StatusCode, codes: &[&'static str]) -> Self {
        self.refusals.entry(status).or_default().extend(codes);
        self
    }

    /// Adds what every request that needs something may be refused with.
    pub(super) fn under(self, need: &Need, method: &Method) -> Self {
        if *need == Need::Nothing {
            return self;
        }
        // Who calls is read from the queue, whatever else is.
        let mut operation = self
            .refuses(StatusCode::UNAUTHORIZED, &["no_key", "invalid_key", "session_over"])
            .refuses(StatusCode::FORBIDDEN, &["not_here"])
            .refuses(StatusCode::INTERNAL_SERVER_ERROR, &["internal"])
            .refuses(StatusCode::SERVICE_UNAVAILABLE, &["queue_unavailable"]);
        if !method.is_safe() {
            operation = operation
                .refuses(StatusCode::FORBIDDEN, &["csrf", "foreign_page"])
                .refuses(StatusCode::SERVICE_UNAVAILABLE, &["not_durable"]);
        }
        match need {
            Need::Scope(_) => operation.refuses(StatusCode::FORBIDDEN, &["missing_scope"]),
            _ => operation,
        }
    }

    /// As the document has it.
    pub(super) fn describe(self, schemas: &mut SchemaGenerator) -> Value {
        let mut responses = Map::new();
        for answer in self.answers {
            responses.insert(answer.status.as_str().to_owned(), answer.describe(schemas));
        }
        for (status, codes) in self.refusals {
            responses.insert(status.as_str().to_owned(), refusal(status, &codes));
        }
        let mut described = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": responses,
        });
        if !self.description.is_empty() {
            described["description"] = self.description.into();
        }
        if !self.parameters.is_empty() {
            described["parameters"] = self.parameters.into();
        }
        if let Some(body) = self.body {
            described["requestBody"] = body;
        }
        described
    }
}

impl Answer {
    fn describe(self, schemas: &mut SchemaGenerator) -> Value {
        let mut described = json!({ "description": self.description });
        match self.content {
            Content::Nothing => {}
            Content::Json(schema) => {
                described["content"] = json!({ "application/json": { "schema": schema(schemas) } });
            }
            Content::Other(media_type, schema) => {
                described["content"] = json!({ media_type: { "schema": schema } });
            }
        }
        for operation in self.links {
            described["links"][operation] =
                json!({ "operationId": operation, "parameters": { "id": "$response.body#/id" } });
        }
        with_headers(described, &self.headers)
    }
}

fn refusal(status: StatusCode, codes: &BTreeSet<&str>) -> Value {
    let words = codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
    let title = status.canonical_reason().unwrap_or_default();
    let these =
        json!({ "properties": { "status": { "const": status.as_u16() }, "code": { "enum": codes } } });
    let schema = json!({ "allOf": [reference::<Problem>(), these] });
    let described = json!({
        "description": format!("{title}: {words}."),
        "content": { "application/problem+json": { "schema": schema } },
    });
    with_headers(described, parts::of_refusal(status))
}

fn with_headers(mut described: Value, headers: &[Header]) -> Value {
    for header in headers {
        let Header { description, always, kind, .. } = header;
        described["headers"][header.name] =
            json!({ "description": description, "required": always, "schema": { "type": kind } });
    }
    described
}
