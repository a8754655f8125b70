//! Data sets: made, filled, started, looked at; and whose they are.

use std::collections::BTreeMap;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use uso_api::Config;
use uso_queue::ApiKey;
use uso_queue::KeyScope::{Read, Submit};

use crate::fixture::{Fixture, problem};

const LINES: &str = "application/x-ndjson";

/// Makes a data set and gives its id.
pub(crate) async fn create(fixture: &Fixture, name: &str) -> String {
    let asked = json!({ "dataset": { "name": name, "shard_rows": 2 } });
    let answer = fixture.post("/v1/batches", &asked).await;
    assert_eq!(answer.status(), 201);
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn put_rows(fixture: &Fixture, id: &str, from: u64, rows: &[Value]) -> Response {
    let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let put = fixture.client.put(fixture.url(&format!("/v1/batches/{id}/rows?from={from}")));
    put.header("content-type", LINES).body(body).send().await.unwrap()
}

async fn put_json(fixture: &Fixture, path: &str, body: &Value) -> Response {
    fixture.client.put(fixture.url(path)).json(body).send().await.unwrap()
}

pub(crate) async fn added(answer: Response) -> u64 {
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    answer.json::<Value>().await.unwrap()["rows"].as_u64().unwrap()
}

/// Whether a request added its rows itself.
async fn fresh(answer: Response) -> bool {
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["fresh"].as_bool().unwrap()
}

pub(crate) async fn start(fixture: &Fixture, id: &str, rows: u64) -> Response {
    fixture.post(&format!("/v1/batches/{id}/start"), &json!({ "rows": rows })).await
}

pub(crate) async fn dataset(fixture: &Fixture, id: &str) -> Value {
    let view: Value = fixture.get(&format!("/v1/batches/{id}")).await.json().await.unwrap();
    view["dataset"].clone()
}

pub(crate) fn rows(from: u64, to: u64) -> Vec<Value> {
    (from..to).map(|row| json!({ "key": format!("r{row}"), "prompt": "a fox", "steps": 2 })).collect()
}

#[tokio::test]
async fn a_name_is_made_once_and_is_listed() {
    let fixture = Fixture::start().await;
    let asked = json!({
        "dataset": { "name": "foxes-1", "split": { "by": "subject", "val": 0.05 }, "licences": { "uso": null } },
        "budget": { "pictures": 10, "device_seconds": null },
        "metadata": { "of": "foxes" },
    });
    let answer = fixture.post("/v1/batches", &asked).await;
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = answer.json().await.unwrap();
    assert_eq!((&made["fresh"], &made["rows"]), (&json!(true), &json!(0)));
    assert_eq!(made["links"]["self"], location);
    let again = fixture.post("/v1/batches", &asked).await;
    assert_eq!(again.status(), 200);
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["id"], &again["fresh"]), (&made["id"], &json!(false)));
    let mut changed = asked.clone();
    changed["dataset"]["split"]["val"] = json!(0.5);
    let refused = problem(fixture.post("/v1/batches", &changed).await, 409, "settings_differ").await;
    assert_eq!(refused["errors"][0]["pointer"], "/dataset/split");
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("0.05") && message.contains("you ask for"), "{message}");
    let named = fixture.post("/v1/batches", &json!({ "dataset": { "name": "foxes-1" } })).await;
    assert_eq!(named.status(), 200, "settings that are not named stay");
    let other = create(&fixture, "foxes-2").await;

    let view: Value = fixture.get(&location).await.json().await.unwrap();
    assert_eq!(view["metadata"], json!({ "of": "foxes" }));
    let dataset = &view["dataset"];
    assert_eq!(
        (&dataset["name"], &dataset["rows"], &dataset["held"]),
        (&json!("foxes-1"), &json!(0), &Value::Null)
    );
    assert_eq!(dataset["budget"], json!({ "pictures": 10, "device_seconds": null }));
    let page: Value = fixture.get("/v1/batches?limit=1").await.json().await.unwrap();
    assert_eq!((&page["batches"][0]["id"], &page["next"]), (&json!(other), &json!(other)));
    let page: Value = fixture.get(&format!("/v1/batches?limit=1&cursor={other}")).await.json().await.unwrap();
    assert_eq!((&page["batches"][0]["id"], &page["next"]), (&made["id"], &Value::Null));

    let plain = fixture.post("/v1/batches", &json!({ "jobs": [{}] })).await;
    let plain: Value = plain.json().await.unwrap();
    let plain = plain["id"].as_str().unwrap();
    assert_eq!(
        fixture.get(&format!("/v1/batches/{plain}")).await.json::<Value>().await.unwrap()["dataset"],
        Value::Null
    );
    problem(put_rows(&fixture, plain, 0, &rows(0, 1)).await, 409, "not_a_dataset").await;
}

