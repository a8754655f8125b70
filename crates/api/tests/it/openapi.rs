//! The document, and that the server is what it describes.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, problem};

async fn document(fixture: &Fixture) -> Value {
    let answer = fixture.get("/openapi.json").await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json().await.unwrap()
}

struct Described {
    method: Method,
    path: String,
    operation: Value,
}

impl Described {
    /// Its path with names of things that could be, but are not.
    fn somewhere(&self) -> String {
        let name = match self.path.starts_with("/v1/webhooks/") {
            true => "aaaaaaaa",
            false => "0-0198a0b0-0000-7000-8000-00000000000a",
        };
        self.path_of_model()
            .replace("{id}", name)
            .replace("{delivery}", "d.aaaaaaaa")
            .replace("{name}", "0.png")
    }

    /// Its path with the names that only the fleet's model has.
    fn path_of_model(&self) -> String {
        let parameters = self.operation["parameters"].as_array().into_iter().flatten();
        let named = parameters.filter_map(|parameter| {
            Some((parameter["name"].as_str()?, parameter["schema"].get("const")?.as_str()?))
        });
        named.fold(self.path.clone(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
    }

    fn examples(&self) -> Vec<Value> {
        let content = &self.operation["requestBody"]["content"]["application/json"];
        let examples = content["examples"].as_object().into_iter().flat_map(|examples| examples.values());
        examples.map(|example| example["value"].clone()).collect()
    }

    fn name(&self) -> &str {
        self.operation["operationId"].as_str().unwrap()
    }
}

fn operations(document: &Value) -> Vec<Described> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            all.push(Described { method, path: path.clone(), operation: operation.clone() });
        }
    }
    all
}

