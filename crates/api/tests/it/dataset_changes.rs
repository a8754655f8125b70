//! Rows of data sets that ask for something else, that are retried for one reason, and that are found among many.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reqwest::Response;
use serde_json::{Value, json};
use uso_dataset::{Outcome, layout, run};
use uso_queue::{Archived, BatchId, Defaults, Failure, JobId, JobSpec, RowSubmission, TaskRequest, WorkerId};

use crate::dataset_runs::{next_job, tend};
use crate::datasets::{added, create, dataset, put_rows, rows, start};
use crate::fixture::{Fixture, problem, until};

pub(crate) async fn replace(fixture: &Fixture, id: &str, chunk: u64, rows: &[Value]) -> Response {
    let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let put = fixture.client.put(fixture.url(&format!("/v1/batches/{id}/chunks/{chunk}")));
    put.header("content-type", "application/x-ndjson").body(body).send().await.unwrap()
}

async fn replaced(answer: Response) -> (u64, Vec<(String, String)>) {
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let answer: Value = answer.json().await.unwrap();
    let word = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let kept = answer["kept"].as_array().unwrap().iter();
    (answer["rows"].as_u64().unwrap(), kept.map(|row| (word(row, "key"), word(row, "reason"))).collect())
}

fn cat(row: u64) -> Value {
    json!({ "key": format!("r{row}"), "prompt": "a cat", "steps": 2 })
}

/// The digests of a chunk's rows, by their keys.
async fn digests(fixture: &Fixture, id: &str, chunk: u64) -> BTreeMap<String, String> {
    let chunk = fixture.get(&format!("/v1/batches/{id}/chunks/{chunk}")).await.text().await.unwrap();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["key"].as_str().unwrap().to_owned(), row["digest"].as_str().unwrap().to_owned())
    };
    chunk.lines().map(row).collect()
}

pub(crate) async fn fail(fixture: &Fixture, code: &str) -> JobId {
    let lease = next_job(fixture).await;
    let failure = Failure { code: code.into(), message: "it failed".into(), ..Failure::default() };
    lease.fail(&failure).await.unwrap();
    lease.id
}

#[tokio::test]
async fn rows_are_replaced_unless_they_are_made() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 6)).await).await;
    start(&fixture, &id, 4).await;
    let tending = tend(&fixture);
    let lease = next_job(&fixture).await;
    fixture.complete(&lease).await;
    let made = lease.id.row().unwrap().row;
    let failed = fail(&fixture, "broke").await.row().unwrap().row;
    let running = next_job(&fixture).await;
    let runs = running.id.row().unwrap().row;

    let all: Vec<Value> = (0..6).map(cat).collect();
    let (count, mut kept) = replaced(replace(&fixture, &id, 0, &all).await).await;
    let mut expected =
        vec![(format!("r{made}"), "succeeded".to_owned()), (format!("r{runs}"), "running".to_owned())];
    kept.sort();
    expected.sort();
    assert_eq!((count, &kept), (4, &expected));
    let (count, mut again) = replaced(replace(&fixture, &id, 0, &all).await).await;
    again.sort();
    assert_eq!((count, again), (4, expected), "it is safe to repeat");
    let kinds: BTreeSet<String> = digests(&fixture, &id, 0).await.into_values().collect();
    assert_eq!(kinds.len(), 2, "foxes and cats");
    fixture.complete(&running).await;

    // Those that wait and the failed one are made anew with the next start, and no other.
    start(&fixture, &id, 6).await;
    let mut prompts = Vec::new();
    for _ in 0..4 {
        let lease = next_job(&fixture).await;
        prompts.push((lease.id.row().unwrap().row, lease.spec.prompt.clone()));
        fixture.complete(&lease).await;
    }
    prompts.sort();
    let anew = (0..6).filter(|row| *row != made && *row != runs);
    assert_eq!(prompts, anew.map(|row| (row, "a cat".to_owned())).collect::<Vec<_>>());
    assert!(prompts.iter().any(|(row, _)| *row == failed));
    let counts = async || {
        let view: Value = fixture.get(&format!("/v1/batches/{id}")).await.json().await.unwrap();
        view["counts"].clone()
    };
    until("all rows have a picture", async || counts().await["succeeded"] == 6).await;
    assert_eq!(counts().await["failed"], 0);
    // What was added and replaced is there, and a further chunk finds its place.
    assert_eq!(added(put_rows(&fixture, &id, 6, &rows(6, 8)).await).await, 8);
    let twice = problem(put_rows(&fixture, &id, 8, &rows(0, 1)).await, 422, "invalid_fields").await;
    assert_eq!(twice["errors"][0]["code"], "twice");
    tending.abort();
}