#[tokio::test]
async fn a_bad_request_names_each_field() {
    let fixture = Fixture::start().await;
    let bad = json!({
        "dataset": { "name": "", "shard_rows": 0, "split": { "by": "key" }, "licences": { "a": 1 }, "colour": 1 },
        "budget": { "pictures": -1 }, "jobs": [], "on_bad": "skip",
    });
    let refused = problem(fixture.post("/v1/batches", &bad).await, 422, "invalid_fields").await;
    let mut named: Vec<&str> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    named.sort_unstable();
    let expected = [
        "/budget/pictures",
        "/dataset/colour",
        "/dataset/licences",
        "/dataset/name",
        "/dataset/shard_rows",
        "/dataset/split",
        "/jobs",
        "/on_bad",
    ];
    assert_eq!(named, expected);
    assert_eq!(fixture.get("/v1/batches").await.json::<Value>().await.unwrap()["batches"], json!([]));
}

#[tokio::test]
async fn chunks_of_rows_are_added_once_and_in_order() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    assert_eq!(added(put_rows(&fixture, &id, 0, &rows(0, 3)).await).await, 3);
    // The answer was lost.
    assert_eq!(added(put_rows(&fixture, &id, 0, &rows(0, 3)).await).await, 3);
    assert_eq!(added(put_rows(&fixture, &id, 3, &rows(3, 4)).await).await, 4);
    for (from, some) in [(0, rows(4, 7)), (2, rows(2, 3)), (3, rows(3, 5)), (7, rows(7, 8))] {
        let moved = problem(put_rows(&fixture, &id, from, &some).await, 409, "rows_moved").await;
        assert_eq!(moved["rows"], 4, "from {from}");
    }
    let (some, others) = (rows(4, 6), rows(6, 8));
    let (one, two) = tokio::join!(put_rows(&fixture, &id, 4, &some), put_rows(&fixture, &id, 4, &others));
    let mut statuses = [one.status().as_u16(), two.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);

    // Another process, which knows nothing yet, does not take a key twice either.
    let twice = problem(put_rows(&fixture, &id, 6, &rows(1, 2)).await, 422, "invalid_fields").await;
    let mut fixture = fixture;
    fixture.restart_api().await;
    assert_eq!(problem(put_rows(&fixture, &id, 6, &rows(1, 2)).await, 422, "invalid_fields").await, twice);
    assert_eq!(twice["errors"][0]["pointer"], "/1/key");

    let chunk = fixture.get(&format!("/v1/batches/{id}/chunks/0")).await;
    assert_eq!(chunk.headers()["content-type"], LINES);
    let chunk = chunk.text().await.unwrap();
    let lines: Vec<Value> = chunk.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["key"], "r2");
    assert_eq!(lines[2]["digest"].as_str().unwrap().len(), 32);
    for number in ["3", "-1", "x", "99999999999"] {
        problem(fixture.get(&format!("/v1/batches/{id}/chunks/{number}")).await, 404, "no_such_chunk").await;
    }
    assert_eq!(dataset(&fixture, &id).await["rows"], 6);
}