/// All values under a key, wherever it is.
fn under<'a>(document: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match document {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|value| under(value, key, found));
        }
        Value::Array(values) => values.iter().for_each(|value| under(value, key, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_there_for_everybody_and_is_not_sent_twice() {
    let fixture = Fixture::with_keys().await;
    let answer = fixture.get("/openapi.json").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "no-cache");
    let tag = answer.headers()["etag"].clone();
    let document: Value = answer.json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"], json!([{ "url": "/" }]));
    let again = fixture.client.get(fixture.url("/openapi.json")).header("if-none-match", tag);
    assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn the_document_is_whole() {
    let fixture = Fixture::start().await;
    let document = document(&fixture).await;
    let mut references = Vec::new();
    under(&document, "$ref", &mut references);
    assert!(references.len() > 50, "{}", references.len());
    for reference in references {
        let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut linked = Vec::new();
    under(&document, "operationId", &mut linked);
    let mut required = Vec::new();
    under(&document, "required", &mut required);
    for names in required.into_iter().filter_map(Value::as_array) {
        assert_eq!(
            names.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(),
            names.len(),
            "{names:?}"
        );
    }
    let operations = operations(&document);
    let names: BTreeSet<&str> = operations.iter().map(Described::name).collect();
    assert_eq!(names.len(), operations.len(), "two operations have one name");
    for name in linked {
        assert!(names.contains(name.as_str().unwrap()), "{name} is linked but not there");
    }
    for described in &operations {
        let in_path = described.path.matches('{').count();
        let parameters = described.operation["parameters"].as_array().cloned().unwrap_or_default();
        let documented = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, documented, "{}", described.name());
    }
}

#[tokio::test]
async fn what_is_described_is_there() {
    let fixture = Fixture::start().await;
    for described in operations(&document(&fixture).await) {
        let name = described.name();
        let request = fixture.client.request(described.method.clone(), fixture.url(&described.somewhere()));
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16().to_string();
        let documented = &described.operation["responses"][&status];
        assert!(documented.is_object(), "{name} answers {status}");
        // Streams do not end.
        if answer.headers().get("content-type").is_some_and(|kind| kind == "application/problem+json") {
            let body: Value = answer.json().await.unwrap();
            let codes = &documented["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]
                ["code"];
            assert!(codes["enum"].as_array().unwrap().contains(&body["code"]), "{name} answers {body}");
            assert!(body["code"] != "no_such_route" && body["code"] != "no_such_method", "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn what_is_not_described_is_refused_with_what_is() {
    let fixture = Fixture::start().await;
    let document = document(&fixture).await;
    for path in document["paths"].as_object().unwrap().keys() {
        let answer = fixture.client.patch(fixture.url(path)).send().await.unwrap();
        let allowed = answer.headers()["allow"].to_str().unwrap().to_owned();
        problem(answer, 405, "no_such_method").await;
        let allowed: BTreeSet<String> = allowed.split(',').map(str::to_lowercase).collect();
        let described: BTreeSet<String> =
            document["paths"][path].as_object().unwrap().keys().cloned().collect();
        let head = BTreeSet::from(["head".to_owned()]);
        assert_eq!(&allowed - &head, described, "{path}");
    }
}

#[tokio::test]
async fn examples_are_accepted() {
    let fixture = Fixture::start().await;
    for described in operations(&document(&fixture).await) {
        for example in described.examples() {
            let answer = fixture.post(&described.path_of_model(), &example).await;
            // Without keys there is no login, but the body was understood.
            let as_it_should = match described.name() {
                "openSession" => answer.status() == StatusCode::CONFLICT,
                _ => answer.status().is_success(),
            };
            assert!(as_it_should, "{} refuses {example}: {}", described.name(), answer.text().await.unwrap());
        }
    }
}

#[tokio::test]
async fn described_limits_are_those_that_are_held() {
    let fixture = Fixture::start().await;
    let document = document(&fixture).await;
    let schema =
        |name: &str, field: &str| document["components"]["schemas"][name]["properties"][field].clone();
    let most = schema("JobRequest", "prompt")["maxLength"].as_u64().unwrap() as usize;
    let prompt = |length| json!({ "prompt": "x".repeat(length) });
    assert_eq!(fixture.post("/v1/jobs", &prompt(most)).await.status(), StatusCode::ACCEPTED);
    problem(fixture.post("/v1/jobs", &prompt(most + 1)).await, 422, "invalid_fields").await;

    let most = schema("BatchRequest", "jobs")["maxItems"].as_u64().unwrap() as usize;
    let batch = |length| json!({ "jobs": vec![json!({}); length] });
    assert_eq!(fixture.post("/v1/batches", &batch(most)).await.status(), StatusCode::ACCEPTED);
    problem(fixture.post("/v1/batches", &batch(most + 1)).await, 422, "invalid_fields").await;

    let most = schema("UploadRequest", "bytes")["maximum"].as_u64().unwrap();
    let upload = |bytes| json!({ "content_type": "image/png", "bytes": bytes });
    assert_eq!(fixture.post("/v1/uploads", &upload(most)).await.status(), StatusCode::CREATED);
    problem(fixture.post("/v1/uploads", &upload(most + 1)).await, 422, "invalid_fields").await;
    let whole = json!({ "content_type": "image/png", "bytes": 1000.0 });
    assert_eq!(fixture.post("/v1/uploads", &whole).await.status(), StatusCode::CREATED);

    let list = document["paths"]["/v1/jobs"]["get"]["parameters"].as_array().unwrap();
    let limit = list.iter().find(|parameter| parameter["name"] == "limit").unwrap();
    let most = limit["schema"]["maximum"].as_u64().unwrap();
    assert_eq!(fixture.get(&format!("/v1/jobs?limit={most}")).await.status(), StatusCode::OK);
    problem(fixture.get(&format!("/v1/jobs?limit={}", most + 1)).await, 400, "invalid_parameters").await;
}

#[tokio::test]
async fn whatever_names_a_scope_asks_for_a_key() {
    let fixture = Fixture::with_keys().await;
    for described in operations(&document(&fixture).await) {
        let answer = fixture.client.request(described.method.clone(), fixture.url(&described.somewhere()));
        let answer = answer.send().await.unwrap();
        let open = described.operation["security"] == json!([]);
        match open {
            true => assert_ne!(answer.status(), StatusCode::UNAUTHORIZED, "{}", described.name()),
            false => drop(problem(answer, 401, "no_key").await),
        }
    }
    let open = document(&Fixture::start().await).await;
    let security = &open["paths"]["/v1/jobs"]["post"]["security"];
    assert_eq!(security[0], json!({}), "a key is not needed");
    assert_eq!(security[1], json!({ "key": ["submit"] }));
}
