//! Data sets as a stranger would try to break them: each refusal says what is wrong, nothing fails inside, and what was
//! accepted stays.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::datasets::{added, create, dataset, put_rows, rows, start};
use crate::fixture::{Fixture, problem};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

async fn send(fixture: &Fixture, method: &str, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> Response {
    let method: Method = method.parse().unwrap();
    let request = fixture.client.request(method, fixture.url(path)).header("content-type", kind);
    request.body(body.into()).send().await.unwrap()
}

/// Checks that an answer is the caller's fault and says so, and gives the problem.
async fn refused(answer: Response, what: &str) -> Value {
    let status = answer.status();
    assert!(status.is_client_error(), "{what}: {status}");
    assert_eq!(answer.headers()["content-type"], "application/problem+json", "{what}");
    let problem: Value = answer.json().await.unwrap();
    assert!(!problem["detail"].as_str().unwrap().is_empty(), "{what}: {problem}");
    for error in problem["errors"].as_array().into_iter().flatten() {
        assert!(!error["message"].as_str().unwrap().is_empty(), "{what}: {problem}");
    }
    problem
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    let under = |name: &str| format!("/v1/batches/{id}/{name}");
    let operations = [("POST", "/v1/batches".to_owned()), ("POST", under("start")), ("PUT", under("budget"))];
    let deep = "[".repeat(100_000);
    for (method, path) in &operations {
        for (body, code) in [
            (&b"{"[..], "invalid_json"),
            (b"", "invalid_json"),
            (b"\xff\xfe", "invalid_json"),
            (b"{\"rows\": 1e999}", "invalid_json"),
            (b"{\"rows\": NaN}", "invalid_json"),
            (b"{\"rows\": \"\\ud800\"}", "invalid_json"),
            (b"{\"rows\": 1} {}", "invalid_json"),
            (deep.as_bytes(), "invalid_json"),
            (b"[]", "invalid_fields"),
            (b"null", "invalid_fields"),
            (b"\"x\"", "invalid_fields"),
            (b"7", "invalid_fields"),
        ] {
            let what = format!("{method} {path} {}", String::from_utf8_lossy(&body[..body.len().min(20)]));
            let told = refused(send(&fixture, method, path, JSON, body).await, &what).await;
            assert_eq!(told["code"], code, "{what}: {told}");
        }
        problem(send(&fixture, method, path, "text/plain", "{}").await, 415, "not_json").await;
        let large = send(&fixture, method, path, JSON, vec![b' '; (1 << 20) + 1]).await;
        let large = problem(large, 413, "body_too_large").await;
        assert!(large["detail"].as_str().unwrap().contains(|c: char| c.is_ascii_digit()), "{large}");
    }
    assert_eq!(dataset(&fixture, &id).await["started"], 0);
}

#[tokio::test]
async fn fields_that_cannot_be_are_named_with_their_limits() {
    let fixture = Fixture::start().await;
    let wanted = |field: &str, value: Value| match field.split_once('/') {
        Some(("dataset", name)) => {
            let mut body = json!({ "dataset": { "name": "foxes" } });
            body["dataset"][name] = value;
            body
        }
        Some((parent, name)) => json!({ "dataset": { "name": "foxes" }, parent: { name: value } }),
        None => json!({ "dataset": { "name": "foxes" }, field: value }),
    };
    let huge = || json!(1e300);
    let cases: Vec<(&str, Vec<Value>, &str)> = vec![
        (
            "dataset/name",
            vec![
                json!(7),
                json!(""),
                json!(null),
                json!("x".repeat(201)),
                json!("a\nb"),
                json!("\u{0}"),
                json!("a\u{1b}[2J"),
                json!([]),
            ],
            "200",
        ),
        (
            "dataset/shard_rows",
            vec![json!("5"), json!(0), json!(-1), json!(1.5), huge(), json!(1_000_001), json!({})],
            "1000000",
        ),
        ("dataset/shard_bytes", vec![json!("5"), json!(0), json!(-1), huge(), json!(true)], "68719476736"),
        (
            "dataset/split",
            vec![
                json!([]),
                json!({ "by": 1, "val": 0.5 }),
                json!({ "by": "key", "val": 2 }),
                json!({ "by": "key", "val": 0.1, "x": 1 }),
                json!("key"),
            ],
            "0 to 1",
        ),
        (
            "dataset/licences",
            vec![json!([]), json!({ "a": [] }), json!({ "a": "x".repeat(501) }), json!("MIT")],
            "500",
        ),
        ("dataset/colour\u{7}", vec![json!(1)], "no such field"),
        (
            "budget/pictures",
            vec![json!(-1), json!("9"), json!(0.5), huge(), json!(u64::MAX), json!([])],
            "2^53 - 1",
        ),
        ("budget/device_seconds", vec![json!(-1), json!({}), huge()], "2^53 - 1"),
        ("budget/hours", vec![json!(1)], "no such field"),
        ("budget", vec![json!(5), json!([]), json!("x")], "object"),
        ("metadata", vec![json!("x".repeat(4096)), json!({ "a": "\u{0}".repeat(1000) })], "4096"),
        (
            "manifest",
            vec![
                json!("https://example.com/rows.jsonl"),
                json!("s3://other/rows.jsonl"),
                json!("http://169.254.169.254/x.csv"),
            ],
            "bucket",
        ),
        (
            "manifest",
            vec![
                json!(5),
                json!(""),
                json!("file:///etc/passwd"),
                json!("upload:x"),
                json!("/etc/passwd"),
                json!("s3://uso"),
            ],
            "",
        ),
        ("kind", vec![json!(5), json!("xml")], ""),
        ("on_bad", vec![json!(true), json!("ignore")], "fail, skip"),
        ("unknown", vec![json!([]), json!("drop")], "refuse, metadata"),
        ("jobs", vec![json!([]), json!(null), json!([{}])], "no such field"),
    ];
    for (field, values, says) in cases {
        for value in values {
            let mut body = wanted(field, value);
            if matches!(field, "kind" | "on_bad" | "unknown") {
                body["manifest"] = json!("s3://uso/rows.jsonl");
            }
            let what = body.to_string();
            let told = problem(fixture.post("/v1/batches", &body).await, 422, "invalid_fields").await;
            let pointer = format!("/{field}");
            let errors = told["errors"].as_array().unwrap();
            let named = errors.iter().find(|error| error["pointer"].as_str().unwrap() == pointer);
            let named = named.unwrap_or_else(|| panic!("{what}: {told}"));
            assert!(named["message"].as_str().unwrap().contains(says), "{what}: {told}");
        }
    }
    let listed: Value = fixture.get("/v1/batches").await.json().await.unwrap();
    assert_eq!(listed["batches"], json!([]), "one of them was made");
}

#[tokio::test]
async fn rows_that_cannot_be_are_named_by_line_and_none_is_added() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    let path = format!("/v1/batches/{id}/rows");
    let line = |body: &str| body.as_bytes().to_vec();
    let long = format!("{{\"prompt\": \"{}\"}}", "x".repeat(256 * 1024));
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (line("{\"key\": \"a\\nb\"}"), "/1/key", "128"),
        (line("{\"key\": \"a\\u0000\"}"), "/1/key", "128"),
        (line("{\"key\": \"../a\"}"), "/1/key", "128"),
        (line("{\"key\": 7}"), "/1/key", "string"),
        (json!({ "key": "k".repeat(129) }).to_string().into_bytes(), "/1/key", "128"),
        (line("{\"key\": \"a\"}\n{\"key\": \"a\", \"steps\": 3}"), "/2/key", "line 1"),
        (line("{\"steps\": 1e300}"), "/1/steps", "100"),
        (line("{\"steps\": 99999999999999999999999}"), "/1/steps", "100"),
        (line("{\"seed\": 9007199254740992}"), "/1/seed", ""),
        (line("{\"prompt\": []}"), "/1/prompt", "string"),
        (json!({ "metadata": "x".repeat(4096) }).to_string().into_bytes(), "/1/metadata", "4096"),
        (long.into_bytes(), "/1", "262144"),
        (line("{\"steps\": 1e999}"), "/1", "number"),
        (line("{}\nnull"), "/2", "object"),
        (line("{\"a\": "), "/1", "JSON"),
        (format!("{}7", "[".repeat(1000)).into_bytes(), "/1", "JSON"),
        (b"{\"prompt\": \"\xff\"}".to_vec(), "/1", "UTF-8"),
        (line(&"{}\n".repeat(1001)), "", ""),
        (line(" \n\n"), "", "no rows"),
        (Vec::new(), "", "no rows"),
    ];
    for (body, pointer, says) in cases {
        let what = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let told = problem(send(&fixture, "PUT", &path, LINES, body).await, 422, "invalid_fields").await;
        let errors = told["errors"].as_array().unwrap();
        let named = errors.iter().find(|error| error["pointer"] == pointer || pointer.is_empty());
        let named = named.unwrap_or_else(|| panic!("{what}: {told}"));
        assert!(named["message"].as_str().unwrap().contains(says), "{what}: {told}");
    }
    for from in ["-1", "1.5", "x", "9007199254740992", "99999999999999999999999", "%00"] {
        let told = send(&fixture, "PUT", &format!("{path}?from={from}"), LINES, "{}").await;
        let told = problem(told, 400, "invalid_parameters").await;
        assert_eq!(told["errors"][0]["pointer"], "?from", "{told}");
    }
    let far = send(&fixture, "PUT", &format!("{path}?from=4294967295"), LINES, "{}").await;
    let far = problem(far, 422, "invalid_fields").await;
    assert!(far["detail"].as_str().unwrap().contains("4294967295"), "{far}");
    let unknown = send(&fixture, "PUT", &format!("{path}?from=0&to=9"), LINES, "{}").await;
    problem(unknown, 400, "invalid_parameters").await;
    assert_eq!(dataset(&fixture, &id).await["rows"], 0);
}

