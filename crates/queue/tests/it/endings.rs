//! Cancelling, deadlines, retries and dead letters.

use std::time::Duration;

use serde_json::json;
use uso_queue::{
    Backoff, BatchOperation, Canceled, Class, Config, Defaults, Error, EventKind, JobId, JobSpec, ListFilter,
    Queue, Removed, Retried, State,
};

use crate::fixture::{Fixture, bulk, config, events, failure, output};

const LEASE: Duration = Duration::from_secs(11);

/// A job with a deadline some seconds from now.
fn timed(field: &str, seconds: i64) -> JobSpec {
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    JobSpec::parse(&json!({ "class": "bulk", field: time.to_string() }), &Defaults::default()).unwrap()
}

#[tokio::test]
async fn a_waiting_job_is_canceled_at_once_and_again() {
    let fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let id = fixture.submit(&bulk()).await;
    let other = fixture.submit(&bulk()).await;
    for _ in 0..2 {
        assert_eq!(fixture.queue.cancel(&id).await.unwrap(), Some(Canceled::Done));
    }
    let view = fixture.view(&id).await;
    assert!(view.state == State::Canceled && view.aborted && view.expires_ms.is_some());
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.queued, 1);
    assert_eq!(fixture.claim().await.unwrap().id, other);
    assert!(fixture.claim().await.is_none());
    let seen = events(&mut tail, 4).await;
    assert_eq!((seen[2].job, &seen[2].kind), (id, &EventKind::Canceled));
    assert!(seen[2].is_terminal());
}

#[tokio::test]
async fn a_running_job_is_canceled_at_once_and_its_worker_learns_of_it() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    lease.progress(1, 9).await.unwrap();
    assert_eq!(fixture.queue.cancel(&id).await.unwrap(), Some(Canceled::Done));
    assert!(matches!(lease.progress(2, 9).await, Err(Error::LostLease { .. })));
    assert!(matches!(lease.complete(&output("late")).await, Err(Error::LostLease { .. })));
    let view = fixture.view(&id).await;
    assert!(view.state == State::Canceled && !view.aborted && view.output.is_none());
    let depth = fixture.queue.stats().await.unwrap().bulk;
    assert_eq!((depth.queued, depth.running), (0, 0));
    assert_eq!(fixture.raw::<u64>(&["XLEN", "{uso:0}:ready:bulk"]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_job_that_has_ended_otherwise_cannot_be_canceled() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    fixture.claim().await.unwrap().complete(&output("a")).await.unwrap();
    assert_eq!(fixture.queue.cancel(&id).await.unwrap(), Some(Canceled::Ended(State::Succeeded)));
    assert_eq!(fixture.view(&id).await.state, State::Succeeded);
    let unknown: JobId = "0-0198a0b0-0000-7000-8000-000000000000".parse().unwrap();
    assert_eq!(fixture.queue.cancel(&unknown).await.unwrap(), None);
}

#[tokio::test]
async fn a_claim_gets_past_any_number_of_canceled_jobs() {
    let fixture = Fixture::start().await;
    let mut ids = Vec::new();
    for _ in 0..450 {
        ids.push(fixture.submit(&bulk()).await);
    }
    let last = fixture.submit(&bulk()).await;
    for id in &ids {
        fixture.queue.cancel(id).await.unwrap();
    }
    assert_eq!(fixture.claim().await.unwrap().id, last);
}

#[tokio::test]
async fn a_job_that_was_not_begun_in_time_expires_with_no_worker_alive() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&timed("start_by", 60)).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    assert_eq!(fixture.view(&id).await.state, State::Queued);
    fixture.set_clock(Duration::from_secs(61)).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    let view = fixture.view(&id).await;
    assert!(view.state == State::Expired && view.aborted);
    assert!(fixture.claim().await.is_none());
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.queued, 0);
}

#[tokio::test]
async fn a_job_that_comes_too_late_to_a_worker_expires_at_the_claim() {
    let fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let late = fixture.submit(&timed("start_by", 60)).await;
    let next = fixture.submit(&bulk()).await;
    fixture.set_clock(Duration::from_secs(61)).await;
    assert_eq!(fixture.claim().await.unwrap().id, next);
    assert_eq!(fixture.view(&late).await.state, State::Expired);
    assert_eq!(events(&mut tail, 3).await[2].kind, EventKind::Expired { missed: "start_by".into() });
}

