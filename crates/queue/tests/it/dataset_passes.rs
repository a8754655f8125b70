//! Data sets: rows that ask for something else, and rows that are retried for one reason.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uso_queue::{
    Archived, BatchCounts, BatchId, BatchOperation, Budget, DatasetTask, Failure, Fed, JobId, Kept,
    NewDataset, Replaced, State, Submission,
};

use crate::datasets::{counts, feed, task, work};
use crate::fixture::{Fixture, bulk, failure};

const CHUNK: &str = r#"{"rows":6,"sha256":"a"}"#;
const OTHER: &str = r#"{"rows":6,"sha256":"b"}"#;

/// A started data set of so many rows in one chunk.
async fn dataset(fixture: &Fixture, rows: u64) -> BatchId {
    let new = NewDataset { name: "foxes", settings: "{}", metadata: &Value::Null, budget: Budget::default() };
    let id = fixture.queue.create_dataset("tenant", &new).await.unwrap().id;
    assert_eq!(fixture.queue.extend_dataset(&id, 0, rows, CHUNK).await.unwrap(), Some(rows));
    assert_eq!(fixture.queue.start_dataset(&id, rows).await.unwrap(), Some(rows));
    id
}

async fn replace(fixture: &Fixture, id: &BatchId, rows: &[u64]) -> Replaced {
    fixture.queue.replace_chunk(id, 0, CHUNK, OTHER, rows).await.unwrap().unwrap()
}

/// The rows that a feeder is to look at in a pass over some, as the queue tells.
async fn marked(fixture: &Fixture, id: &BatchId, rows: u64) -> Vec<u64> {
    let marks = fixture.queue.row_marks(id, 1, rows - 1).await.unwrap();
    (1..rows).zip(marks).filter(|(_, is_marked)| *is_marked).map(|(row, _)| row).collect()
}

fn row_of(job: &JobId) -> (u64, u8) {
    job.row().map(|row| (row.row, row.pass)).unwrap()
}

#[tokio::test]
async fn rows_that_are_made_or_being_made_are_kept_and_named() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 6).await;
    let run = task(&fixture).await.unwrap();
    feed(&run, &bulk(), 0, 4).await;
    work(&fixture, true).await;
    work(&fixture, false).await;
    let running = fixture.claim().await.unwrap();
    assert_eq!(running.row, Some(2));
    let kept = replace(&fixture, &id, &[0, 1, 2, 3, 4]).await;
    assert_eq!(kept, Replaced::Kept(vec![(0, Kept::Succeeded), (2, Kept::Running)]));
    assert_eq!(fixture.queue.dataset_chunks(&id, 0, 9).await.unwrap(), [CHUNK], "nothing was changed");
    let before =
        BatchCounts { total: 6, queued: 1, running: 1, succeeded: 1, failed: 1, ..Default::default() };
    assert_eq!(counts(&fixture, &id).await, before);
    assert!(run.renew(std::time::Duration::from_secs(10)).await.unwrap().held);
    let other = fixture.queue.replace_chunk(&id, 0, "another", OTHER, &[4]).await.unwrap();
    assert_eq!(other, Some(Replaced::Moved));
    running.complete(&crate::fixture::output("a")).await.unwrap();
}

