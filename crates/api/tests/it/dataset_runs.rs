//! Rows of data sets are queued, end, and are found in segments and shards.

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uso_dataset::run;
use uso_queue::{BatchId, Failure, Lease, TaskKind, TaskRequest, WorkerId};

use crate::datasets::{added, create, dataset, put_rows, rows, start};
use crate::fixture::{Fixture, problem, until};
use crate::uploads::{png, upload};

/// Does what workers do for data sets beside their jobs.
pub(crate) fn tend(fixture: &Fixture) -> JoinHandle<()> {
    let (queue, store, worker) = (fixture.queue.clone(), fixture.store.clone(), WorkerId::new());
    tokio::spawn(async move {
        loop {
            let request = TaskRequest { run: true, pack: true };
            match queue.claim_task(&worker, run::TERM, request).await.unwrap() {
                Some(task) => match task.kind {
                    TaskKind::Run => {
                        // Packing waits meanwhile, so it must not be left to this process alone.
                        let (queue, store) = (queue.clone(), store.clone());
                        tokio::spawn(async move { run::run(&queue, &store, &task).await.unwrap() });
                    }
                    TaskKind::Pack(number) => run::pack(&queue, &store, &task, number).await.unwrap(),
                },
                None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    })
}

pub(crate) async fn next_job(fixture: &Fixture) -> Lease {
    let worker = WorkerId::new();
    loop {
        if let Some(lease) = fixture.queue.claim_one(&worker).await.unwrap() {
            return lease;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_upload_is_pinned_once_for_all_rows() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    let source = upload(&fixture, "image/png", &png(64, 48)).await["source"].clone();
    let some: Vec<Value> =
        (0..200).map(|row| json!({ "key": format!("r{row}"), "content": source })).collect();
    assert_eq!(added(put_rows(&fixture, &id, 0, &some).await).await, 200);
    start(&fixture, &id, 1).await;
    let tending = tend(&fixture);
    let lease = next_job(&fixture).await;
    let named = lease.spec.content.as_ref().unwrap().to_string();
    assert!(named.starts_with(&format!("{}@", source.as_str().unwrap())), "{named}");
    tending.abort();
}

#[tokio::test]
async fn rows_without_a_gate_get_that_of_their_data_set() {
    let fixture = Fixture::start().await;
    let gate =
        |tries: u32| json!({ "scorers": ["clip"], "min": { "clip_t": 0.25, "clip_i": 0.5 }, "tries": tries });
    let asked = |gate: &Value| json!({ "dataset": { "name": "gated", "gate": gate } });
    let refused = problem(fixture.post("/v1/batches", &asked(&gate(17))).await, 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["pointer"], "/dataset/gate/tries");
    let made = fixture.post("/v1/batches", &asked(&gate(4))).await;
    assert_eq!(made.status(), 201);
    let id = made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let some = [json!({ "key": "a", "prompt": "a fox" })];
    assert_eq!(added(put_rows(&fixture, &id, 0, &some).await).await, 1);
    start(&fixture, &id, 1).await;
    let tending = tend(&fixture);
    let job = id.parse::<BatchId>().unwrap().job_of_row(0, 0).unwrap();
    let queued = async || fixture.get(&format!("/v1/jobs/{job}")).await;
    until("the row is queued", async || queued().await.status() == 200).await;
    let job: Value = queued().await.json().await.unwrap();
    assert_eq!(job["spec"]["gate"]["tries"], 4);
    assert!(job["spec"]["gate"]["min"].get("clip_i").is_none(), "there is no content reference");
    tending.abort();
}

async fn set_pictures(fixture: &Fixture, id: &str, most: Option<u64>) {
    let put = fixture.client.put(fixture.url(&format!("/v1/batches/{id}/budget")));
    assert_eq!(put.json(&json!({ "pictures": most })).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn rows_that_were_dropped_are_not_made_in_the_place_of_others() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 2)).await).await;
    let mistake = [json!({ "key": "mistake", "prompt": "a mistake", "steps": 2 })];
    added(put_rows(&fixture, &id, 2, &mistake).await).await;
    // With one row in its budget, whoever queues rows has read all chunks and waits with the others.
    set_pictures(&fixture, &id, Some(1)).await;
    start(&fixture, &id, 2).await;
    let tending = tend(&fixture);
    let first = next_job(&fixture).await;
    let path = format!("/v1/batches/{id}/rows?from=2");
    assert_eq!(fixture.client.delete(fixture.url(&path)).send().await.unwrap().status(), 200);
    assert_eq!(added(put_rows(&fixture, &id, 2, &rows(2, 3)).await).await, 3);
    start(&fixture, &id, 3).await;
    set_pictures(&fixture, &id, None).await;
    fixture.complete(&first).await;
    let mut prompts = vec![first.spec.prompt.clone()];
    for _ in 0..2 {
        let lease = next_job(&fixture).await;
        prompts.push(lease.spec.prompt.clone());
        fixture.complete(&lease).await;
    }
    assert_eq!(prompts, ["a fox"; 3]);
    tending.abort();
}

#[tokio::test]
async fn outcomes_leave_the_queue_while_redis_takes_no_new_rows() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 3)).await).await;
    set_pictures(&fixture, &id, Some(2)).await;
    start(&fixture, &id, 3).await;
    let tending = tend(&fixture);
    let (first, _second) = (next_job(&fixture).await, next_job(&fixture).await);
    let client = redis::Client::open(fixture.redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut limit = redis::cmd("CONFIG");
    limit.arg("SET").arg("maxmemory").arg("1");
    let _: String = limit.query_async(&mut connection).await.unwrap();
    fixture.complete(&first).await;
    // Whoever looks for rows to retry wants all outcomes in segments at once.
    let batch: BatchId = id.parse().unwrap();
    assert!(fixture.queue.retry_failed_with(&batch, "broke").await.unwrap());
    until("the outcome is in a segment", async || dataset(&fixture, &id).await["archived"] == 1).await;
    tending.abort();
}