#[tokio::test]
async fn of_two_who_add_the_same_rows_one_has_added_them() {
    let mut fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    let some = rows(0, 3);
    let (one, two) = tokio::join!(put_rows(&fixture, &id, 0, &some), put_rows(&fixture, &id, 0, &some));
    assert_ne!(fresh(one).await, fresh(two).await);
    assert!(fresh(put_rows(&fixture, &id, 3, &rows(3, 4)).await).await);
    fixture.restart_api().await;
    assert!(!fresh(put_rows(&fixture, &id, 0, &some).await).await);
}

#[tokio::test]
async fn rows_wait_for_a_queue_that_is_slow() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    fixture.signal_redis("-STOP");
    // Longer than any other request waits.
    let go_on = async {
        tokio::time::sleep(2 * uso_api::QUEUE_TIMEOUT).await;
        fixture.signal_redis("-CONT");
    };
    let some = rows(0, 3);
    let (answer, ()) = tokio::join!(put_rows(&fixture, &id, 0, &some), go_on);
    assert_eq!(added(answer).await, 3);
    assert_eq!(added(put_rows(&fixture, &id, 3, &rows(3, 4)).await).await, 4, "they are there once");
}

#[tokio::test]
async fn bad_rows_are_named_by_line_and_field_and_refuse_all() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    let some = [
        json!({ "prompt": "a fox" }),
        json!({ "steps": 0, "colour": "red" }),
        json!(7),
        json!({ "key": "a.b" }),
        json!({ "prompt": "a fox" }),
    ];
    let refused = problem(put_rows(&fixture, &id, 0, &some).await, 422, "invalid_fields").await;
    let mut named: Vec<&str> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    named.sort_unstable();
    assert_eq!(named, ["/2/colour", "/2/steps", "/3", "/4/key", "/5"]);
    // What rows point to is looked at as a job's is.
    let lost = format!("upload:{}", uuid::Uuid::nil());
    let far = [
        json!({ "key": "a" }),
        json!({ "key": "b", "content": lost }),
        json!({ "key": "c", "styles": ["s3://uso/a", "s3://secrets/a"] }),
        json!({ "key": "d", "webhook": "https://example.com/hook" }),
    ];
    let refused = problem(put_rows(&fixture, &id, 0, &far).await, 422, "invalid_fields").await;
    let named: BTreeMap<&str, &str> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["pointer"].as_str().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    let expected =
        [("/2/content", "upload_missing"), ("/3/styles/1", "not_allowed"), ("/4/webhook", "not_allowed")];
    assert_eq!(named, BTreeMap::from(expected));

    let many = problem(put_rows(&fixture, &id, 0, &rows(0, 1001)).await, 422, "invalid_fields").await;
    assert!(many["detail"].as_str().unwrap().contains("1000"), "{many}");
    problem(put_rows(&fixture, &id, 0, &[]).await, 422, "invalid_fields").await;
    let large = [json!({ "prompt": "x".repeat(9 << 20) })];
    let large = problem(put_rows(&fixture, &id, 0, &large).await, 413, "body_too_large").await;
    assert!(large["detail"].as_str().unwrap().contains("8388608"), "{large}");
    let path = format!("/v1/batches/{id}/rows");
    problem(put_json(&fixture, &path, &json!({})).await, 415, "not_json_lines").await;
    assert_eq!(dataset(&fixture, &id).await["rows"], 0);
    assert_eq!(added(put_rows(&fixture, &id, 0, &rows(0, 1000)).await).await, 1000);
}

