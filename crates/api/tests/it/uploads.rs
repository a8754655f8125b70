//! References that clients put themselves.

use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Response;
use serde_json::{Value, json};
use uso_queue::{Checkpoint, Source};

use crate::dataset_changes::{fail, replace};
use crate::dataset_runs::tend;
use crate::datasets::{added, create, dataset, put_rows, start};
use crate::fixture::{Fixture, problem, until};

/// As much of a PNG as tells its size.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &width.to_be_bytes()[..], &height.to_be_bytes(), b"and more"].concat()
}

/// Uploads a file as the API says, and gives the answer that said how.
pub(crate) async fn upload(fixture: &Fixture, kind: &str, bytes: &[u8]) -> Value {
    let asked = json!({ "content_type": kind, "bytes": bytes.len() });
    let answer = fixture.post("/v1/uploads", &asked).await;
    assert_eq!(answer.status(), 201);
    let upload: Value = answer.json().await.unwrap();
    let put = put(fixture, &upload, bytes).await;
    assert!(put.status().is_success(), "{}", put.status());
    upload
}

pub(crate) async fn put(fixture: &Fixture, upload: &Value, bytes: &[u8]) -> Response {
    let mut put = fixture.client.put(upload["url"].as_str().unwrap());
    for (name, value) in upload["headers"].as_object().unwrap() {
        put = put.header(name, value.as_str().unwrap());
    }
    put.body(bytes.to_vec()).send().await.unwrap()
}

#[tokio::test]
async fn a_file_that_was_put_can_be_a_reference_and_the_job_keeps_to_it() {
    let fixture = Fixture::start().await;
    let bytes = png(64, 48);
    let upload = upload(&fixture, "image/png", &bytes).await;
    assert_eq!(upload["max_bytes"], 32 * 1024 * 1024);
    let headers = json!({ "content-type": "image/png", "content-length": bytes.len().to_string() });
    assert_eq!(upload["headers"], headers);

    let body = json!({ "content": upload["source"], "styles": [upload["source"]] });
    let answer = fixture.post("/v1/jobs", &body).await;
    assert_eq!(answer.status(), 202);
    let accepted: Value = answer.json().await.unwrap();
    assert_eq!(accepted["spec"]["content"], upload["source"], "a client sees what it said");
    let view: Value = fixture.get(accepted["links"]["self"].as_str().unwrap()).await.json().await.unwrap();
    assert_eq!(view["spec"], accepted["spec"]);

    let spec = fixture.claim().await.spec;
    assert_eq!(spec.styles[0], spec.content.clone().unwrap());
    let Some(Source::Upload { id, tag: Some(tag) }) = spec.content else { panic!("no pinned upload") };
    let key = uso_store::upload_key("default", &id);
    assert_eq!(fixture.store.fetch_upload(&key, Some(&tag)).await.unwrap(), bytes);
    // The same link still puts another file of the same size: this job does not want it.
    assert!(put(&fixture, &upload, &png(48, 64)).await.status().is_success());
    let changed = fixture.store.fetch_upload(&key, Some(&tag)).await;
    assert!(matches!(changed, Err(uso_store::Error::Changed { .. })), "{changed:?}");
    let pinned = json!({ "content": format!("upload:{id}@{tag}") });
    let refused = problem(fixture.post("/v1/jobs", &pinned).await, 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["code"], "upload_changed");
}

/// Where an upload lies.
fn place(upload: &Value) -> String {
    format!("uploads/default/{}", upload["id"].as_str().unwrap())
}

const RULE: Duration = Duration::from_secs(8 * 24 * 3600);

#[tokio::test]
async fn an_old_upload_is_young_once_a_job_names_it() {
    let fixture = Fixture::start().await;
    let named = upload(&fixture, "image/png", &png(64, 64)).await;
    let placed = upload(&fixture, "image/png", &png(64, 64)).await;
    let unnamed = upload(&fixture, "image/png", &png(64, 64)).await;
    for upload in [&named, &placed, &unnamed] {
        fixture.age(&place(upload));
    }
    let styles = [format!("s3://uso/{}", place(&placed))];
    let answer = fixture.post("/v1/jobs", &json!({ "content": named["source"], "styles": styles })).await;
    assert_eq!(answer.status(), 202);
    assert_eq!(fixture.store.delete_older("uploads/", RULE).await.unwrap(), 1);
    let Some(Source::Upload { tag, .. }) = fixture.claim().await.spec.content else { panic!("no upload") };
    fixture.store.fetch_upload(&place(&named), tag.as_deref()).await.unwrap();
    fixture.store.get(&place(&placed)).await.unwrap();
}