#[tokio::test]
async fn rows_are_queued_once_started_and_end_in_files() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    assert_eq!(added(put_rows(&fixture, &id, 0, &rows(0, 4)).await).await, 4);
    assert!(
        fixture
            .queue
            .claim_task(&WorkerId::new(), run::TERM, TaskRequest { run: true, pack: true })
            .await
            .unwrap()
            .is_none()
    );
    problem(start(&fixture, &id, 5).await, 409, "rows_moved").await;
    let started = start(&fixture, &id, 3).await;
    assert_eq!(started.status(), 202);
    let started: Value = started.json().await.unwrap();
    assert_eq!((&started["dataset"]["started"], &started["counts"]["total"]), (&json!(3), &json!(3)));

    let tending = tend(&fixture);
    let (first, second) = (next_job(&fixture).await, next_job(&fixture).await);
    fixture.complete(&first).await;
    fixture.complete(&second).await;
    let failed = next_job(&fixture).await;
    let failure =
        Failure { code: "broke".into(), message: "it broke".into(), retryable: false, ..Failure::default() };
    failed.fail(&failure).await.unwrap();
    let is_described = async || {
        let index = fixture.store.head(&format!("datasets/{id}/index.json")).await.unwrap();
        let view = dataset(&fixture, &id).await;
        view["archived"] == 3 && view["packed"] == 1 && index.is_some()
    };
    until("three rows are archived, two of them packed", is_described).await;
    let view = dataset(&fixture, &id).await;
    assert_eq!((&view["shards"], &view["spent_ms"], &view["waiting"]), (&json!(1), &json!(160), &json!(0)));

    let ended: Value = fixture.get(&format!("/v1/batches/{id}/rows")).await.json().await.unwrap();
    let keys: Vec<&str> =
        ended["rows"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), 3, "{ended}");
    assert_eq!(ended["next"], Value::Null);
    let picked: Value =
        fixture.get(&format!("/v1/batches/{id}/rows?state=failed")).await.json().await.unwrap();
    let row = &picked["rows"][0];
    assert_eq!(
        (&row["key"], &row["error"]["code"], &row["output"]),
        (&json!("r2"), &json!("broke"), &Value::Null)
    );
    let mut path = format!("/v1/batches/{id}/rows?limit=2");
    let page: Value = fixture.get(&path).await.json().await.unwrap();
    assert_eq!(page["rows"].as_array().unwrap().len(), 2);
    path = format!("{path}&cursor={}", page["next"].as_str().unwrap());
    assert_eq!(fixture.get(&path).await.json::<Value>().await.unwrap()["rows"].as_array().unwrap().len(), 1);
    look_at_jobs(&fixture, &id, &first, &failed).await;
    look_at_files(&fixture, &id).await;
    tending.abort();
}

