//! Many jobs controlled as one.

use serde_json::json;
use uso_queue::{
    BatchCounts, BatchId, BatchOperation, Defaults, Error, JobId, JobSpec, Limits, NewBatch, Rejection,
    State, Submission,
};

use crate::fixture::{Fixture, bulk, events, failure, output};

/// Submits `count` jobs of a new batch.
async fn batch_of(fixture: &Fixture, count: usize) -> (BatchId, Vec<JobId>) {
    let batch = fixture.queue.new_batch("tenant").unwrap();
    let spec = bulk();
    let job = Submission { batch: Some(batch), ..(&spec).into() };
    let mut ids = Vec::new();
    for part in vec![job; count].chunks(1000) {
        ids.extend(fixture.queue.submit_all("tenant", part).await.unwrap().into_iter().map(|job| job.id));
    }
    (batch, ids)
}

async fn counts(fixture: &Fixture, batch: &BatchId) -> BatchCounts {
    fixture.queue.batch(batch).await.unwrap().unwrap().counts
}

#[tokio::test]
async fn a_batch_counts_its_jobs_and_its_events_name_it() {
    let fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let (batch, ids) = batch_of(&fixture, 4).await;
    fixture.submit(&bulk()).await;
    fixture.claim().await.unwrap().complete(&output("a")).await.unwrap();
    fixture.claim().await.unwrap().fail(&failure(false)).await.unwrap();
    let _running = fixture.claim().await.unwrap();
    let expected =
        BatchCounts { total: 4, queued: 1, running: 1, succeeded: 1, failed: 1, ..Default::default() };
    assert_eq!(counts(&fixture, &batch).await, expected);
    assert_eq!(fixture.view(&ids[0]).await.batch, Some(batch));
    let seen = events(&mut tail, 10).await;
    assert_eq!(seen.iter().filter(|event| event.batch == Some(batch)).count(), 9);
    assert_eq!(seen.iter().filter(|event| event.batch.is_none()).count(), 1);

    let mut own = fixture.queue.tail_batch(&batch, "0-0".parse().ok()).await.unwrap();
    let own = events(&mut own, 9).await;
    assert!(own.iter().eq(seen.iter().filter(|event| event.batch.is_some())), "{own:?}");
}

#[tokio::test]
async fn a_batch_of_any_size_is_canceled() {
    let fixture = Fixture::start().await;
    let (batch, ids) = batch_of(&fixture, 1234).await;
    let other = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    assert!(fixture.queue.control_batch(&batch, BatchOperation::Cancel).await.unwrap());
    assert!(matches!(lease.complete(&output("late")).await, Err(Error::LostLease { .. })));
    let expected = BatchCounts { total: 1234, canceled: 1234, ..Default::default() };
    assert_eq!(counts(&fixture, &batch).await, expected);
    assert_eq!(fixture.view(&ids[1233]).await.state, State::Canceled);
    assert_eq!(fixture.claim().await.unwrap().id, other);
    // No more are taken.
    let spec = bulk();
    let late = Submission { batch: Some(batch), ..(&spec).into() };
    let answer = fixture.queue.submit("tenant", late).await;
    assert!(matches!(answer, Err(Error::Rejected(Rejection::BatchCanceled { index: 0 }))), "{answer:?}");
}

#[tokio::test]
async fn what_a_dead_process_began_the_reaper_ends() {
    let fixture = Fixture::start().await;
    let (batch, _) = batch_of(&fixture, 500).await;
    let uuid = batch.to_string().split_once('-').unwrap().1.parse::<uuid::Uuid>().unwrap();
    let cancel: [&[u8]; 6] = [b"FCALL", b"uso_1_steer", b"1", b"{uso:0}", uuid.as_bytes(), b"cancel"];
    fixture.raw_bytes::<u64>(&cancel).await.unwrap();
    assert_eq!(counts(&fixture, &batch).await.canceled, 0);
    fixture.queue.reap(&fixture.worker).await.unwrap();
    assert_eq!(counts(&fixture, &batch).await.canceled, 500);
    assert_eq!(fixture.queue.stats().await.unwrap().sweeps, 0);
}

#[tokio::test]
async fn a_paused_batch_lets_others_go_first_and_goes_on_in_its_old_order() {
    let fixture = Fixture::start().await;
    let (batch, ids) = batch_of(&fixture, 600).await;
    let other = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    fixture.queue.control_batch(&batch, BatchOperation::Pause).await.unwrap();
    assert_eq!(fixture.claim().await.unwrap().id, other);
    assert!(fixture.claim().await.is_none());
    lease.complete(&output("a")).await.unwrap();
    let late = fixture.submit(&bulk()).await;
    fixture.queue.cancel(&ids[5]).await.unwrap();
    assert_eq!(counts(&fixture, &batch).await.queued, 598);

    fixture.queue.control_batch(&batch, BatchOperation::Resume).await.unwrap();
    for id in ids[1..].iter().filter(|id| **id != ids[5]) {
        assert_eq!(fixture.claim().await.unwrap().id, *id);
    }
    assert_eq!(fixture.claim().await.unwrap().id, late);
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.queued, 0);
}

