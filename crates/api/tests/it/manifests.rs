//! Data sets whose rows the API reads from a manifest in the fleet's bucket.

use reqwest::Response;
use serde_json::{Value, json};

use crate::fixture::{Fixture, problem};
use crate::uploads::upload;

async fn put(fixture: &Fixture, key: &str, text: &str) {
    fixture.store.put(key, "text/plain", text.to_owned().into()).await.unwrap();
}

async fn read(fixture: &Fixture, manifest: &str, more: Value) -> Response {
    let mut body = json!({ "dataset": { "name": "foxes" }, "manifest": manifest });
    more.as_object().into_iter().flatten().for_each(|(name, value)| body[name] = value.clone());
    fixture.post("/v1/batches", &body).await
}

/// The names of the data sets that there are.
async fn names(fixture: &Fixture) -> Vec<String> {
    let listed: Value = fixture.get("/v1/batches").await.json().await.unwrap();
    let name = |batch: &Value| batch["dataset"]["name"].as_str().unwrap().to_owned();
    listed["batches"].as_array().unwrap().iter().map(name).collect()
}

fn lines(rows: impl IntoIterator<Item = u64>) -> String {
    rows.into_iter().map(|row| format!("{{\"key\":\"r{row}\",\"prompt\":\"a fox\"}}\n")).collect()
}

#[tokio::test]
async fn a_manifest_is_read_and_started_and_again_changes_nothing() {
    let fixture = Fixture::start().await;
    put(&fixture, "lists/foxes.jsonl", &lines(0..2500)).await;
    let answer = read(&fixture, "s3://uso/lists/foxes.jsonl", json!({})).await;
    assert_eq!(answer.status(), 201);
    let made: Value = answer.json().await.unwrap();
    assert_eq!((&made["rows"], &made["fresh"]), (&json!(2500), &json!(true)));
    assert_eq!((&made["bad_row_count"], &made["bad_rows"]), (&json!(0), &json!([])));
    let path = format!("/v1/batches/{}", made["id"].as_str().unwrap());
    let view: Value = fixture.get(&path).await.json().await.unwrap();
    assert_eq!(view["dataset"]["started"], 2500);
    let chunk = fixture.get(&format!("{path}/chunks/2")).await.text().await.unwrap();
    assert_eq!(chunk.lines().count(), 500);

    let again = read(&fixture, "s3://uso/lists/foxes.jsonl", json!({})).await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<Value>().await.unwrap()["rows"], 2500);
    // A longer one adds its further rows.
    put(&fixture, "lists/foxes.jsonl", &lines(0..2600)).await;
    let more = read(&fixture, "s3://uso/lists/foxes.jsonl", json!({})).await;
    assert_eq!(more.json::<Value>().await.unwrap()["rows"], 2600);
    // Others are another data set.
    put(&fixture, "lists/foxes.jsonl", &lines(1..2700)).await;
    let other =
        problem(read(&fixture, "s3://uso/lists/foxes.jsonl", json!({})).await, 409, "rows_moved").await;
    assert_eq!(other["rows"], 2600);
    put(&fixture, "lists/foxes.jsonl", &lines(0..10)).await;
    problem(read(&fixture, "s3://uso/lists/foxes.jsonl", json!({})).await, 409, "rows_moved").await;
}

#[tokio::test]
async fn bad_rows_fail_or_are_left_out() {
    let fixture = Fixture::start().await;
    let lost = format!("upload:{}", uuid::Uuid::nil());
    let text = format!(
        "{}{{\"key\":\"x\",\"steps\":0}}\n{{\"key\":\"y\",\"content\":\"{lost}\"}}\n{}",
        lines(0..3),
        lines(3..5)
    );
    put(&fixture, "foxes.jsonl", &text).await;
    let refused =
        problem(read(&fixture, "s3://uso/foxes.jsonl", json!({})).await, 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["pointer"], "/4/steps");
    assert!(refused["detail"].as_str().unwrap().starts_with("1 rows"), "{refused}");
    assert_eq!(names(&fixture).await, [] as [String; 0]);

    for _ in 0..2 {
        let made: Value =
            read(&fixture, "s3://uso/foxes.jsonl", json!({ "on_bad": "skip" })).await.json().await.unwrap();
        assert_eq!(made["rows"], 5, "{made}");
        let bad = made["bad_rows"].as_array().unwrap();
        assert_eq!(made["bad_row_count"], 2, "{made}");
        let mut named: Vec<&Value> = bad.iter().map(|row| &row["line"]).collect();
        named.sort_by_key(|line| line.as_u64());
        assert_eq!(named, [&json!(4), &json!(5)]);
        assert!(bad.iter().all(|row| row["faults"][0]["message"].is_string()), "{made}");
    }
}

