//! One operation, as the document describes it. A route's operation is beside its handler.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::parts::{self, Header};
use super::schema::{define, reference};
use crate::access::need::Need;
use crate::body::lines::JSON_LINES;
use crate::problem::Problem;

/// What an operation takes and answers.
pub(crate) struct Operation {
    id: &'static str,
    summary: &'static str,
    description: Cow<'static, str>,
    parameters: Vec<Value>,
    body: Option<Body>,
    answers: Vec<Answer>,
    /// Codes of problems by status.
    refusals: BTreeMap<StatusCode, BTreeSet<&'static str>>,
    /// Defines types that the operation only names.
    types: Vec<fn(&mut SchemaGenerator) -> Schema>,
}

/// What a request must carry.
enum Body {
    Json {
        name: &'static str,
        schema: MakeSchema,
        examples: Map<String, Value>,
    },
    Form(Value),
    /// A JSON value a line.
    Lines(Value),
}

type MakeSchema = Box<dyn FnOnce(&mut SchemaGenerator) -> Value>;

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
    /// Of one of some other media types, with its schema.
    Other(Vec<&'static str>, Value),
}

impl Operation {
    pub(crate) fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            description: Cow::Borrowed(""),
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: BTreeMap::new(),
            types: Vec::new(),
        }
    }

    /// Adds a description to the summary.
    pub(crate) fn says(mut self, description: impl Into<Cow<'static, str>>) -> Self {
        self.description = description.into();
        self
    }

    /// Takes a parameter: of the path, of the query, or a header.
    pub(crate) fn parameter(mut self, parameter: Value) -> Self {
        self = match parameter["in"].as_str() {
            Some("path") => self
                .refuses(StatusCode::BAD_REQUEST, &["invalid_path"])
                // With an empty parameter the path is another one.
                .refuses(StatusCode::NOT_FOUND, &["no_such_route"]),
            Some("query") => self.refuses(StatusCode::BAD_REQUEST, &["invalid_parameters"]),
            _ => self,
        };
        self.parameters.push(parameter);
        self
    }

    pub(crate) fn parameters(self, parameters: impl IntoIterator<Item = Value>) -> Self {
        parameters.into_iter().fold(self, Self::parameter)
    }

    /// Takes a body of JSON. `schema` makes its schema, which has this name in the document.
    pub(crate) fn takes<const N: usize>(
        mut self,
        name: &'static str,
        schema: impl FnOnce(&mut SchemaGenerator) -> Value + 'static,
        examples: [(&str, Value); N],
    ) -> Self {
        let examples = examples
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!({ "summary": name, "value": value })))
            .collect();
        self.body = Some(Body::Json { name, schema: Box::new(schema), examples });
        self.refuses(StatusCode::BAD_REQUEST, &["invalid_json"])
            .refuses(StatusCode::REQUEST_TIMEOUT, &["body_too_slow"])
            .refuses(StatusCode::PAYLOAD_TOO_LARGE, &["body_too_large"])
            .refuses(StatusCode::UNSUPPORTED_MEDIA_TYPE, &["not_json"])
            .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["invalid_fields"])
    }

    /// Takes a JSON value a line; the schema is that of the whole text.
    pub(crate) fn takes_lines(mut self, schema: Value) -> Self {
        self.body = Some(Body::Lines(schema));
        self.refuses(StatusCode::REQUEST_TIMEOUT, &["body_too_slow"])
            .refuses(StatusCode::PAYLOAD_TOO_LARGE, &["body_too_large"])
            .refuses(StatusCode::UNSUPPORTED_MEDIA_TYPE, &["not_json_lines"])
            .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["invalid_fields"])
            .refuses(StatusCode::SERVICE_UNAVAILABLE, &["no_room"])
    }

    /// Takes a form with a file.
    pub(crate) fn takes_form(mut self, schema: Value) -> Self {
        self.body = Some(Body::Form(schema));
        self.refuses(StatusCode::BAD_REQUEST, &["invalid_form"])
            .refuses(StatusCode::REQUEST_TIMEOUT, &["body_too_slow"])
            .refuses(StatusCode::PAYLOAD_TOO_LARGE, &["body_too_large"])
            .refuses(StatusCode::UNSUPPORTED_MEDIA_TYPE, &["not_a_form"])
            .refuses(StatusCode::UNPROCESSABLE_ENTITY, &["invalid_fields"])
    }

    /// Answers with JSON.
    pub(crate) fn gives<T: JsonSchema>(
        self,
        status: StatusCode,
        description: &'static str,
        headers: &[Header],
    ) -> Self {
        self.answers(status, description, headers, Content::Json(SchemaGenerator::subschema_for::<T>))
    }

    /// Answers with something else than JSON.
    pub(crate) fn gives_other(
        self,
        media_type: &'static str,
        schema: Value,
        description: &'static str,
    ) -> Self {
        self.gives_one_of(&[media_type], schema, description)
    }

    /// Answers with something else than JSON, of one of these media types.
    pub(crate) fn gives_one_of(
        self,
        media_types: &[&'static str],
        schema: Value,
        description: &'static str,
    ) -> Self {
        self.answers(StatusCode::OK, description, &[], Content::Other(media_types.to_vec(), schema))
    }

    /// Answers without a body.
    pub(crate) fn gives_nothing(
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

    /// The last answer has an id that these operations take.
    pub(crate) fn leads_to(mut self, operations: &'static [&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.links = operations;
        }
        self
    }

    /// May answer with one of these problems.
    pub(crate) fn refuses(mut self, status: StatusCode, codes: &[&'static str]) -> Self {
        self.refusals.entry(status).or_default().extend(codes);
        self
    }

    /// Adds what every request that needs something may be refused with.
    pub(crate) fn under(self, need: &Need, method: &Method) -> Self {
        if *need == Need::Nothing {
            return self;
        }
        // Keys are read from the queue, whatever the operation itself does.
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

    /// Has the document define a type that the operation only names.
    pub(crate) fn names<T: JsonSchema>(mut self) -> Self {
        self.types.push(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// As the document has it.
    pub(crate) fn describe(self, schemas: &mut SchemaGenerator) -> Value {
        for define_type in self.types {
            define_type(schemas);
        }
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
            described["requestBody"] = json!({ "required": true, "content": body.content(schemas) });
        }
        described
    }
}

impl Body {
    fn content(self, schemas: &mut SchemaGenerator) -> Value {
        match self {
            Self::Json { name, schema, examples } => {
                let schema = schema(schemas);
                let schema = define(schemas, name, schema);
                json!({ "application/json": { "schema": schema, "examples": examples } })
            }
            Self::Form(schema) => json!({ "multipart/form-data": { "schema": schema } }),
            Self::Lines(schema) => json!({ JSON_LINES: { "schema": schema } }),
        }
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
            Content::Other(media_types, schema) => {
                for media_type in media_types {
                    described["content"][media_type] = json!({ "schema": schema });
                }
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