#[tokio::test]
async fn a_paused_batch_can_be_canceled() {
    let fixture = Fixture::start().await;
    let (batch, _) = batch_of(&fixture, 300).await;
    fixture.queue.control_batch(&batch, BatchOperation::Pause).await.unwrap();
    assert!(fixture.claim().await.is_none());
    fixture.queue.control_batch(&batch, BatchOperation::Cancel).await.unwrap();
    assert_eq!(counts(&fixture, &batch).await.canceled, 300);
    let left: Vec<String> = fixture.raw(&["KEYS", "{uso:0}:parked*"]).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn the_failed_jobs_of_a_batch_are_made_anew_once() {
    let fixture = Fixture::start().await;
    let (batch, ids) = batch_of(&fixture, 250).await;
    for i in 0..250 {
        let lease = fixture.claim().await.unwrap();
        if i < 240 { lease.fail(&failure(false)).await } else { lease.complete(&output("a")).await }.unwrap();
    }
    for _ in 0..2 {
        fixture.queue.control_batch(&batch, BatchOperation::RetryFailed).await.unwrap();
        let expected = BatchCounts { total: 250, queued: 240, succeeded: 10, ..Default::default() };
        assert_eq!(counts(&fixture, &batch).await, expected);
    }
    let lease = fixture.claim().await.unwrap();
    let old = fixture.view(&lease.id).await.retry_of.unwrap();
    assert!(ids.contains(&old));
    assert_eq!((fixture.view(&old).await.state, lease.batch), (State::Failed, Some(batch)));
}

#[tokio::test]
async fn a_batch_is_its_tenants_alone() {
    let fixture = Fixture::start().await;
    let (batch, _) = batch_of(&fixture, 1).await;
    let spec = JobSpec::parse(&json!({}), &Defaults::default()).unwrap();
    let job = Submission { batch: Some(batch), ..(&spec).into() };
    let answer = fixture.queue.submit("stranger", job).await;
    assert!(matches!(answer, Err(Error::Rejected(Rejection::NoSuchBatch { index: 0 }))), "{answer:?}");
    let unknown = fixture.queue.new_batch("tenant").unwrap();
    assert_eq!(fixture.queue.batch(&unknown).await.unwrap(), None);
    assert!(!fixture.queue.control_batch(&unknown, BatchOperation::Pause).await.unwrap());
}

fn new_batch<'a>(jobs: &'a [JobSpec], key: &'a str, digest: &'a str) -> NewBatch<'a> {
    NewBatch { jobs, metadata: &serde_json::Value::Null, key: Some(key), digest }
}

#[tokio::test]
async fn a_batch_is_accepted_as_a_whole_and_its_repetition_is_the_same() {
    let fixture = Fixture::start().await;
    let jobs = vec![bulk(); 1000];
    let metadata = json!({ "campaign": "autumn" });
    let first = NewBatch { metadata: &metadata, ..new_batch(&jobs, "k", "a") };
    let made = fixture.queue.submit_batch("tenant", &first).await.unwrap();
    assert!(made.fresh && made.jobs.len() == 1000);
    let view = fixture.queue.batch(&made.id).await.unwrap().unwrap();
    assert_eq!((view.counts.queued, &view.metadata), (1000, &metadata));
    assert_eq!(fixture.view(&made.jobs[999]).await.batch, Some(made.id));

    let again = fixture.queue.submit_batch("tenant", &first).await.unwrap();
    assert_eq!((again.fresh, again.id, &again.jobs), (false, made.id, &made.jobs));
    let other = fixture.queue.submit_batch("tenant", &new_batch(&jobs, "k", "b")).await.unwrap_err();
    assert!(
        matches!(other, Error::Rejected(Rejection::BatchKeyReused { earlier }) if earlier == made.id),
        "{other}"
    );
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.queued, 1000);
    // A key is one tenant's, for a day.
    assert!(fixture.queue.submit_batch("another", &new_batch(&jobs[..1], "k", "b")).await.unwrap().fresh);
    fixture.set_clock(std::time::Duration::from_secs(24 * 3600 + 1)).await;
    assert!(fixture.queue.submit_batch("tenant", &new_batch(&jobs[..1], "k", "b")).await.unwrap().fresh);
}

#[tokio::test]
async fn a_batch_that_is_too_much_leaves_nothing_behind() {
    let fixture = Fixture::start().await;
    let limits = Limits { max_queued: Some(5), ..Limits::default() };
    fixture.queue.set_limits("tenant", &limits).await.unwrap();
    let jobs = vec![bulk(); 6];
    let refused = fixture.queue.submit_batch("tenant", &new_batch(&jobs, "k", "a")).await.unwrap_err();
    assert!(matches!(refused, Error::Rejected(Rejection::TooManyQueued { .. })), "{refused}");
    assert_eq!(fixture.queue.tenant_depth("tenant").await.unwrap(), (0, 0));
    // The key is still free.
    assert!(fixture.queue.submit_batch("tenant", &new_batch(&jobs[..5], "k", "b")).await.unwrap().fresh);
    assert_eq!(fixture.queue.tenant_depth("tenant").await.unwrap(), (5, 0));
}
