//! Data sets: rows in, outcomes out, shards committed; by one process at a time.

use std::time::Duration;

use serde_json::Value;
use uso_queue::{
    Archived, BatchCounts, BatchId, BatchOperation, Budget, DatasetTask, Fed, Intent, JobId, JobSpec, Limits,
    NewDataset, RowSubmission, State, TaskKind, TaskRequest, Wait, WorkerId,
};

use crate::fixture::{Fixture, bulk, failure, job_key, output};

const TERM: Duration = Duration::from_secs(10);

async fn dataset(fixture: &Fixture, rows: u64, budget: Budget) -> BatchId {
    let new = NewDataset { name: "foxes", settings: "{}", metadata: &Value::Null, budget };
    let created = fixture.queue.create_dataset("tenant", &new).await.unwrap();
    assert!(created.fresh);
    let extended = fixture.queue.extend_dataset(&created.id, 0, rows, "chunk").await.unwrap();
    assert_eq!(extended, Some(rows));
    assert_eq!(fixture.queue.start_dataset(&created.id, rows).await.unwrap(), Some(rows));
    created.id
}

pub(crate) async fn task(fixture: &Fixture) -> Option<DatasetTask> {
    fixture.queue.claim_task(&WorkerId::new(), TERM, TaskRequest { run: true, pack: true }).await.unwrap()
}

/// Queues rows from `from` to `to`.
pub(crate) async fn feed(task: &DatasetTask, spec: &JobSpec, from: u64, to: u64) -> Fed {
    let keys: Vec<String> = (from..to).map(|row| format!("row-{row}")).collect();
    let rows: Vec<_> =
        (from..to).zip(&keys).map(|(row, key)| RowSubmission { row, key, group: 0, spec }).collect();
    task.feed(from, to, 100, &rows).await.unwrap()
}

pub(crate) async fn counts(fixture: &Fixture, id: &BatchId) -> BatchCounts {
    fixture.queue.batch(id).await.unwrap().unwrap().counts
}

/// Claims the next job, and completes it or has it fail for good.
pub(crate) async fn work(fixture: &Fixture, succeeds: bool) -> JobId {
    let lease = fixture.claim().await.unwrap();
    if succeeds {
        lease.complete(&output("a")).await.unwrap();
    } else {
        lease.fail(&failure(false)).await.unwrap();
    }
    lease.id
}

#[tokio::test]
async fn a_row_goes_from_the_store_to_a_segment_and_leaves_nothing_but_two_bits() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 3, Budget::default()).await;
    let run = task(&fixture).await.unwrap();
    assert_eq!((run.batch, run.kind), (id, TaskKind::Run));
    assert_eq!(feed(&run, &bulk(), 0, 3).await, Fed::Queued(3));
    assert_eq!(counts(&fixture, &id).await, BatchCounts { total: 3, queued: 3, ..Default::default() });

    let lease = fixture.claim().await.unwrap();
    assert_eq!((lease.row, lease.batch), (Some(0), Some(id)));
    let row = lease.id.row().unwrap();
    assert_eq!((row.batch, row.row, row.pass), (id, 0, 0));
    assert_eq!(id.job_of_row(0, 0), Some(lease.id));
    lease.complete(&output("a")).await.unwrap();
    work(&fixture, false).await;
    let view = fixture.view(&lease.id).await;
    assert_eq!((view.row, view.row_key.as_deref(), view.expires_ms), (Some(0), Some("row-0"), None));

    let outcomes = fixture.queue.dataset_outcomes(&id, 10).await.unwrap();
    let states: Vec<_> = outcomes.iter().map(|job| (job.row.unwrap(), job.state)).collect();
    assert_eq!(states, [(0, State::Succeeded), (1, State::Failed)]);
    let archived = Archived {
        outcomes: 2,
        accepted: 1,
        bytes: 10,
        device_ms: 80,
        lowest: 0,
        highest: 1,
        closes: true,
        ..Archived::default()
    };
    assert!(!run.archived(1, &archived).await.unwrap(), "another segment is next");
    assert!(run.archived(0, &archived).await.unwrap());
    assert!(!run.archived(0, &archived).await.unwrap(), "that one is there");
    assert!(fixture.queue.view(&lease.id).await.unwrap().is_none());
    assert!(fixture.queue.dataset_outcomes(&id, 10).await.unwrap().is_empty());
    assert_eq!(fixture.queue.row_notes(&id, 0, 5).await.unwrap(), [1, 2, 0, 0, 0]);
    for rows in 1..5 {
        assert_eq!(fixture.queue.row_notes(&id, 1, rows).await.unwrap()[0], 2, "{rows} rows");
    }
    let kept: Vec<String> = fixture.raw(&["KEYS", "{uso:0}:j:*"]).await.unwrap_or_default();
    assert!(kept.len() <= 1, "only the third row's job is left: {kept:?}");

    let view = fixture.queue.dataset(&id).await.unwrap().unwrap();
    assert_eq!((view.segments, view.archived, view.shards, view.spent_ms), (1, 2, 1, 80));
    let segments = fixture.queue.dataset_segments(&id, 0, 10).await.unwrap();
    assert_eq!((segments[0].fence, segments[0].outcomes, segments[0].highest), (run.fence, 2, 1));
    assert!(fixture.queue.audit().await.unwrap().faults.is_empty());
}