#[tokio::test]
async fn a_row_that_is_not_in_the_chunk_or_is_bad_replaces_nothing() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 2)).await).await;
    let strange = problem(replace(&fixture, &id, 0, &[cat(0), cat(7)]).await, 422, "invalid_fields").await;
    assert_eq!(
        (&strange["errors"][0]["pointer"], &strange["errors"][0]["code"]),
        (&json!("/2/key"), &json!("no_such_row"))
    );
    let mut bad = cat(0);
    bad["content"] = "upload:00000000-0000-0000-0000-000000000000".into();
    let bad = problem(replace(&fixture, &id, 0, &[bad]).await, 422, "invalid_fields").await;
    assert_eq!(bad["errors"][0]["pointer"], "/1/content");
    problem(replace(&fixture, &id, 1, &[cat(0)]).await, 404, "no_such_chunk").await;
    let (count, kept) = replaced(replace(&fixture, &id, 0, &rows(0, 2)).await).await;
    assert_eq!((count, kept.len()), (2, 0), "they are the same");
}

#[tokio::test]
async fn a_manifest_replaces_rows_if_it_is_asked_to() {
    let fixture = Fixture::start().await;
    let put = async |rows: Vec<Value>| {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fixture.store.put("foxes.jsonl", "text/plain", text.into()).await.unwrap();
    };
    let read = async |replace: bool| {
        let body =
            json!({ "dataset": { "name": "foxes" }, "manifest": "s3://uso/foxes.jsonl", "replace": replace });
        fixture.post("/v1/batches", &body).await
    };
    put(rows(0, 2500)).await;
    let made: Value = read(false).await.json().await.unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(made["replaced"], 0);
    let tending = tend(&fixture);
    let lease = next_job(&fixture).await;
    fixture.complete(&lease).await;
    let done = lease.id.row().unwrap().row;
    let other = 2300;
    assert_ne!(done, other);
    let mut changed = rows(0, 2501);
    for row in [done, other] {
        changed[row as usize] = cat(row);
    }
    put(changed).await;
    let refused = problem(read(false).await, 409, "rows_moved").await;
    assert!(refused["detail"].as_str().unwrap().contains("is another one"), "{refused}");
    let refused = problem(read(true).await, 422, "invalid_fields").await;
    assert_eq!(
        (&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]),
        (&json!(format!("/{}/key", done + 1)), &json!("not_replaceable"))
    );
    let mut changed = rows(0, 2501);
    changed[other as usize] = cat(other);
    put(changed).await;
    let again: Value = read(true).await.json().await.unwrap();
    assert_eq!((&again["rows"], &again["bad_row_count"]), (&json!(2501), &json!(0)), "{again}");
    let digests = digests(&fixture, &id, 2).await;
    assert_ne!(digests[&format!("r{other}")], digests[&format!("r{}", other - 1)]);
    tending.abort();
}