#[tokio::test]
async fn what_was_accepted_stays_whatever_is_done_in_whatever_order() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    let do_it =
        async |operation: &str| fixture.post(&format!("/v1/batches/{id}/{operation}"), &json!({})).await;
    let started = async || dataset(&fixture, &id).await["started"].clone();
    // An empty one is started, paused, resumed and retried without harm.
    assert_eq!(start(&fixture, &id, 0).await.status(), 202);
    let told = problem(start(&fixture, &id, 1).await, 409, "rows_moved").await;
    assert_eq!(told["rows"], 0);
    for operation in ["pause", "pause", "resume", "resume", "retry-failed", "retry-failed"] {
        let answer = do_it(operation).await;
        assert!(!answer.status().is_server_error(), "{operation}: {}", answer.status());
    }
    assert_eq!(added(put_rows(&fixture, &id, 0, &rows(0, 5)).await).await, 5);
    for (rows, expected) in [(3, 3), (3, 3), (1, 3), (5, 5)] {
        assert_eq!(start(&fixture, &id, rows).await.status(), 202);
        assert_eq!(started().await, expected, "it never lets fewer rows go than before");
    }
    for value in [json!("5"), json!(-1), json!(1.5), json!(1e300), json!(null), json!([])] {
        let answer = fixture.post(&format!("/v1/batches/{id}/start"), &json!({ "rows": value })).await;
        let told = problem(answer, 422, "invalid_fields").await;
        assert_eq!(told["errors"][0]["pointer"], "/rows");
    }
    problem(start(&fixture, &id, u64::from(u32::MAX) * 1000).await, 409, "rows_moved").await;
    // Rows may come after the start, and wait for the next one.
    assert_eq!(added(put_rows(&fixture, &id, 5, &rows(5, 7)).await).await, 7);
    assert_eq!(started().await, 5);

    let budget =
        send(&fixture, "PUT", &format!("/v1/batches/{id}/budget"), JSON, "{\"device_seconds\": 0}").await;
    let budget: Value = budget.json().await.unwrap();
    assert_eq!(budget["dataset"]["held"], "budget_seconds", "a budget that is spent holds it");

    for _ in 0..2 {
        let canceled = do_it("cancel").await;
        assert_eq!(canceled.status(), 202);
        assert_eq!(canceled.json::<Value>().await.unwrap()["canceled"], true);
    }
    problem(put_rows(&fixture, &id, 7, &rows(7, 8)).await, 409, "batch_canceled").await;
    problem(start(&fixture, &id, 7).await, 409, "batch_canceled").await;
    let resumed: Value = do_it("resume").await.json().await.unwrap();
    assert_eq!(resumed["canceled"], true, "a canceled data set is not resumed");
    assert_eq!(dataset(&fixture, &id).await["rows"], 7);
    // The name gives it as it is.
    let again = fixture.post("/v1/batches", &json!({ "dataset": { "name": "foxes" } })).await;
    assert_eq!((again.status(), &again.json::<Value>().await.unwrap()["rows"]), (StatusCode::OK, &json!(7)));
}