#[tokio::test]
async fn a_name_is_made_once_and_a_chunk_is_added_once() {
    let fixture = Fixture::start().await;
    let new = NewDataset { name: "foxes", settings: "{}", metadata: &Value::Null, budget: Budget::default() };
    let (one, two) = tokio::join!(
        fixture.queue.create_dataset("tenant", &new),
        fixture.queue.create_dataset("tenant", &new)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.id, two.id);
    assert!(one.fresh != two.fresh, "{one:?} {two:?}");
    assert_eq!(fixture.queue.datasets("tenant").await.unwrap(), [("foxes".to_owned(), one.id)]);
    assert!(fixture.queue.datasets("another").await.unwrap().is_empty());

    let (first, second) = tokio::join!(
        fixture.queue.extend_dataset(&one.id, 0, 10, "ours"),
        fixture.queue.extend_dataset(&one.id, 0, 7, "theirs")
    );
    assert_eq!(first.unwrap(), second.unwrap(), "both hear what is there");
    assert_eq!(fixture.queue.dataset_chunks(&one.id, 0, 10).await.unwrap().len(), 1);
    assert!(task(&fixture).await.is_none(), "nothing is queued before it is started");
}

#[tokio::test]
async fn a_task_is_one_process_at_a_time_and_a_late_one_changes_nothing() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 5, Budget::default()).await;
    let late = task(&fixture).await.unwrap();
    assert!(task(&fixture).await.is_none());
    assert_eq!(feed(&late, &bulk(), 0, 2).await, Fed::Queued(2));
    fixture.set_clock(TERM + Duration::from_secs(1)).await;
    let next = task(&fixture).await.unwrap();
    assert!(next.fence > late.fence);
    assert_eq!(feed(&late, &bulk(), 2, 4).await, Fed::Lost);
    assert!(!late.renew(TERM).await.unwrap().held);
    assert_eq!(feed(&next, &bulk(), 0, 2).await, Fed::Moved(2), "what is queued is not queued again");
    work(&fixture, true).await;
    let archived = Archived { outcomes: 1, accepted: 1, ..Archived::default() };
    assert!(!late.archived(0, &archived).await.unwrap());
    assert!(next.archived(0, &archived).await.unwrap());
    late.release().await.unwrap();
    assert!(next.renew(TERM).await.unwrap().held);
    next.release().await.unwrap();
    assert_eq!(task(&fixture).await.unwrap().batch, id);
}