#[tokio::test]
async fn replaced_rows_are_queued_anew_and_the_other_failed_ones_are_not() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 6).await;
    let stale = task(&fixture).await.unwrap();
    feed(&stale, &bulk(), 0, 4).await;
    for succeeds in [false, true, false] {
        work(&fixture, succeeds).await;
    }
    // The third row failed, the fourth waits, the fifth was never queued.
    assert_eq!(replace(&fixture, &id, &[2, 3, 4]).await, Replaced::Done);
    assert_eq!(replace(&fixture, &id, &[2, 3, 4]).await, Replaced::Done, "it is safe to repeat");
    assert_eq!(fixture.queue.dataset_chunks(&id, 0, 9).await.unwrap(), [OTHER]);
    assert_eq!(feed(&stale, &bulk(), 4, 6).await, Fed::Lost, "it has read the old chunk");
    let expected = BatchCounts { total: 6, succeeded: 1, failed: 2, canceled: 1, ..Default::default() };
    assert_eq!(counts(&fixture, &id).await, expected);

    fixture.queue.start_dataset(&id, 6).await.unwrap();
    let view = fixture.queue.dataset(&id).await.unwrap().unwrap();
    assert_eq!((view.pass, view.cursor, view.queued_once, view.changes), (1, 0, 4, 1));
    assert!(view.is_selective);
    assert_eq!(marked(&fixture, &id, 6).await, [2, 3]);
    let run = task(&fixture).await.unwrap();
    // Even if all are told, only the replaced ones are queued, and those that never were.
    assert_eq!(feed(&run, &bulk(), 0, 6).await, Fed::Queued(6));
    let mut queued = Vec::new();
    while let Some(lease) = fixture.claim().await {
        queued.push(row_of(&lease.id));
        lease.complete(&crate::fixture::output("a")).await.unwrap();
    }
    queued.sort_unstable();
    assert_eq!(queued, [(2, 1), (3, 1), (4, 1), (5, 1)]);
    let expected = BatchCounts { total: 6, succeeded: 5, failed: 1, ..Default::default() };
    assert_eq!(counts(&fixture, &id).await, expected);
    let view = fixture.queue.dataset(&id).await.unwrap().unwrap();
    assert!(!view.is_selective, "the pass is over");
    assert!(marked(&fixture, &id, 6).await.is_empty());
    // A start without changes begins nothing.
    fixture.queue.start_dataset(&id, 6).await.unwrap();
    assert_eq!(fixture.queue.dataset(&id).await.unwrap().unwrap().pass, 1);
    assert!(fixture.queue.audit().await.unwrap().faults.is_empty());
}

#[tokio::test]
async fn a_pass_over_some_rows_does_not_cut_one_over_all_short() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 6).await;
    let run = task(&fixture).await.unwrap();
    feed(&run, &bulk(), 0, 6).await;
    for _ in 0..6 {
        work(&fixture, false).await;
    }
    fixture.queue.control_batch(&id, BatchOperation::RetryFailed).await.unwrap();
    assert_eq!(feed(&run, &bulk(), 0, 2).await, Fed::Queued(2));
    assert_eq!(replace(&fixture, &id, &[5]).await, Replaced::Done);
    fixture.queue.start_dataset(&id, 6).await.unwrap();
    let view = fixture.queue.dataset(&id).await.unwrap().unwrap();
    assert_eq!((view.pass, view.is_selective), (2, false));
    let run = task(&fixture).await.unwrap();
    assert_eq!(feed(&run, &bulk(), 0, 6).await, Fed::Queued(6));
    let expected = BatchCounts { total: 6, queued: 6, ..Default::default() };
    assert_eq!(counts(&fixture, &id).await, expected);
}

/// Fails the next job for good with this code.
async fn fail(fixture: &Fixture, code: &str) {
    let lease = fixture.claim().await.unwrap();
    lease.fail(&Failure { code: code.into(), ..failure(false) }).await.unwrap();
}

async fn archive(run: &DatasetTask, segment: u64, outcomes: u64) {
    let archived = Archived { outcomes, highest: 5, ..Archived::default() };
    assert!(run.archived(segment, &archived).await.unwrap());
}

#[tokio::test]
async fn one_reason_is_retried_once_its_rows_are_marked() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 6).await;
    let run = task(&fixture).await.unwrap();
    feed(&run, &bulk(), 0, 6).await;
    for code in ["flat", "broke", "flat", "broke"] {
        fail(&fixture, code).await;
    }
    work(&fixture, true).await;
    work(&fixture, true).await;
    archive(&run, 0, 6).await;
    assert!(fixture.queue.retry_failed_with(&id, "flat").await.unwrap());
    let view = fixture.queue.dataset(&id).await.unwrap().unwrap();
    assert_eq!((view.retries.as_deref(), view.pass), (Some("flat"), 0));
    assert!(run.renew(std::time::Duration::from_secs(10)).await.unwrap().wanted);
    // A row that is not failed is not marked, whatever is said.
    assert!(run.mark(&[0, 2, 4]).await.unwrap());
    assert!(!run.retry_marked("flat", 0).await.unwrap(), "there is a segment more");
    assert!(!run.retry_marked("other", 1).await.unwrap());
    assert!(run.retry_marked("flat", 1).await.unwrap());
    let view = fixture.queue.dataset(&id).await.unwrap().unwrap();
    assert_eq!((view.retries, view.pass, view.is_selective), (None, 1, true));
    assert_eq!(feed(&run, &bulk(), 0, 6).await, Fed::Queued(6));
    let expected = BatchCounts { total: 6, queued: 2, succeeded: 2, failed: 2, ..Default::default() };
    assert_eq!(counts(&fixture, &id).await, expected);
    assert_eq!(row_of(&fixture.claim().await.unwrap().id), (0, 1));
    assert_eq!(row_of(&fixture.claim().await.unwrap().id), (2, 1));
}