#[tokio::test]
async fn failed_rows_are_retried_as_often_as_is_possible_and_then_refused() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 1)).await).await;
    start(&fixture, &id, 1).await;
    let do_it =
        async |operation: &str| fixture.post(&format!("/v1/batches/{id}/{operation}"), &json!({})).await;
    for _ in 0..3 {
        assert_eq!(do_it("retry-failed").await.status(), 202);
    }
    assert_eq!(dataset(&fixture, &id).await["pass"], 0, "nothing had failed");
    for pass in 1..=62 {
        do_it("cancel").await;
        assert_eq!(do_it("retry-failed").await.status(), 202);
        assert_eq!(dataset(&fixture, &id).await["pass"], pass);
    }
    do_it("cancel").await;
    let told = problem(do_it("retry-failed").await, 409, "no_more_retries").await;
    assert!(told["detail"].as_str().unwrap().contains("62"), "{told}");
}

#[tokio::test]
async fn paths_that_lead_nowhere_say_so() {
    let fixture = Fixture::start().await;
    let long = "a".repeat(5000);
    for id in ["x", "0-", "-", "%00", "..%2f..%2fv1", "0-01890a5d-ac96-8000-8000-000000000000", "99-x", &long]
    {
        for (method, route, kind, body) in [
            ("GET", "", JSON, ""),
            ("GET", "/events", JSON, ""),
            ("POST", "/cancel", JSON, ""),
            ("POST", "/pause", JSON, ""),
            ("POST", "/resume", JSON, ""),
            ("POST", "/retry-failed", JSON, ""),
            ("PUT", "/rows", LINES, "{}"),
            ("GET", "/rows", JSON, ""),
            ("POST", "/start", JSON, "{\"rows\": 1}"),
            ("PUT", "/budget", JSON, "{}"),
            ("GET", "/files", JSON, ""),
            ("GET", "/chunks/0", JSON, ""),
        ] {
            let path = format!("/v1/batches/{id}{route}");
            let told = refused(send(&fixture, method, &path, kind, body).await, &path).await;
            assert!(told["status"] == 404 || told["status"] == 400, "{method} {path}: {told}");
        }
    }
    let id = create(&fixture, "foxes").await;
    for query in [
        "rows?limit=0",
        "rows?limit=101",
        "rows?limit=-1",
        "rows?cursor=x",
        "rows?cursor=1",
        "rows?state=queued",
        "rows?page=1",
        "files?limit=501",
        "files?cursor=%00",
        "files?limit=1&limit=2",
        "rows?cursor=9999999999999999.0",
    ] {
        let answer = fixture.get(&format!("/v1/batches/{id}/{query}")).await;
        problem(answer, 400, "invalid_parameters").await;
    }
    for query in ["rows?cursor=999999999999999.999999999999999", "files?cursor=zzz", "rows?skip=9"] {
        let answer = fixture.get(&format!("/v1/batches/{id}/{query}")).await;
        assert_eq!(answer.status(), 200, "{query}");
    }
    for query in ["limit=101", "cursor=x", "limit=x", "name=foxes"] {
        problem(fixture.get(&format!("/v1/batches?{query}")).await, 400, "invalid_parameters").await;
    }
}