#[tokio::test]
async fn a_window_and_the_tenants_limits_are_waited_for() {
    let fixture = Fixture::start().await;
    dataset(&fixture, 50, Budget::default()).await;
    let run = task(&fixture).await.unwrap();
    let spec = bulk();
    let rows: Vec<_> = (0..50).map(|row| RowSubmission { row, key: "k", group: 0, spec: &spec }).collect();
    assert_eq!(run.feed(0, 50, 20, &rows).await.unwrap(), Fed::Queued(20));
    assert_eq!(run.feed(20, 50, 20, &rows[20..]).await.unwrap(), Fed::Waits(Wait::Window, Duration::ZERO));
    let limits = Limits { max_queued: Some(30), ..Limits::default() };
    fixture.queue.set_limits("tenant", &limits).await.unwrap();
    assert_eq!(run.feed(20, 50, 40, &rows[20..]).await.unwrap(), Fed::Queued(30));
    assert_eq!(run.feed(30, 50, 40, &rows[30..]).await.unwrap(), Fed::Waits(Wait::Limit, Duration::ZERO));
    let limits = Limits { per_second: Some(2.0), burst: Some(4.0), ..Limits::default() };
    fixture.queue.set_limits("tenant", &limits).await.unwrap();
    assert_eq!(run.feed(30, 50, 100, &rows[30..]).await.unwrap(), Fed::Queued(34));
    let Fed::Waits(Wait::Limit, wait) = run.feed(34, 50, 100, &rows[34..]).await.unwrap() else { panic!() };
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
}

#[tokio::test]
async fn a_budget_stops_it_and_a_larger_one_lets_it_go_on() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 9, Budget { pictures: Some(2), device_seconds: None }).await;
    let run = task(&fixture).await.unwrap();
    assert_eq!(feed(&run, &bulk(), 0, 9).await, Fed::Queued(2));
    assert_eq!(feed(&run, &bulk(), 2, 9).await, Fed::Waits(Wait::Window, Duration::ZERO));
    work(&fixture, false).await;
    work(&fixture, true).await;
    assert_eq!(feed(&run, &bulk(), 2, 9).await, Fed::Queued(3), "a row that failed is no picture");
    work(&fixture, true).await;
    let held = Fed::Waits(Wait::Held("budget_pictures".into()), Duration::ZERO);
    assert_eq!(feed(&run, &bulk(), 3, 9).await, held);
    assert_eq!(fixture.queue.dataset(&id).await.unwrap().unwrap().held.as_deref(), Some("budget_pictures"));
    let archived = Archived { outcomes: 3, accepted: 2, device_ms: 3000, ..Archived::default() };
    assert!(run.archived(0, &archived).await.unwrap());
    let budget = Budget { pictures: None, device_seconds: Some(3) };
    assert!(fixture.queue.set_budget(&id, &budget).await.unwrap());
    let held = Fed::Waits(Wait::Held("budget_seconds".into()), Duration::ZERO);
    assert_eq!(feed(&run, &bulk(), 3, 9).await, held);
    fixture.queue.set_budget(&id, &Budget { device_seconds: Some(4), ..budget }).await.unwrap();
    assert_eq!(feed(&run, &bulk(), 3, 9).await, Fed::Queued(9));
}

#[tokio::test]
async fn a_retry_queues_the_failed_rows_alone_and_they_count_once() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 4, Budget::default()).await;
    let run = task(&fixture).await.unwrap();
    feed(&run, &bulk(), 0, 4).await;
    let first = work(&fixture, true).await;
    let failed = work(&fixture, false).await;
    // The third runs on, the fourth waits.
    let running = fixture.claim().await.unwrap();
    assert!(fixture.queue.control_batch(&id, BatchOperation::RetryFailed).await.unwrap());
    assert_eq!(feed(&run, &bulk(), 0, 4).await, Fed::Queued(4));
    let expected = BatchCounts { total: 4, queued: 2, running: 1, succeeded: 1, ..Default::default() };
    assert_eq!(counts(&fixture, &id).await, expected);
    running.complete(&output("a")).await.unwrap();
    work(&fixture, true).await;
    let again = work(&fixture, true).await;
    assert_eq!(again.row().map(|row| (row.row, row.pass)), failed.row().map(|row| (row.row, 1)));
    assert_ne!(first, again);
    let expected = BatchCounts { total: 4, succeeded: 4, ..Default::default() };
    assert_eq!(counts(&fixture, &id).await, expected);
    assert_eq!(fixture.queue.dataset_outcomes(&id, 10).await.unwrap().len(), 5);
    assert!(fixture.claim().await.is_none());
}