#[tokio::test]
async fn what_a_waiting_job_names_is_kept_however_long_it_waits() {
    let fixture = Fixture::start().await;
    let waits = upload(&fixture, "image/png", &png(64, 64)).await;
    let unnamed = upload(&fixture, "image/png", &png(64, 64)).await;
    let month = jiff::Timestamp::now() + SignedDuration::from_hours(30 * 24);
    let body = json!({ "content": waits["source"], "not_before": month.to_string() });
    assert_eq!(fixture.post("/v1/jobs", &body).await.status(), 202);
    let running = upload(&fixture, "image/png", &png(64, 64)).await;
    assert_eq!(fixture.post("/v1/jobs", &json!({ "content": running["source"] })).await.status(), 202);
    let lease = fixture.claim().await;
    let half = "checkpoints/half";
    fixture.store.put(half, "application/octet-stream", "half".into()).await.unwrap();
    let (key, sha256) = (half.to_owned(), String::new());
    lease
        .record_checkpoint(&Checkpoint {
            step: 1,
            key,
            sha256,
            fingerprint: String::new(),
            tries: Vec::new(),
        })
        .await
        .unwrap();
    for key in [&place(&waits), &place(&running), &place(&unnamed), half] {
        fixture.age(key);
    }
    assert_eq!(uso_api::keep_what_is_named(&fixture.queue, &fixture.store).await.unwrap(), 3);
    assert_eq!(fixture.store.delete_older("uploads/", RULE).await.unwrap(), 1);
    assert_eq!(fixture.store.delete_older("checkpoints/", RULE).await.unwrap(), 0);
    assert!(fixture.store.get(&place(&unnamed)).await.is_err());
}

#[tokio::test]
async fn what_a_waiting_row_names_is_kept_until_its_data_set_is_canceled() {
    let fixture = Fixture::start().await;
    let content = upload(&fixture, "image/png", &png(64, 64)).await;
    let style = upload(&fixture, "image/png", &png(48, 64)).await;
    let id = create(&fixture, "foxes").await;
    let row = |number: usize, style: &Value| json!({ "key": format!("r{number}"), "content": content["source"], "styles": [style] });
    let placed = json!(format!("s3://uso/{}", place(&style)));
    for number in 0..3 {
        let style = if number == 2 { &placed } else { &style["source"] };
        added(put_rows(&fixture, &id, number as u64, &[row(number, style)]).await).await;
    }
    let keep = async || {
        for upload in [&content, &style] {
            fixture.age(&place(upload));
        }
        let kept = uso_api::keep_what_is_named(&fixture.queue, &fixture.store).await.unwrap();
        (kept, fixture.store.delete_older("uploads/", RULE).await.unwrap())
    };
    assert_eq!(keep().await, (2, 0), "rows that are not started were accepted, too");
    assert_eq!(start(&fixture, &id, 2).await.status(), 202);
    fixture.post(&format!("/v1/batches/{id}/pause"), &json!({})).await;
    assert_eq!(keep().await, (2, 0));
    fixture.post(&format!("/v1/batches/{id}/cancel"), &json!({})).await;
    assert_eq!(keep().await, (0, 2));
}