/// Whether there is a file anywhere below.
fn has_file(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| if entry.path().is_dir() { has_file(&entry.path()) } else { true })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_manifest_that_changes_while_it_is_read_nothing_stays() {
    let fixture = Fixture::start().await;
    let row = |row: u64| format!("{{\"key\":\"r{row}\",\"prompt\":\"{}\"}}\n", "fox ".repeat(450));
    let text: String = (0..20_000).map(row).collect();
    fixture.store.put("foxes.jsonl", "text/plain", text.into()).await.unwrap();
    let body = json!({ "dataset": { "name": "foxes" }, "manifest": "s3://uso/foxes.jsonl" });
    // It is another one as soon as its first chunk is there; its last parts are not read by then.
    let changes = async {
        let batches = fixture.bucket().join("batches");
        until("a chunk is there", async || has_file(&batches)).await;
        fixture.store.put("foxes.jsonl", "text/plain", "{}\n".into()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(fixture.post("/v1/batches", &body), changes);
    let refused = problem(answer, 422, "invalid_fields").await;
    assert_eq!(
        (&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]),
        (&json!("/manifest"), &json!("unreadable"))
    );
    let page: Value = fixture.get("/v1/batches").await.json().await.unwrap();
    let dataset = &page["batches"][0]["dataset"];
    assert_eq!((&dataset["rows"], &dataset["started"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn rows_that_are_not_started_are_discarded() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 3)).await).await;
    added(put_rows(&fixture, &id, 3, &rows(3, 5)).await).await;
    let path = format!("/v1/batches/{id}/rows?from=3");
    let left: Value = fixture.client.delete(fixture.url(&path)).send().await.unwrap().json().await.unwrap();
    assert_eq!(left["rows"], 3);
    // Their keys are free again.
    assert_eq!(added(put_rows(&fixture, &id, 3, &rows(4, 5)).await).await, 4);
    start(&fixture, &id, 4).await;
    let path = format!("/v1/batches/{id}/rows");
    let left: Value = fixture.client.delete(fixture.url(&path)).send().await.unwrap().json().await.unwrap();
    assert_eq!(left["rows"], 4);
}

#[tokio::test]
async fn rows_are_retried_for_one_reason() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 6)).await).await;
    start(&fixture, &id, 6).await;
    let tending = tend(&fixture);
    let mut flat = Vec::new();
    for number in 0..6 {
        let code = if number % 2 == 0 { "flat_picture" } else { "broke" };
        let failed = fail(&fixture, code).await;
        if number % 2 == 0 {
            flat.push(failed.row().unwrap().row);
        }
    }
    let retry = format!("/v1/batches/{id}/retry-failed");
    problem(fixture.post(&format!("{retry}?reason=Not%20one"), &json!({})).await, 400, "invalid_parameters")
        .await;
    let answer = fixture.post(&format!("{retry}?reason=flat_picture"), &json!({})).await;
    assert_eq!(answer.status(), 202);
    let reasons = async || {
        let reasons = dataset(&fixture, &id).await["reasons"].take();
        let count = |reason: &Value| (reason["code"].as_str().unwrap().to_owned(), reason["rows"].clone());
        reasons.as_array().unwrap().iter().map(count).collect::<Vec<_>>()
    };
    let broke = [("broke".to_owned(), json!(3))];
    until("the rows are queued again, and are no failed ones", async || reasons().await == broke).await;
    let mut again = Vec::new();
    for _ in 0..3 {
        let lease = next_job(&fixture).await;
        let row = lease.id.row().unwrap();
        again.push(row.row);
        assert_eq!(row.pass, 1);
        fixture.complete(&lease).await;
    }
    again.sort_unstable();
    flat.sort_unstable();
    assert_eq!(again, flat);
    let view: Value = fixture.get(&format!("/v1/batches/{id}")).await.json().await.unwrap();
    assert_eq!((&view["counts"]["failed"], &view["counts"]["succeeded"]), (&json!(3), &json!(3)));
    assert_eq!(view["dataset"]["retrying"], Value::Null);
    tending.abort();
}

/// Rows of the data set of a thousand segments.
const MANY: u64 = 1000;