#[tokio::test]
async fn a_row_without_the_field_of_the_split_is_refused() {
    let fixture = Fixture::start().await;
    let asked = json!({ "dataset": { "name": "foxes", "split": { "by": "subject", "val": 0.5 } } });
    let made: Value = fixture.post("/v1/batches", &asked).await.json().await.unwrap();
    let id = made["id"].as_str().unwrap();
    let some = [
        json!({ "key": "a", "metadata": { "subject": "fox" } }),
        json!({ "key": "b" }),
        json!({ "key": "c", "metadata": { "subject": null } }),
    ];
    let refused = problem(put_rows(&fixture, id, 0, &some).await, 422, "invalid_fields").await;
    let errors = refused["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{refused}");
    for (error, line) in errors.iter().zip([2, 3]) {
        assert_eq!(error["pointer"], format!("/{line}/metadata/subject"));
        assert_eq!(error["message"], "is missing; the data set is split by it");
    }
    assert_eq!(dataset(&fixture, id).await["rows"], 0);
    assert_eq!(added(put_rows(&fixture, id, 0, &some[..1]).await).await, 1);
}

#[tokio::test]
async fn a_budget_is_changed() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    let path = format!("/v1/batches/{id}/budget");
    let changed = put_json(&fixture, &path, &json!({ "pictures": 0 })).await;
    assert_eq!(changed.status(), 200);
    let changed: Value = changed.json().await.unwrap();
    assert_eq!(changed["dataset"]["budget"], json!({ "pictures": 0, "device_seconds": null }));
    assert_eq!(changed["dataset"]["held"], "budget_pictures");
    let refused =
        problem(put_json(&fixture, &path, &json!({ "pictures": 1.5, "x": 1 })).await, 422, "invalid_fields")
            .await;
    assert_eq!(refused["errors"].as_array().unwrap().len(), 2);
}

/// A caller with a key.
async fn send(fixture: &Fixture, key: &ApiKey, method: &str, path: &str, body: &str) -> Response {
    let kind = if path.ends_with("/rows") && method == "PUT" { LINES } else { "application/json" };
    let request = fixture.client.request(method.parse::<Method>().unwrap(), fixture.url(path));
    let request = request.bearer_auth(key.expose()).header("content-type", kind);
    request.body(body.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn anothers_data_set_is_as_if_it_were_not_there() {
    let fixture = Fixture::start_as(Config { access: uso_api::Access::Keys, ..Config::default() }).await;
    let theirs = fixture.key("theirs", &[Submit, Read]).await;
    let ours = fixture.key("ours", &[Submit, Read]).await;
    let asked = json!({ "dataset": { "name": "foxes" } }).to_string();
    let made: Value = send(&fixture, &theirs, "POST", "/v1/batches", &asked).await.json().await.unwrap();
    let id = made["id"].as_str().unwrap();
    let own: Value = send(&fixture, &ours, "POST", "/v1/batches", &asked).await.json().await.unwrap();
    assert_eq!((&own["fresh"], own["id"] == made["id"]), (&json!(true), false));
    let path = format!("/v1/batches/{id}/rows");
    assert_eq!(added(send(&fixture, &theirs, "PUT", &path, "{\"key\": \"a\"}").await).await, 1);

    let routes = [
        ("GET", "", ""),
        ("PUT", "/rows", "{}"),
        ("GET", "/rows", ""),
        ("GET", "/files", ""),
        ("GET", "/chunks/0", ""),
        ("POST", "/start", "{\"rows\": 1}"),
        ("PUT", "/budget", "{}"),
        ("POST", "/cancel", ""),
    ];
    for (method, route, body) in routes {
        let path = format!("/v1/batches/{id}{route}");
        problem(send(&fixture, &ours, method, &path, body).await, 404, "no_such_batch").await;
    }
    let listed: Value = send(&fixture, &ours, "GET", "/v1/batches", "").await.json().await.unwrap();
    assert_eq!(listed["batches"].as_array().unwrap().len(), 1);
    assert_eq!(listed["batches"][0]["id"], own["id"]);
    // Nor do its objects serve as references.
    for folder in ["batches", "datasets"] {
        let row = json!({ "key": "b", "content": format!("s3://uso/{folder}/{id}/a.png") }).to_string();
        let path = format!("/v1/batches/{}/rows", own["id"].as_str().unwrap());
        problem(send(&fixture, &ours, "PUT", &path, &row).await, 422, "invalid_fields").await;
    }
}
