//! References that clients put themselves.

use serde_json::{Value, json};
use uso_queue::Source;

use crate::fixture::Fixture;

#[tokio::test]
async fn a_file_that_was_put_can_be_a_reference() {
    let fixture = Fixture::start().await;
    let answer = fixture.post("/v1/uploads", &json!({})).await;
    assert_eq!(answer.status(), 201);
    let upload: Value = answer.json().await.unwrap();
    assert_eq!(upload["max_bytes"], 32 * 1024 * 1024);
    let png = b"\x89PNG\r\n\x1a\n....".as_slice();
    let put = fixture.client.put(upload["url"].as_str().unwrap()).body(png).send().await.unwrap();
    assert!(put.status().is_success());

    let answer = fixture.post("/v1/jobs", &json!({ "content": upload["source"] })).await;
    assert_eq!(answer.status(), 202);
    let Some(Source::Upload(id)) = fixture.claim().await.spec.content else { panic!("no upload") };
    assert_eq!(fixture.store.fetch_image("uso", &uso_store::upload_key("default", &id)).await.unwrap(), png);
}