#[tokio::test]
async fn a_job_that_has_begun_need_not_fear_its_start_by() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&timed("start_by", 60)).await;
    let lease = fixture.claim().await.unwrap();
    lease.progress(1, 9).await.unwrap();
    fixture.set_clock(Duration::from_secs(61)).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    lease.fail(&failure(true)).await.unwrap();
    fixture.queue.reap(&fixture.worker).await.unwrap();
    assert_eq!(fixture.claim().await.unwrap().id, id);
}

#[tokio::test]
async fn a_job_handed_back_before_its_first_step_must_still_start_in_time() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&timed("start_by", 60)).await;
    fixture.claim().await.unwrap().release().await.unwrap();
    assert_eq!(fixture.view(&id).await.started_ms, None);
    fixture.set_clock(Duration::from_secs(61)).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    let view = fixture.view(&id).await;
    assert!(view.state == State::Expired && view.aborted);
}

#[tokio::test]
async fn a_job_that_has_begun_stays_begun_however_soon_it_is_handed_back_again() {
    let fixture = Fixture::start().await;
    fixture.raw::<redis::Value>(&["CONFIG", "SET", "appendfsync", "no"]).await.unwrap();
    // Two claims within a millisecond were once taken for one.
    for _ in 0..100 {
        let id = fixture.submit(&timed("start_by", 60)).await;
        let first = fixture.claim().await.unwrap();
        first.progress(1, 9).await.unwrap();
        first.release().await.unwrap();
        fixture.claim().await.unwrap().release().await.unwrap();
        assert!(fixture.view(&id).await.started_ms.is_some());
        fixture.queue.cancel(&id).await.unwrap();
    }
}

#[tokio::test]
async fn a_running_job_expires_at_its_finish_by() {
    let fixture = Fixture::start().await;
    let between_steps = fixture.submit(&timed("finish_by", 60)).await;
    let by_the_reaper = fixture.submit(&timed("finish_by", 60)).await;
    let lease = fixture.claim().await.unwrap();
    let silent = fixture.claim().await.unwrap();
    assert!(lease.finish_by_ms.is_some());
    lease.progress(1, 9).await.unwrap();
    fixture.set_clock(Duration::from_secs(61)).await;
    assert!(matches!(lease.progress(2, 9).await, Err(Error::LostLease { .. })));
    let view = fixture.view(&between_steps).await;
    assert!(view.state == State::Expired && !view.aborted);
    fixture.queue.reap(&fixture.worker).await.unwrap();
    assert_eq!(fixture.view(&by_the_reaper).await.state, State::Expired);
    assert!(matches!(silent.complete(&output("late")).await, Err(Error::LostLease { .. })));
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.running, 0);
}

#[tokio::test]
async fn a_job_waits_for_its_time() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&timed("not_before", 60)).await;
    let now = fixture.submit(&bulk()).await;
    assert_eq!(fixture.claim().await.unwrap().id, now);
    assert!(fixture.claim().await.is_none());
    let depth = fixture.queue.stats().await.unwrap().bulk;
    assert_eq!((depth.queued, depth.delayed), (1, 1));
    assert!(fixture.view(&id).await.due_ms.is_some());
    fixture.set_clock(Duration::from_secs(61)).await;
    assert_eq!(fixture.claim().await.unwrap().id, id);
}

#[tokio::test]
async fn a_delayed_job_can_be_canceled() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&timed("not_before", 60)).await;
    fixture.queue.cancel(&id).await.unwrap();
    let depth = fixture.queue.stats().await.unwrap().bulk;
    assert_eq!((depth.queued, depth.delayed), (0, 0));
    fixture.set_clock(Duration::from_secs(61)).await;
    assert!(fixture.claim().await.is_none());
}

