//! The ordinary life of a job, and its ends.

use uso_queue::{Class, Error, EventKind, State};

use crate::fixture::{Fixture, bulk, checkpoint, events, failure, job_key, output, spec};

#[tokio::test]
async fn a_job_goes_from_submission_to_its_picture_and_tells_so() {
    let fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let asked = spec(Class::Interactive, 3);
    let id = fixture.submit(&asked).await;
    let view = fixture.view(&id).await;
    assert_eq!((view.state, view.version, view.attempt, view.fence), (State::Queued, 1, 0, 0));
    assert_eq!((view.spec, view.tenant.as_str()), (asked.clone(), "tenant"));

    let lease = fixture.claim().await.unwrap();
    assert_eq!((&lease.id, &lease.spec, lease.attempt), (&id, &asked, 1));
    let view = fixture.view(&id).await;
    assert_eq!((view.state, view.attempt, view.fence), (State::Running, 1, lease.fence));
    assert!(view.started_ms.unwrap() >= view.submitted_ms);

    lease.progress(1, 2).await.unwrap();
    lease.progress(2, 2).await.unwrap();
    lease.complete(&output("a")).await.unwrap();
    let view = fixture.view(&id).await;
    assert_eq!((view.state, view.step, view.of), (State::Succeeded, 2, 2));
    assert_eq!(view.output, Some(output("a")));
    assert!(view.expires_ms.unwrap() > view.finished_ms.unwrap());

    let seen = events(&mut tail, 5).await;
    let names: Vec<_> = seen.iter().map(uso_queue::JobEvent::name).collect();
    assert_eq!(names, ["queued", "started", "progress", "progress", "succeeded"]);
    assert_eq!(seen[3].kind, EventKind::Progress { step: 2, of: 2 });
    assert!(seen.iter().all(|event| event.job == id));
    assert!(seen.is_sorted_by(|a, b| a.id < b.id && a.version < b.version));
    assert_eq!(view.last_event, seen[4].id);
    assert!(fixture.claim().await.is_none());
}

#[tokio::test]
async fn an_ended_job_leaves_nothing_but_its_record_which_expires() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    lease.progress(1, 2).await.unwrap();
    lease.record_checkpoint(&checkpoint(1)).await.unwrap();
    lease.complete(&output("a")).await.unwrap();
    let depth = fixture.queue.stats().await.unwrap().bulk;
    assert_eq!((depth.queued, depth.running), (0, 0));
    assert_eq!(fixture.raw::<u64>(&["XLEN", "{uso:0}:ready:bulk"]).await.unwrap(), 0);
    for notes in ["leases", "steps", "checkpoints"] {
        assert_eq!(fixture.raw::<u64>(&["HLEN", &format!("{{uso:0}}:{notes}")]).await.unwrap(), 0, "{notes}");
    }
    assert_eq!(fixture.view(&id).await.checkpoint, Some(checkpoint(1)), "its record keeps it");
    let ttl: i64 = fixture.raw_bytes(&[b"PTTL", &job_key(&id)]).await.unwrap();
    let week = 7 * 24 * 3_600_000;
    assert!((week - 60_000..=week).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn what_is_left_of_a_lease_that_is_gone_is_a_fault() {
    let fixture = Fixture::start().await;
    for (number, notes) in ["steps", "checkpoints"].into_iter().enumerate() {
        fixture
            .raw::<redis::Value>(&["HSET", &format!("{{uso:0}}:{notes}"), "0123456789abcdef", "x"])
            .await
            .unwrap();
        let faults = fixture.queue.audit().await.unwrap().faults;
        let what = "shard 0 counts 0 jobs with notes of a lease that is gone, but there are 1";
        assert!(faults.len() == 1 && faults[0].what == what, "{number}: {faults:?}");
    }
}

#[tokio::test]
async fn a_permanent_failure_ends_the_job() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    fixture.claim().await.unwrap().fail(&failure(false)).await.unwrap();
    let view = fixture.view(&id).await;
    assert_eq!((view.state, view.attempt), (State::Failed, 1));
    assert_eq!(view.error, Some(failure(false)));
    assert!(fixture.claim().await.is_none());
}

#[tokio::test]
async fn a_retryable_failure_is_tried_three_times() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    for attempt in 1..=3 {
        let lease = fixture.claim().await.unwrap();
        assert_eq!(lease.attempt, attempt);
        lease.fail(&failure(true)).await.unwrap();
    }
    let view = fixture.view(&id).await;
    assert_eq!((view.state, view.attempt), (State::Failed, 3));
    assert!(fixture.claim().await.is_none());
}

#[tokio::test]
async fn a_released_job_waits_again_and_has_spent_no_attempt() {
    let fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let id = fixture.submit(&bulk()).await;
    fixture.claim().await.unwrap().release().await.unwrap();
    let view = fixture.view(&id).await;
    assert_eq!((view.state, view.attempt), (State::Queued, 0));
    let seen = events(&mut tail, 3).await;
    assert_eq!(seen[2].kind, EventKind::Requeued { reason: "released".into() });
    assert_eq!(fixture.claim().await.unwrap().attempt, 1);
}

#[tokio::test]
async fn a_settlement_whose_answer_was_lost_may_be_repeated() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    lease.complete(&output("a")).await.unwrap();
    lease.complete(&output("a")).await.unwrap();

    fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    lease.release().await.unwrap();
    lease.release().await.unwrap();
    assert_eq!(fixture.claim().await.unwrap().attempt, 1, "released once, not twice");
}

#[tokio::test]
async fn an_unknown_job_has_no_view() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    fixture.raw_bytes::<u64>(&[b"DEL", &job_key(&id)]).await.unwrap();
    assert!(fixture.queue.view(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_broken_entry_goes_aside_alone_and_holds_up_nobody() {
    let fixture = Fixture::start().await;
    let gone = fixture.submit(&bulk()).await;
    let broken = fixture.submit(&bulk()).await;
    let whole = fixture.submit(&bulk()).await;
    fixture.raw_bytes::<u64>(&[b"DEL", &job_key(&gone)]).await.unwrap();
    fixture.raw_bytes::<redis::Value>(&[b"SET", &job_key(&broken), b"rubbish"]).await.unwrap();
    // Nobody but the queue writes there, yet a stray entry must not stop it.
    fixture
        .raw::<redis::Value>(&["XGROUP", "CREATE", "{uso:0}:ready:bulk", "workers", "0", "MKSTREAM"])
        .await
        .unwrap();
    fixture.raw::<redis::Value>(&["XADD", "{uso:0}:ready:bulk", "*", "stray", "entry"]).await.unwrap();

    assert_eq!(fixture.claim().await.unwrap().id, whole);
    let letters = fixture.queue.dead_letters(10).await.unwrap();
    let reasons: Vec<&str> = letters.iter().rev().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(reasons, ["no record", "broken record", "not a job"]);
    let jobs: Vec<_> = letters.iter().rev().map(|letter| letter.job).collect();
    assert_eq!(jobs, [Some(gone), Some(broken), None]);
    assert_eq!(letters[1].raw, b"rubbish");
    assert!(letters[0].raw.windows(5).any(|bytes| bytes == b"stray"));
    assert!(matches!(fixture.queue.view(&broken).await, Err(Error::Refused(_))));
    let depth = fixture.queue.stats().await.unwrap().bulk;
    assert_eq!((depth.queued, depth.running), (0, 1));
}