/// A data set in which each row has a segment of its own, and each segment could hold any row.
async fn of_many_segments(fixture: &Fixture) -> (String, Vec<JobId>) {
    let id = create(fixture, "foxes").await;
    added(put_rows(fixture, &id, 0, &rows(0, MANY)).await).await;
    start(fixture, &id, MANY).await;
    let request = TaskRequest { run: true, pack: false };
    let task = fixture.queue.claim_task(&WorkerId::new(), run::TERM, request).await.unwrap().unwrap();
    let spec = JobSpec::parse(&json!({ "seed": 1 }), &Defaults::default()).unwrap();
    for from in (0..MANY).step_by(100) {
        let keys: Vec<String> = (from..from + 100).map(|row| format!("r{row}")).collect();
        let submissions: Vec<_> = (from..from + 100)
            .zip(&keys)
            .map(|(row, key)| RowSubmission { row, key, group: 0, spec: &spec })
            .collect();
        task.feed(from, from + 100, 10_000, &submissions).await.unwrap();
    }
    let worker = WorkerId::new();
    let mut jobs = Vec::new();
    for segment in 0..MANY {
        let lease = fixture.queue.claim_one(&worker).await.unwrap().unwrap();
        let failure =
            Failure { code: "broke".into(), message: format!("in segment {segment}"), ..Failure::default() };
        lease.fail(&failure).await.unwrap();
        jobs.push(lease.id);
        let outcome: Outcome = serde_json::from_value(json!({
            "row": lease.row, "key": "r", "job": lease.id, "state": "failed", "spec": spec, "error": failure,
            "attempt": 1, "submitted_ms": 1, "finished_ms": 2,
        }))
        .unwrap();
        let key = layout::segment(&task.batch, segment, task.fence);
        let line = serde_json::to_string(&outcome).unwrap() + "\n";
        fixture.store.put(&key, "application/x-ndjson", line.into()).await.unwrap();
        let archived = Archived { outcomes: 1, lowest: 0, highest: MANY - 1, ..Archived::default() };
        assert!(task.archived(segment, &archived).await.unwrap());
        if segment % 100 == 0 {
            assert!(task.renew(run::TERM).await.unwrap().held);
        }
    }
    task.release().await.unwrap();
    (id, jobs)
}

#[tokio::test]
async fn a_row_among_a_thousand_segments_is_found_with_a_few_requests() {
    let fixture = Fixture::start().await;
    let (id, jobs) = of_many_segments(&fixture).await;
    let message = async |job: &JobId| -> Value {
        let job: Value = fixture.get(&format!("/v1/jobs/{job}")).await.json().await.unwrap();
        job["error"]["message"].clone()
    };
    // A version before made no index, and took it for finished: nobody runs it.
    fixture.take_datasets_for_finished().await;
    let tending = tend(&fixture);
    let batch = id.parse().unwrap();
    let request = TaskRequest { run: true, pack: true };
    assert!(fixture.queue.claim_task(&WorkerId::new(), run::TERM, request).await.unwrap().is_none());
    // It is looked for in all segments, once, and the index is made.
    assert_eq!(message(&jobs[3]).await, "in segment 3");
    let is_indexed = async || fixture.queue.dataset(&batch).await.unwrap().unwrap().indexed > MANY - 16;
    until("all but the last segments are in the index", is_indexed).await;
    tending.abort();

    // With all other segments away, whoever read one of them would fail.
    let segments = fixture.store.list(&format!("batches/{id}/segments/")).await.unwrap();
    assert_eq!(segments.len() as u64, MANY);
    assert_eq!(message(&jobs[MANY as usize - 1]).await, "in segment 999");
    // In the list, too, a row is found however many segments could have it: each here could have any.
    for number in [3, 517, 999] {
        let row = jobs[number].row().unwrap().row;
        let path = format!("/v1/batches/{id}/rows?limit=1&key=r{row}");
        let page: Value = fixture.get(&path).await.json().await.unwrap();
        assert_eq!((&page["rows"][0]["row"], &page["before"]), (&json!(row), &json!(number)), "{page}");
    }
    for number in [0, 517, 980] {
        let others: Vec<String> = segments
            .iter()
            .map(|object| object.key.clone())
            .filter(|key| !key.contains(&format!("/{number:06}-")))
            .collect();
        let kept = objects(&fixture, &others).await;
        fixture.store.delete_many(&others).await.unwrap();
        assert_eq!(message(&jobs[number]).await, format!("in segment {number}"));
        // A row's job that there never was is not looked for anywhere.
        let nothing = batch_job(&id, jobs[number].row().unwrap().row, 9);
        problem(fixture.get(&format!("/v1/jobs/{nothing}")).await, 404, "no_such_job").await;
        for (key, bytes) in kept {
            fixture.store.put(&key, "application/x-ndjson", bytes).await.unwrap();
        }
    }
}

fn batch_job(id: &str, row: u64, pass: u8) -> JobId {
    id.parse::<BatchId>().unwrap().job_of_row(row, pass).unwrap()
}

/// The objects with these keys.
async fn objects(fixture: &Fixture, keys: &[String]) -> Vec<(String, bytes::Bytes)> {
    let mut found = Vec::new();
    for key in keys {
        found.push((key.clone(), fixture.store.get(key).await.unwrap()));
    }
    found
}