#[tokio::test]
async fn a_failed_attempt_is_followed_by_a_pause() {
    let fixture = Fixture::start().await;
    let backoff = Backoff { base: Duration::from_secs(60), cap: Duration::from_secs(3600) };
    let queue = Queue::connect(Config { backoff, ..config(&fixture.redis) }).await.unwrap();
    let id = fixture.submit(&bulk()).await;
    let mut ahead = Duration::ZERO;
    for limit in [60, 120] {
        queue.claim_one(&fixture.worker).await.unwrap().unwrap().fail(&failure(true)).await.unwrap();
        let view = fixture.view(&id).await;
        assert_eq!(view.state, State::Queued);
        let wait =
            view.due_ms.unwrap() - jiff::Timestamp::now().as_millisecond() as u64 - ahead.as_millis() as u64;
        assert!(wait <= limit * 1000, "{wait}");
        ahead += Duration::from_secs(limit);
        fixture.set_clock(ahead).await;
    }
    assert_eq!(queue.claim_one(&fixture.worker).await.unwrap().unwrap().attempt, 3);
}

#[tokio::test]
async fn a_job_whose_attempts_are_spent_is_a_dead_letter_that_can_be_tried_again() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    for _ in 0..3 {
        fixture.claim().await.unwrap().fail(&failure(true)).await.unwrap();
    }
    let letters = fixture.queue.dead_letters(10).await.unwrap();
    assert_eq!((letters[0].reason.as_str(), letters[0].job), ("attempts spent", Some(id)));
    assert_eq!(fixture.queue.dead_letter(&letters[0].id).await.unwrap().as_ref(), Some(&letters[0]));
    let name = letters[0].id.to_string().parse().unwrap();
    let Some(Retried::As(new)) = fixture.queue.retry_dead_letter(&name).await.unwrap() else { panic!() };
    let (old, view) = (fixture.view(&id).await, fixture.view(&new).await);
    assert_eq!((view.state, view.retry_of, view.attempt), (State::Queued, Some(id), 0));
    assert_eq!((old.state, old.retried_by), (State::Failed, Some(new)));
    assert_eq!(view.spec, old.spec);
    assert!(fixture.queue.dead_letters(10).await.unwrap().is_empty());
    assert_eq!(fixture.queue.retry_dead_letter(&name).await.unwrap(), None);
    assert_eq!(fixture.claim().await.unwrap().id, new);
}

#[tokio::test]
async fn a_dead_letter_can_be_dropped_and_rubbish_cannot_be_tried_again() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    fixture.raw_bytes::<redis::Value>(&[b"SET", &crate::fixture::job_key(&id), b"rubbish"]).await.unwrap();
    assert!(fixture.claim().await.is_none());
    let letter = &fixture.queue.dead_letters(10).await.unwrap()[0];
    assert_eq!(fixture.queue.retry_dead_letter(&letter.id).await.unwrap(), Some(Retried::NoJob));
    assert!(fixture.queue.drop_dead_letter(&letter.id).await.unwrap());
    assert!(!fixture.queue.drop_dead_letter(&letter.id).await.unwrap());
    assert!(fixture.queue.dead_letters(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_ended_job_can_be_repeated_once() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    assert_eq!(fixture.queue.retry(&id).await.unwrap(), Some(Retried::Unfinished));
    let lease = fixture.claim().await.unwrap();
    assert_eq!(fixture.queue.retry(&id).await.unwrap(), Some(Retried::Unfinished));
    lease.fail(&failure(false)).await.unwrap();
    let first = fixture.queue.retry(&id).await.unwrap();
    assert!(matches!(first, Some(Retried::As(new)) if new != id));
    assert_eq!(fixture.queue.retry(&id).await.unwrap(), first);
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.queued, 1);
    let key = crate::fixture::job_key(&id);
    assert!(fixture.raw_bytes::<i64>(&[b"PTTL", &key]).await.unwrap() > 0, "the old record still expires");
}