#[tokio::test]
async fn jobs_of_a_plain_batch_are_retried_for_one_reason_too() {
    let fixture = Fixture::start().await;
    let batch = fixture.queue.new_batch("tenant").unwrap();
    let spec = bulk();
    let jobs: Vec<_> =
        (0..60).map(|_| Submission { batch: Some(batch), ..Submission::from(&spec) }).collect();
    fixture.queue.submit_all("tenant", &jobs).await.unwrap();
    for number in 0..60 {
        fail(&fixture, if number % 3 == 0 { "flat" } else { "broke" }).await;
    }
    assert!(fixture.queue.retry_failed_with(&batch, "flat").await.unwrap());
    let expected = BatchCounts { total: 60, queued: 20, failed: 40, ..Default::default() };
    assert_eq!(counts(&fixture, &batch).await, expected);
    let lease = fixture.claim().await.unwrap();
    let view = fixture.view(&lease.id).await;
    let before = fixture.view(&view.retry_of.unwrap()).await;
    assert_eq!((before.state, before.error.unwrap().code.as_str()), (State::Failed, "flat"));
    let nobody = fixture.queue.new_batch("tenant").unwrap();
    assert!(!fixture.queue.retry_failed_with(&nobody, "flat").await.unwrap());
}

#[tokio::test]
async fn what_measures_rejected_is_added_up_and_the_index_has_names() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 6).await;
    let run = task(&fixture).await.unwrap();
    feed(&run, &bulk(), 0, 6).await;
    for _ in 0..3 {
        work(&fixture, true).await;
    }
    let rejected = |clip_t: u64| BTreeMap::from([("clip_t".to_owned(), clip_t), ("dino".to_owned(), 0)]);
    for (segment, clip_t) in [(0, 2), (1, 5)] {
        let archived = Archived { outcomes: 1, rejected: rejected(clip_t), ..Archived::default() };
        assert!(run.archived(segment, &archived).await.unwrap());
    }
    let view = fixture.queue.dataset(&id).await.unwrap().unwrap();
    assert_eq!((view.counted, view.archived), (2, 2));
    assert_eq!(view.rejected, BTreeMap::from([("clip_t".to_owned(), 7)]));

    assert!(!run.indexed(0, 3, &[]).await.unwrap(), "there are two segments");
    assert!(!run.indexed(1, 2, &[]).await.unwrap(), "the first is in no index");
    assert!(run.indexed(0, 2, &[(0, "000002-1".into()), (7, "000002-1".into())]).await.unwrap());
    assert_eq!(fixture.queue.dataset(&id).await.unwrap().unwrap().indexed, 2);
    assert_eq!(fixture.queue.dataset_index(&id, 7).await.unwrap().as_deref(), Some("000002-1"));
    assert_eq!(fixture.queue.dataset_index(&id, 1).await.unwrap(), None);
}

#[tokio::test]
async fn rows_go_by_chunks_while_none_of_them_may_be_queued() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 6).await;
    let chunk = |rows: u64| json!({ "rows": rows, "sha256": "c" }).to_string();
    for (before, after) in [(6, 10), (10, 12), (12, 13)] {
        let chunk = chunk(after - before);
        assert_eq!(fixture.queue.extend_dataset(&id, before, after, &chunk).await.unwrap(), Some(after));
    }
    assert_eq!(fixture.queue.discard_rows(&id, 11).await.unwrap(), Some(12), "the other chunk is needed");
    assert_eq!(fixture.queue.discard_rows(&id, 8).await.unwrap(), Some(10));
    assert_eq!(fixture.queue.discard_rows(&id, 0).await.unwrap(), Some(6), "the others are started");
    assert_eq!(fixture.queue.dataset_chunks(&id, 0, 9).await.unwrap(), [CHUNK]);
    assert_eq!(fixture.queue.dataset(&id).await.unwrap().unwrap().discards, 3);
    assert_eq!(fixture.queue.extend_dataset(&id, 6, 8, &chunk(2)).await.unwrap(), Some(8));
}