#[tokio::test]
async fn a_canceled_data_set_ends_its_rows_and_queues_no_more() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 120, Budget::default()).await;
    let run = task(&fixture).await.unwrap();
    feed(&run, &bulk(), 0, 90).await;
    work(&fixture, true).await;
    let running = fixture.claim().await.unwrap();
    assert!(fixture.queue.control_batch(&id, BatchOperation::Cancel).await.unwrap());
    assert!(running.complete(&output("late")).await.is_err());
    let expected = BatchCounts { total: 120, succeeded: 1, canceled: 89, ..Default::default() };
    assert_eq!(counts(&fixture, &id).await, expected);
    let held = Fed::Waits(Wait::Held("canceled".into()), Duration::ZERO);
    assert_eq!(feed(&run, &bulk(), 90, 120).await, held);
    assert_eq!(fixture.queue.dataset_outcomes(&id, 1000).await.unwrap().len(), 90);
    assert!(fixture.queue.audit().await.unwrap().faults.is_empty());
}

#[tokio::test]
async fn a_shard_is_committed_by_whoever_holds_its_task_and_then_cleared() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 2, Budget::default()).await;
    let run = task(&fixture).await.unwrap();
    feed(&run, &bulk(), 0, 2).await;
    work(&fixture, true).await;
    let closed = Archived { outcomes: 1, accepted: 1, closes: true, ..Archived::default() };
    assert!(run.archived(0, &closed).await.unwrap());
    let late = task(&fixture).await.unwrap();
    assert_eq!(late.kind, TaskKind::Pack(0));
    assert_eq!(late.intend(0, "digest").await.unwrap(), Intent::Go);
    fixture.set_clock(TERM * 2).await;
    let pack = task(&fixture).await.unwrap();
    assert_eq!(pack.kind, TaskKind::Pack(0));
    assert_eq!(late.intend(0, "digest").await.unwrap(), Intent::Lost);
    assert!(!pack.commit(0, "another", "{}").await.unwrap());
    assert!(pack.commit(0, "digest", "{}").await.unwrap());
    assert_eq!(pack.intend(0, "digest").await.unwrap(), Intent::Committed);
    let shards = fixture.queue.dataset_shards(&id, 0, 10).await.unwrap();
    assert_eq!((shards[0].committed.as_deref(), shards[0].done), (Some("{}"), false));
    assert!(pack.cleared(0).await.unwrap());
    pack.release().await.unwrap();
    assert_eq!(fixture.queue.dataset(&id).await.unwrap().unwrap().packed, 1);
    assert!(task(&fixture).await.is_none());
}

#[tokio::test]
async fn a_data_set_with_nothing_left_to_do_asks_for_no_task() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 1, Budget::default()).await;
    let run = task(&fixture).await.unwrap();
    feed(&run, &bulk(), 0, 1).await;
    work(&fixture, true).await;
    run.archived(0, &Archived { outcomes: 1, accepted: 1, closes: true, ..Archived::default() })
        .await
        .unwrap();
    let pack = task(&fixture).await.unwrap();
    pack.intend(0, "digest").await.unwrap();
    pack.commit(0, "digest", "{}").await.unwrap();
    pack.cleared(0).await.unwrap();
    assert!(run.renew(TERM).await.unwrap().wanted, "the index does not tell of the shard");
    assert!(run.described(1).await.unwrap());
    assert!(!run.renew(TERM).await.unwrap().wanted);
    run.release().await.unwrap();
    assert!(task(&fixture).await.is_none());
    let active: u64 = fixture.raw(&["ZCARD", "{uso:0}:datasets"]).await.unwrap();
    assert_eq!(active, 0);
    // A longer manifest extends it.
    assert_eq!(fixture.queue.extend_dataset(&id, 1, 3, "more").await.unwrap(), Some(3));
    assert_eq!(fixture.queue.start_dataset(&id, 3).await.unwrap(), Some(3));
    let run = task(&fixture).await.unwrap();
    assert_eq!(feed(&run, &bulk(), 1, 3).await, Fed::Queued(3));
}