#[tokio::test]
async fn lost_leases_and_cancels_do_not_mix_up_the_counters() {
    let fixture = Fixture::start().await;
    let batch = fixture.queue.new_batch("tenant").unwrap();
    let spec = bulk();
    let one = uso_queue::Submission { batch: Some(batch), ..(&spec).into() };
    let id = fixture.queue.submit("tenant", one).await.unwrap().id;
    let _ = fixture.claim().await.unwrap();
    fixture.age_leases(Class::Bulk, LEASE).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    fixture.queue.cancel(&id).await.unwrap();
    let counts = fixture.queue.batch(&batch).await.unwrap().unwrap().counts;
    assert_eq!((counts.total, counts.queued, counts.running, counts.canceled), (1, 0, 0, 1));
    assert!(fixture.queue.control_batch(&batch, BatchOperation::Cancel).await.unwrap());
    let depth = fixture.queue.stats().await.unwrap().bulk;
    assert_eq!((depth.queued, depth.running), (0, 0));
    assert!(fixture.queue.tenants().await.unwrap().is_empty(), "whoever has no jobs leaves no trace");
}

#[tokio::test]
async fn only_a_job_that_has_ended_can_be_forgotten() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let remove = || fixture.queue.remove(&id);
    assert_eq!(remove().await.unwrap(), Some(Removed::Unfinished), "it waits");
    let lease = fixture.claim().await.unwrap();
    assert_eq!(remove().await.unwrap(), Some(Removed::Unfinished), "it runs");
    lease.fail(&failure(true)).await.unwrap();
    assert_eq!(remove().await.unwrap(), Some(Removed::Unfinished), "it waits for its next attempt");
    let lease = fixture.claim().await.unwrap();
    lease.record_preview(b"preview").await.unwrap();
    lease.complete(&output("a")).await.unwrap();
    assert_eq!(remove().await.unwrap(), Some(Removed::Done));
    assert_eq!(remove().await.unwrap(), None);
    assert!(fixture.queue.view(&id).await.unwrap().is_none());
    assert_eq!(fixture.queue.preview(&id).await.unwrap(), None);
    assert_eq!(fixture.queue.retry(&id).await.unwrap(), None, "nobody can repeat what is gone");
    let filter = ListFilter { tenant: Some("tenant".into()), enough: 9, ..ListFilter::default() };
    assert!(fixture.queue.list(&filter).await.unwrap().jobs.is_empty());
}

#[tokio::test]
async fn a_forgotten_job_leaves_no_dead_letter_and_no_gap_in_its_list() {
    let fixture = Fixture::start().await;
    let failed = fixture.submit(&bulk()).await;
    for _ in 0..3 {
        fixture.claim().await.unwrap().fail(&failure(true)).await.unwrap();
    }
    let poison = fixture.submit(&bulk()).await;
    for _ in 0..2 {
        fixture.claim().await.unwrap().note_stage(Some("encode")).await.unwrap();
        fixture.age_leases(Class::Bulk, LEASE).await;
        fixture.queue.reap(&fixture.worker).await.unwrap();
    }
    let canceled = fixture.submit(&bulk()).await;
    let waits = fixture.submit(&bulk()).await;
    fixture.queue.cancel(&canceled).await.unwrap();
    assert_eq!(fixture.queue.dead_letters(10).await.unwrap().len(), 2);
    for id in [failed, poison, canceled] {
        let key = crate::fixture::job_key(&id);
        assert!(fixture.raw_bytes::<i64>(&[b"PTTL", &key]).await.unwrap() > 0, "the record expires");
        assert_eq!(fixture.queue.remove(&id).await.unwrap(), Some(Removed::Done));
    }
    assert_eq!(fixture.queue.dead_letters(10).await.unwrap(), []);
    // The canceled job's id still lies in the backlog.
    assert_eq!(fixture.claim().await.unwrap().id, waits);
    assert!(fixture.claim().await.is_none());
    assert_eq!(fixture.queue.audit().await.unwrap().faults, []);
}

#[tokio::test]
async fn dead_letters_are_read_a_page_at_a_time() {
    let fixture = Fixture::start().await;
    for _ in 0..5 {
        fixture.submit(&bulk()).await;
        for _ in 0..3 {
            fixture.claim().await.unwrap().fail(&failure(true)).await.unwrap();
        }
    }
    let letters = fixture.queue.dead_letters(10).await.unwrap();
    let mut pages = Vec::new();
    for _ in 0..3 {
        let last = pages.last().map(|letter: &uso_queue::DeadLetter| letter.id);
        pages.extend(fixture.queue.dead_letters_before(last, 2).await.unwrap());
    }
    assert_eq!((letters.len(), &pages), (5, &letters));
}
