//! Repeats under an idempotency key, known before anything else is checked.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uso_queue::{Defaults, Error, JobSpec, NewBatch, Rejection, Submission};

use crate::fixture::{Fixture, bulk};

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

fn parse(body: &Value, defaults: &Defaults) -> JobSpec {
    JobSpec::parse(body, defaults).unwrap()
}

#[tokio::test]
async fn a_repeat_is_known_by_what_was_sent_although_defaults_have_changed() {
    let fixture = Fixture::start().await;
    let (body, sent) = (json!({ "prompt": "a cat" }), digest("what the client sent"));
    let spec = parse(&body, &Defaults::default());
    let first = Submission { key: Some("k"), request: Some(&sent), ..(&spec).into() };
    let id = fixture.queue.submit("a", first).await.unwrap().id;

    let changed = Defaults { steps: 7, ..Defaults::default() };
    let other = parse(&body, &changed);
    let earlier = fixture.queue.earlier_job("a", "k").await.unwrap().unwrap();
    assert_eq!(earlier.id, id);
    assert!(earlier.is_of(&sent, || None).unwrap(), "it means nothing any more");
    assert!(earlier.is_of(&digest("the same in other words"), || Some(spec.clone())).unwrap());
    assert!(!earlier.is_of(&digest("the same in other words"), || Some(other.clone())).unwrap());
    // Two that come at once both go as far as the submission.
    let again = Submission { key: Some("k"), request: Some(&sent), ..(&other).into() };
    assert_eq!(fixture.queue.submit("a", again).await.unwrap().id, id);
    let (sent, spec) = (digest("another"), other);
    let another = Submission { key: Some("k"), request: Some(&sent), ..(&spec).into() };
    let refused = fixture.queue.submit("a", another).await.unwrap_err();
    assert!(matches!(refused, Error::Rejected(Rejection::KeyReused { .. })), "{refused}");

    assert_eq!(fixture.queue.earlier_job("a", "other").await.unwrap(), None);
    assert_eq!(fixture.queue.earlier_job("b", "k").await.unwrap(), None);
    fixture.set_clock(std::time::Duration::from_secs(24 * 3600 + 1)).await;
    assert_eq!(fixture.queue.earlier_job("a", "k").await.unwrap(), None);
}

#[tokio::test]
async fn what_the_version_before_wrote_still_matches_and_what_it_sends_does_too() {
    let fixture = Fixture::start().await;
    // Its digest of `{ "prompt": "a cat" }`: the spec with defaults filled in, without the seed that was chosen.
    let written = digest(
        r#"{"class":"interactive","content":null,"content_size":512,"format":"png","guidance":4.0,"height":1024,"keep_size":false,"priority":0,"prompt":"a cat","seed":null,"steps":25,"styles":[],"width":1024}"#,
    );
    let id = b"0123456789abcdef";
    let now_ms = fixture.queue.now_ms().await.unwrap() as f64;
    let record = [&[0x93, 0xb0][..], id, &[0xda, 0, 32], &written, &[0xcb], &now_ms.to_be_bytes()].concat();
    fixture.raw_bytes::<redis::Value>(&[b"SET", b"{uso:0}:key:a:k", &record]).await.unwrap();
    let spec = parse(&json!({ "prompt": "a cat" }), &Defaults::default());
    let earlier = fixture.queue.earlier_job("a", "k").await.unwrap().unwrap();
    assert_eq!(crate::fixture::bytes(&earlier.id), *id);
    assert!(earlier.is_of(&digest("anything"), || Some(spec.clone())).unwrap());
    assert!(!earlier.is_of(&digest("anything"), || None).unwrap());
    let sent = digest("anything");
    let again = Submission { key: Some("k"), request: Some(&sent), ..(&spec).into() };
    assert_eq!(fixture.queue.submit("a", again).await.unwrap().id, earlier.id);

    // A process of that version does not tell what was sent; it is the same to it.
    let first = Submission { key: Some("new"), request: Some(&sent), ..(&spec).into() };
    let first = fixture.queue.submit("a", first).await.unwrap().id;
    let again = Submission { key: Some("new"), ..(&spec).into() };
    assert_eq!(fixture.queue.submit("a", again).await.unwrap().id, first);
}

#[tokio::test]
async fn a_batch_that_is_repeated_is_found_with_its_jobs() {
    let fixture = Fixture::start().await;
    let jobs = [bulk(), bulk()];
    let new = NewBatch { jobs: &jobs, metadata: &Value::Null, key: Some("k"), digest: "a" };
    let first = fixture.queue.submit_batch("tenant", &new).await.unwrap();
    let found = fixture.queue.earlier_batch("tenant", "k", "a", 2).await.unwrap().unwrap();
    assert_eq!((found.id, &found.jobs, found.fresh), (first.id, &first.jobs, false));
    let refused = fixture.queue.earlier_batch("tenant", "k", "b", 2).await.unwrap_err();
    assert!(
        matches!(refused, Error::Rejected(Rejection::BatchKeyReused { earlier }) if earlier == first.id),
        "{refused}"
    );
    assert_eq!(fixture.queue.earlier_batch("tenant", "other", "a", 2).await.unwrap(), None);
}