#[tokio::test]
async fn what_a_replaced_row_names_is_kept_until_it_is_queued_again() {
    let fixture = Fixture::start().await;
    let (before, after) = (
        upload(&fixture, "image/png", &png(64, 64)).await,
        upload(&fixture, "image/png", &png(48, 64)).await,
    );
    let id = create(&fixture, "foxes").await;
    let row =
        |number: u64, content: &Value| json!({ "key": format!("r{number}"), "content": content["source"] });
    for number in 0..2 {
        added(put_rows(&fixture, &id, number, &[row(number, &before)]).await).await;
    }
    start(&fixture, &id, 2).await;
    let tending = tend(&fixture);
    for _ in 0..2 {
        fail(&fixture, "broke").await;
    }
    let all_ended = async || dataset(&fixture, &id).await["archived"] == 2;
    until("both rows have ended", all_ended).await;
    tending.abort();
    let keep = async || {
        for upload in [&before, &after] {
            fixture.age(&place(upload));
        }
        uso_api::keep_what_is_named(&fixture.queue, &fixture.store).await.unwrap()
    };
    assert_eq!(keep().await, 0, "nothing is to be queued");
    assert_eq!(replace(&fixture, &id, 1, &[row(1, &after)]).await.status(), 200);
    assert_eq!(keep().await, 1, "the other chunk has no row that is to be queued");
    assert_eq!(fixture.store.delete_older("uploads/", RULE).await.unwrap(), 1);
    fixture.store.get(&place(&after)).await.unwrap();
}

#[tokio::test]
async fn an_upload_is_looked_at_before_the_job_is_accepted() {
    let fixture = Fixture::start().await;
    let cases = [
        (
            "image/png",
            b"GIF89a and so on".to_vec(),
            "not_an_image",
            "the file is not a png, jpeg or webp image",
        ),
        ("image/jpeg", png(64, 64), "wrong_media_type", "the file is image/png, but image/jpeg was declared"),
        (
            "image/png",
            png(20_000, 20_000),
            "too_many_pixels",
            "the image has 20000x20000 pixels; at most 50000000 in all",
        ),
    ];
    let mut styles = vec![json!("upload:0198a0b0-0000-4000-8000-00000000000a")];
    for (kind, bytes, _, _) in &cases {
        styles.push(upload(&fixture, kind, bytes).await["source"].clone());
    }
    let refused = fixture.post("/v1/jobs", &json!({ "styles": styles })).await;
    let refused = problem(refused, 422, "invalid_fields").await;
    let errors = refused["errors"].as_array().unwrap();
    assert_eq!((&errors[0]["pointer"], &errors[0]["code"]), (&json!("/styles/0"), &json!("upload_missing")));
    for (error, (index, (_, _, code, message))) in errors[1..].iter().zip(cases.iter().enumerate()) {
        assert_eq!(error["pointer"], format!("/styles/{}", index + 1));
        assert_eq!(error["code"], *code);
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
    }
    let stats = fixture.queue.stats().await.unwrap();
    assert_eq!(stats.interactive.queued, 0);
}

#[tokio::test]
async fn only_what_was_agreed_on_can_be_put() {
    let fixture = Fixture::start().await;
    let bytes = png(64, 64);
    let asked = json!({ "content_type": "image/png", "bytes": bytes.len() });
    let upload: Value = fixture.post("/v1/uploads", &asked).await.json().await.unwrap();
    let longer = [&bytes[..], b"!"].concat();
    let answer = fixture
        .client
        .put(upload["url"].as_str().unwrap())
        .header("content-type", "image/png")
        .body(longer)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn a_request_for_an_upload_names_what_is_wrong_with_it() {
    let fixture = Fixture::start().await;
    let limit = 32 * 1024 * 1024;
    for (body, pointers) in [
        (json!({}), vec!["/content_type", "/bytes"]),
        (json!({ "content_type": "image/gif", "bytes": 5 }), vec!["/content_type"]),
        (json!({ "content_type": "image/png", "bytes": limit + 1 }), vec!["/bytes"]),
        (json!({ "content_type": "image/png", "bytes": 0 }), vec!["/bytes"]),
        (json!({ "content_type": "image/png", "bytes": 5, "na/me": "x" }), vec!["/na~1me"]),
    ] {
        let refused = problem(fixture.post("/v1/uploads", &body).await, 422, "invalid_fields").await;
        let errors = refused["errors"].as_array().unwrap();
        let found: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(found, pointers, "{body}");
    }
    let body = json!({ "content_type": "image/png", "bytes": limit + 1 });
    let refused = problem(fixture.post("/v1/uploads", &body).await, 422, "invalid_fields").await;
    assert!(refused["detail"].as_str().unwrap().contains("33554432"), "{refused}");
}