#[tokio::test]
async fn rows_of_a_group_go_to_one_worker_while_there_are_others_to_begin() {
    let fixture = Fixture::start().await;
    dataset(&fixture, 40, Budget::default()).await;
    let run = task(&fixture).await.unwrap();
    let spec = bulk();
    let row = |row| RowSubmission { row, key: "k", group: 1 + row / 10, spec: &spec };
    let rows: Vec<_> = (0..40).map(row).collect();
    assert_eq!(run.feed(0, 40, 100, &rows).await.unwrap(), Fed::Queued(40));
    let workers: Vec<WorkerId> = (0..3).map(|_| WorkerId::new()).collect();
    let mut taken = vec![Vec::new(); 3];
    for turn in 0..30 {
        let lease = fixture.claim_as(&workers[turn % 3]).await.unwrap();
        taken[turn % 3].push(lease.row.unwrap());
        lease.complete(&output("a")).await.unwrap();
    }
    let expected: Vec<Vec<u64>> = (0..3).map(|worker| (worker * 10..worker * 10 + 10).collect()).collect();
    assert_eq!(taken, expected);
    // One begins the last group; the others help it, for there is nothing else.
    for turn in 0..10 {
        let lease = fixture.claim_as(&workers[turn % 3]).await.unwrap();
        assert_eq!(lease.row.map(|row| row / 10), Some(3));
        lease.complete(&output("a")).await.unwrap();
    }
    assert!(fixture.claim().await.is_none());
    assert!(fixture.queue.audit().await.unwrap().faults.is_empty());
}

#[tokio::test]
async fn a_row_that_came_back_is_taken_with_its_group_and_none_is_taken_twice() {
    let fixture = Fixture::start().await;
    dataset(&fixture, 6, Budget::default()).await;
    let run = task(&fixture).await.unwrap();
    let spec = bulk();
    let rows: Vec<_> =
        (0..6).map(|row| RowSubmission { row, key: "k", group: 1 + row % 2, spec: &spec }).collect();
    run.feed(0, 6, 100, &rows).await.unwrap();
    let (one, two) = (WorkerId::new(), WorkerId::new());
    let first = fixture.claim_as(&one).await.unwrap();
    let second = fixture.claim_as(&two).await.unwrap();
    assert_eq!((first.row, second.row), (Some(0), Some(1)));
    first.release().await.unwrap();
    let mut seen = vec![second.row.unwrap()];
    for _ in 0..5 {
        let lease = fixture.claim_as(&one).await.unwrap();
        seen.push(lease.row.unwrap());
        lease.complete(&output("a")).await.unwrap();
    }
    assert_eq!(seen, [1, 0, 2, 4, 3, 5]);
    second.complete(&output("a")).await.unwrap();
    assert!(fixture.claim_as(&one).await.is_none());
}

#[tokio::test]
async fn an_index_that_a_late_process_may_have_written_is_written_again() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 1, Budget::default()).await;
    let late = task(&fixture).await.unwrap();
    feed(&late, &bulk(), 0, 1).await;
    work(&fixture, true).await;
    let closed = Archived { outcomes: 1, accepted: 1, closes: true, ..Archived::default() };
    assert!(late.archived(0, &closed).await.unwrap());
    let pack = task(&fixture).await.unwrap();
    pack.intend(0, "digest").await.unwrap();
    pack.commit(0, "digest", "{}").await.unwrap();
    pack.cleared(0).await.unwrap();
    fixture.set_clock(TERM * 2).await;
    let next = task(&fixture).await.unwrap();
    assert_eq!(next.kind, TaskKind::Run);
    assert!(next.described(1).await.unwrap());
    next.release().await.unwrap();
    assert!(task(&fixture).await.is_none(), "it is finished");
    assert!(!late.described(1).await.unwrap());
    let again = task(&fixture).await.unwrap();
    assert_eq!((again.batch, again.kind), (id, TaskKind::Run));
    assert!(again.renew(TERM).await.unwrap().wanted);
    assert!(again.described(1).await.unwrap());
    again.release().await.unwrap();
    assert!(task(&fixture).await.is_none());
}

#[tokio::test]
async fn an_outcome_without_a_record_is_named_and_shifts_no_other() {
    let fixture = Fixture::start().await;
    let id = dataset(&fixture, 2, Budget::default()).await;
    let run = task(&fixture).await.unwrap();
    feed(&run, &bulk(), 0, 2).await;
    let lost = work(&fixture, true).await;
    work(&fixture, true).await;
    fixture.raw_bytes::<u64>(&[b"DEL", &job_key(&lost)]).await.unwrap();
    let error = fixture.queue.dataset_outcomes(&id, 10).await.unwrap_err();
    assert!(error.to_string().contains("1 ended rows"), "{error}");
}