/// The jobs have left the queue, and are answered all the same.
async fn look_at_jobs(fixture: &Fixture, id: &str, succeeded: &Lease, failed: &Lease) {
    assert!(fixture.queue.view(&succeeded.id).await.unwrap().is_none());
    let path = format!("/v1/jobs/{}", succeeded.id);
    let job: Value = fixture.get(&path).await.json().await.unwrap();
    assert_eq!((&job["state"], &job["batch"]), (&json!("succeeded"), &json!(id)));
    assert_eq!(job["row_key"], format!("r{}", job["row"]));
    // Its picture lies in the shard alone.
    assert_eq!((&job["output"]["bytes"], &job["output"]["url"]), (&json!(9), &Value::Null));
    let refused = problem(fixture.get(&format!("{path}/result")).await, 409, "no_result").await;
    assert!(refused["detail"].as_str().unwrap().contains(&format!("/v1/batches/{id}/files")));
    for job in [succeeded, failed] {
        let path = format!("/v1/jobs/{}", job.id);
        problem(fixture.post(&format!("{path}/retry"), &json!({})).await, 409, "row_of_dataset").await;
        problem(fixture.post(&format!("{path}/cancel"), &json!({})).await, 409, "already_ended").await;
        let deleted = fixture.client.delete(fixture.url(&path)).send().await.unwrap();
        problem(deleted, 409, "row_of_dataset").await;
    }
}

async fn look_at_files(fixture: &Fixture, id: &str) {
    // A shard that nobody has committed is no part of the data set.
    let strange = format!("datasets/{id}/00007.tar");
    fixture.store.put(&strange, "application/x-tar", "x".into()).await.unwrap();
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = fixture.get(&format!("/v1/batches/{id}/files?limit=2&cursor={cursor}")).await;
        let page: Value = page.json().await.unwrap();
        for file in page["files"].as_array().unwrap() {
            let bytes = fixture
                .client
                .get(file["url"].as_str().unwrap())
                .send()
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            assert_eq!(json!(bytes.len()), file["bytes"]);
            if let Some(sha256) = file["sha256"].as_str() {
                assert_eq!(sha256, uso_store::hexadecimal_sha256(&bytes));
            }
            names.push(file["name"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let expected = ["00000.tar", "README.md", "_meta/00000.parquet", "_meta/00000_stats.json", "index.json"];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_row_that_is_queued_is_canceled_but_neither_retried_nor_deleted() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 2)).await).await;
    start(&fixture, &id, 2).await;
    let tending = tend(&fixture);
    let lease = next_job(&fixture).await;
    let path = format!("/v1/jobs/{}", lease.id);
    fixture.complete(&lease).await;
    // The other row still waits, so this one is in no segment for now.
    problem(fixture.post(&format!("{path}/retry"), &json!({})).await, 409, "row_of_dataset").await;
    let deleted = fixture.client.delete(fixture.url(&path)).send().await.unwrap();
    problem(deleted, 409, "row_of_dataset").await;
    assert_eq!(fixture.client.get(fixture.url(&path)).send().await.unwrap().status(), 200);
    let other = next_job(&fixture).await;
    let canceled = fixture.post(&format!("/v1/jobs/{}/cancel", other.id), &json!({})).await;
    assert_eq!(canceled.status(), 202);
    tending.abort();
}

#[tokio::test]
async fn rows_that_wait_for_the_nightly_window_say_so() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 2)).await).await;
    start(&fixture, &id, 2).await;
    let tending = tend(&fixture);
    until("both rows are queued", async || fixture.queue.stats().await.unwrap().bulk.queued == 2).await;
    assert_eq!(dataset(&fixture, &id).await["held"], Value::Null);
    let hours = jiff::Timestamp::now().as_second() / 3600;
    let hour = |later: i64| format!("{:02}:00", (hours + later) % 24).parse().unwrap();
    for (fill, held) in [(false, json!("window")), (true, Value::Null)] {
        let window = uso_queue::Window { opens: hour(2), closes: hour(4), zone: "UTC".into(), fill };
        fixture.queue.set_window(Some(&window)).await.unwrap();
        assert_eq!(dataset(&fixture, &id).await["held"], held);
    }
    tending.abort();
}
