//! Step caches that jobs ask for, within what the operator allows.

use serde_json::{Value, json};
use uso_api::Config;
use uso_queue::Defaults;

use crate::fixture::{Fixture, problem};

async fn allowing(max_step_cache: f64) -> Fixture {
    let defaults = Defaults { max_step_cache, ..Defaults::default() };
    Fixture::start_as(Config { defaults, ..Config::default() }).await
}

fn asking(step_cache: Value) -> Value {
    json!({ "prompt": "a cat", "step_cache": step_cache })
}

/// Pointer and message of the one field that is refused.
async fn refused(fixture: &Fixture, path: &str, body: &Value) -> (String, String) {
    let refused = problem(fixture.post(path, body).await, 422, "invalid_fields").await;
    assert_eq!(refused["errors"].as_array().unwrap().len(), 1, "{refused}");
    let text = |name: &str| refused["errors"][0][name].as_str().unwrap().to_owned();
    (text("pointer"), text("message"))
}

#[tokio::test]
async fn a_step_cache_is_refused_unless_the_operator_allows_it() {
    let fixture = Fixture::start().await;
    let job = asking(json!(0.1));
    let says = |pointer: &str| (pointer.to_owned(), "0.1 is not within 0 to 0".to_owned());
    assert_eq!(refused(&fixture, "/v1/jobs", &job).await, says("/step_cache"));
    assert_eq!(refused(&fixture, "/v1/estimate", &job).await, says("/step_cache"));
    let batch = json!({ "jobs": [asking(json!(0)), job] });
    assert_eq!(refused(&fixture, "/v1/batches", &batch).await, says("/jobs/1/step_cache"));
    let told: Value = fixture.get("/v1/capabilities").await.json().await.unwrap();
    assert_eq!(told["limits"]["step_cache"], json!([0.0, 0.0]));
}

#[tokio::test]
async fn one_within_the_operators_bound_is_part_of_the_job() {
    let fixture = allowing(0.2).await;
    for step_cache in [json!(0.2), json!(0.05)] {
        let answer = fixture.post("/v1/jobs", &asking(step_cache.clone())).await;
        assert_eq!(answer.status(), 202);
        let accepted: Value = answer.json().await.unwrap();
        assert_eq!(accepted["spec"]["step_cache"], step_cache);
        let path = accepted["links"]["self"].as_str().unwrap();
        let view: Value = fixture.get(path).await.json().await.unwrap();
        assert_eq!(view["spec"]["step_cache"], step_cache);
    }
    assert_eq!(fixture.post("/v1/estimate", &asking(json!(0.2))).await.status(), 200);
    let beyond = refused(&fixture, "/v1/jobs", &asking(json!(0.21))).await;
    assert_eq!(beyond, ("/step_cache".into(), "0.21 is not within 0 to 0.2".into()));
    assert_eq!(refused(&fixture, "/v1/jobs", &asking(json!(-0.1))).await.0, "/step_cache");
    let word = refused(&fixture, "/v1/jobs", &asking(json!("much"))).await;
    assert_eq!(word, ("/step_cache".into(), "must be a number".into()));
}

#[tokio::test]
async fn the_bound_is_told_where_jobs_are_described() {
    let fixture = allowing(0.2).await;
    let told: Value = fixture.get("/v1/capabilities").await.json().await.unwrap();
    assert_eq!(told["limits"]["step_cache"], json!([0.0, 0.2]));
    let document: Value = fixture.get("/openapi.json").await.json().await.unwrap();
    let described = &document["components"]["schemas"]["JobRequest"]["properties"]["step_cache"];
    assert_eq!((&described["maximum"], &described["default"]), (&json!(0.2), &json!(0.0)));
}

#[tokio::test]
async fn leaving_it_out_is_asking_for_none() {
    let fixture = allowing(0.2).await;
    let post = async |body: &Value| -> Value {
        let request = fixture.client.post(fixture.url("/v1/jobs")).header("Idempotency-Key", "k");
        request.json(body).send().await.unwrap().json().await.unwrap()
    };
    let without = post(&json!({ "prompt": "a cat" })).await;
    assert!(without["spec"].get("step_cache").is_none(), "{without}");
    for none in [json!(0), json!(0.0), Value::Null] {
        assert_eq!(post(&asking(none)).await["id"], without["id"]);
    }
    assert_eq!(post(&asking(json!(0.1))).await["code"], "idempotency_key_reused");
}