#[tokio::test]
async fn a_refused_manifest_leaves_no_data_set() {
    let fixture = Fixture::start().await;
    let lost = json!({ "prompt": "a fox", "content": format!("upload:{}", uuid::Uuid::nil()) });
    let twice = json!({ "prompt": "a cat", "key": "r0" });
    for (key, text, pointer, says) in [
        ("foxes.jsonl", String::new(), "/manifest", "it has no rows"),
        ("foxes.csv", "a\n\"open".to_owned(), "/manifest", "left open"),
        ("foxes.parquet", "PAR1 and no more".to_owned(), "/manifest", ""),
        ("foxes.jsonl", "{\"steps\":0}\n".repeat(2000), "/1/steps", "100"),
        ("foxes.jsonl", lines(0..3) + &lost.to_string(), "/4/content", ""),
        ("foxes.jsonl", lines(0..3) + &twice.to_string(), "/4/key", "line 1 has the same key"),
    ] {
        put(&fixture, key, &text).await;
        let answer = read(&fixture, &format!("s3://uso/{key}"), json!({})).await;
        let refused = problem(answer, 422, "invalid_fields").await;
        let error = &refused["errors"][0];
        assert_eq!(error["pointer"], pointer, "{key}: {refused}");
        assert!(error["message"].as_str().unwrap().contains(says), "{key}: {refused}");
        assert_eq!(names(&fixture).await, [] as [String; 0], "{key}: {refused}");
    }
    put(&fixture, "foxes.jsonl", &lines(0..2)).await;
    let split = json!({ "dataset": { "name": "foxes", "split": { "by": "subject", "val": 0.5 } } });
    let refused = problem(read(&fixture, "s3://uso/foxes.jsonl", split).await, 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["pointer"], "/1/metadata/subject");
    assert_eq!(names(&fixture).await, [] as [String; 0]);
    assert_eq!(read(&fixture, "s3://uso/foxes.jsonl", json!({})).await.status(), 201);
    assert_eq!(names(&fixture).await, ["foxes"]);
}

#[tokio::test]
async fn an_upload_and_other_formats_are_read() {
    let fixture = Fixture::start().await;
    let text = "key,prompt,subject\na,a fox,fox\nb,a cat,cat\n";
    let source = upload(&fixture, "text/csv", text.as_bytes()).await["source"].clone();
    let source = source.as_str().unwrap().to_owned();
    let refused = problem(read(&fixture, &source, json!({})).await, 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["pointer"], "/kind");
    let refused =
        problem(read(&fixture, &source, json!({ "kind": "csv" })).await, 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["pointer"], "/2/subject");
    let made: Value =
        read(&fixture, &source, json!({ "kind": "csv", "unknown": "metadata" })).await.json().await.unwrap();
    assert_eq!(made["rows"], 2);

    let parquet = include_bytes!("../../../dataset/tests/fixtures/rows/rows.parquet");
    fixture.store.put("rows.parquet", "application/octet-stream", parquet[..].into()).await.unwrap();
    let asked =
        json!({ "dataset": { "name": "others" }, "manifest": "s3://uso/rows.parquet", "on_bad": "skip" });
    let made: Value = fixture.post("/v1/batches", &asked).await.json().await.unwrap();
    let counted = made["rows"].as_u64().unwrap() + made["bad_row_count"].as_u64().unwrap();
    assert!(counted > 0, "{made}");
    put(&fixture, "torn.parquet", "PAR1 and no more").await;
    let asked = json!({ "dataset": { "name": "torn" }, "manifest": "s3://uso/torn.parquet" });
    let refused = problem(fixture.post("/v1/batches", &asked).await, 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["code"], "unreadable");
}

#[tokio::test]
async fn a_manifest_that_is_not_ones_own_is_refused() {
    let fixture = Fixture::start().await;
    for (manifest, code) in [
        ("s3://elsewhere/a.jsonl", "not_allowed"),
        ("https://example.com/a.jsonl", "not_allowed"),
        ("s3://uso/nothing.jsonl", "missing"),
        ("a.jsonl", "invalid_source"),
    ] {
        let answer = read(&fixture, manifest, json!({ "kind": "jsonl" })).await;
        let refused = problem(answer, 422, "invalid_fields").await;
        assert_eq!(
            (&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]),
            (&json!("/manifest"), &json!(code))
        );
    }
    assert_eq!(fixture.get("/v1/batches").await.json::<Value>().await.unwrap()["batches"], json!([]));
    let fixture = Fixture::with_keys().await;
    let key = fixture.key("ours", &uso_queue::KeyScope::ALL).await;
    put(&fixture, "uploads/theirs/0198a0b0-0000-7000-8000-00000000000a", &lines(0..1)).await;
    let theirs = "s3://uso/uploads/theirs/0198a0b0-0000-7000-8000-00000000000a";
    let body = json!({ "dataset": { "name": "a" }, "manifest": theirs, "kind": "jsonl" });
    let request = fixture.client.post(fixture.url("/v1/batches")).bearer_auth(key.expose());
    let refused = problem(request.json(&body).send().await.unwrap(), 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["code"], "not_allowed");
}
