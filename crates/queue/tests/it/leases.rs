//! Who holds a job, and what a process that lost it can still do: nothing.

use std::collections::HashMap;
use std::time::Duration;

use uso_queue::{
    Checkpoint, Claim, Class, Config, Error, EventKind, Lease, MAX_CHECKPOINT, MAX_PREVIEW, Queue, Renewer,
    State, WorkerId,
};

use crate::fixture::{Fixture, bulk, bytes, checkpoint, config, events, failure, output};

const LEASE: Duration = Duration::from_secs(11);

#[tokio::test]
async fn a_late_result_is_refused_once_another_worker_holds_the_job() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let late = fixture.claim().await.unwrap();
    fixture.age_leases(Class::Bulk, LEASE).await;
    assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap().requeued, 1);

    let other = WorkerId::new();
    let current = fixture.claim_as(&other).await.unwrap();
    assert!(current.fence > late.fence);
    assert_eq!((&current.id, current.attempt), (&id, 1), "a lost lease spends no attempt");

    let lost =
        |answer: Result<(), Error>| assert!(matches!(answer, Err(Error::LostLease { .. })), "{answer:?}");
    lost(late.progress(5, 10).await.map(drop));
    lost(late.set_aside().await);
    lost(late.resumed().await);
    lost(late.complete(&output("late")).await);
    lost(late.fail(&failure(false)).await);
    lost(late.release().await);

    current.complete(&output("current")).await.unwrap();
    lost(late.complete(&output("late")).await);
    let view = fixture.view(&id).await;
    assert_eq!((view.state, view.output), (State::Succeeded, Some(output("current"))));
}

#[tokio::test]
async fn fence_and_token_must_both_be_right() {
    let fixture = Fixture::start().await;
    let id = bytes(&fixture.submit(&bulk()).await);
    let root: [&[u8]; 2] = [b"1", b"{uso:0}"];
    let asked: [&[u8]; 9] = [b"worker", b"token", b"10000", b"1000", b"20", b"+inf", b"1", b"0", b"bulk"];
    let claim = [&[&b"FCALL"[..], b"uso_1_claim"], &root[..], &asked].concat();
    let (_, mut lease): (u8, Vec<redis::Value>) = fixture.raw_bytes(&claim).await.unwrap();
    let fence: u64 = redis::from_redis_value(lease.swap_remove(1)).unwrap();
    for (fence, token, taken) in [(fence, "forged", 0), (fence + 1, "token", 0), (fence, "token", 1)] {
        let fence = fence.to_string();
        let settled: [&[u8]; 5] = [&id, fence.as_bytes(), token.as_bytes(), b"1000", b"{}"];
        let complete = [&[&b"FCALL"[..], b"uso_1_complete"], &root[..], &settled].concat();
        assert_eq!(fixture.raw_bytes::<u64>(&complete).await.unwrap(), taken, "{fence} {token}");
    }
}

#[tokio::test]
async fn renewing_makes_a_lease_young_again() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let config = Config { renew: Duration::from_millis(50), ..config(&fixture.redis) };
    let queue = Queue::connect(config).await.unwrap();
    let lease = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    fixture.age_leases(Class::Bulk, LEASE).await;
    let renewer = Renewer::start(&queue);
    let keeper = renewer.keep(&lease);
    let young = async {
        loop {
            let pending: redis::streams::StreamPendingCountReply =
                fixture.raw(&["XPENDING", "{uso:0}:ready:bulk", "workers", "-", "+", "1"]).await.unwrap();
            if pending.ids[0].last_delivered_ms < 5_000 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), young).await.unwrap();
    assert!(!keeper.lost().is_cancelled());
    renewer.stop().await;
    assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap().requeued, 0);
    lease.complete(&output("a")).await.unwrap();
}

#[tokio::test]
async fn a_keeper_notices_that_its_lease_is_lost() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let config = Config { renew: Duration::from_millis(50), ..config(&fixture.redis) };
    let queue = Queue::connect(config).await.unwrap();
    let lease = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    lease.release().await.unwrap();
    let renewer = Renewer::start(&queue);
    let keeper = renewer.keep(&lease);
    tokio::time::timeout(Duration::from_secs(20), keeper.lost().cancelled()).await.unwrap();
    renewer.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_gone_because_its_job_has_ended_is_not_lost() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    fixture.submit(&bulk()).await;
    let config = Config { renew: Duration::from_millis(50), ..config(&fixture.redis) };
    let queue = Queue::connect(config).await.unwrap();
    let ended = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    let released = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    let renewer = Renewer::start(&queue);
    let keeper = renewer.keep(&ended);
    keeper.settling();
    ended.complete(&output("a")).await.unwrap();
    released.release().await.unwrap();
    // The same call renews both, in this order.
    let other = renewer.keep(&released);
    tokio::time::timeout(Duration::from_secs(20), other.lost().cancelled()).await.unwrap();
    assert!(!keeper.lost().is_cancelled());
    renewer.stop().await;
}

/// Claims the job, lets a stage of it begin, and dies.
async fn die_at_work(fixture: &Fixture) -> Lease {
    let lease = fixture.claim().await.unwrap();
    lease.note_stage(Some("encode")).await.unwrap();
    fixture.age_leases(Class::Bulk, LEASE).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    lease
}

#[tokio::test]
async fn a_job_that_killed_two_workers_is_set_aside_as_poison() {
    let fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let id = fixture.submit(&bulk()).await;
    for alone in [false, true] {
        assert_eq!(die_at_work(&fixture).await.alone, alone);
    }
    let view = fixture.view(&id).await;
    assert_eq!(view.state, State::Failed);
    assert_eq!(view.error.unwrap().code, "worker_lost");
    let seen = events(&mut tail, 5).await;
    assert_eq!(seen[2].kind, EventKind::Requeued { reason: "lease_lost".into() });
    assert_eq!(seen[4].kind, EventKind::Failed);
    let letters = fixture.queue.dead_letters(10).await.unwrap();
    assert_eq!((letters.len(), letters[0].reason.as_str(), letters[0].job), (1, "poison", Some(id)));
    assert!(fixture.claim().await.is_none());
}

#[tokio::test]
async fn a_job_that_was_only_held_is_never_blamed() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    for attempt in 0..5 {
        let lease = fixture.claim().await.unwrap();
        assert_eq!((lease.attempt, lease.alone), (1, false));
        if attempt > 0 {
            // A stage that is over counts as none.
            lease.note_stage(Some("fetch")).await.unwrap();
            lease.note_stage(None).await.unwrap();
        }
        fixture.age_leases(Class::Bulk, LEASE).await;
        assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap().requeued, 1);
    }
    assert_eq!(fixture.view(&id).await.attempt, 0);
}

#[tokio::test]
async fn a_holder_that_comes_back_clears_its_mark() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    for _ in 0..3 {
        let lease = die_at_work(&fixture).await;
        let renewer = Renewer::start(&fixture.queue);
        let keeper = renewer.keep(&lease);
        tokio::time::timeout(Duration::from_secs(20), keeper.lost().cancelled()).await.unwrap();
        drop(keeper);
        renewer.stop().await;
    }
    let lease = fixture.claim().await.unwrap();
    assert_eq!((lease.attempt, lease.alone), (1, false));
}

#[tokio::test]
async fn a_device_that_hangs_marks_its_job_for_good() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    for state in [State::Queued, State::Failed] {
        let lease = fixture.claim().await.unwrap();
        lease.give_up_stuck().await.unwrap();
        lease.give_up_stuck().await.unwrap();
        lease.clear_mark().await.unwrap();
        assert_eq!(fixture.view(&id).await.state, state);
    }
    assert_eq!(fixture.queue.dead_letters(10).await.unwrap()[0].reason, "poison");
}

#[tokio::test]
async fn a_suspect_runs_alone() {
    let fixture = Fixture::start().await;
    let suspect = fixture.submit(&bulk()).await;
    let _ = die_at_work(&fixture).await;
    let other = fixture.submit(&bulk()).await;
    let (one, two) = (WorkerId::new(), WorkerId::new());
    let ask = async |worker: &WorkerId, alone: bool| {
        let claim = Claim { count: 2, busy: !alone, alone, ..Claim::one(worker) };
        fixture.queue.claim(&claim).await.unwrap()
    };
    // A worker with other work leaves it alone, and is kept free for it from then on; another is not.
    let claimed = ask(&one, false).await;
    assert_eq!(claimed.iter().map(|lease| lease.id).collect::<Vec<_>>(), [other]);
    let third = fixture.submit(&bulk()).await;
    assert!(ask(&one, false).await.is_empty(), "it is to hold nothing soon");
    assert_eq!(ask(&two, false).await[0].id, third);
    fixture.submit(&bulk()).await;
    let alone = ask(&one, true).await;
    assert_eq!((alone.len(), alone[0].id, alone[0].alone), (1, suspect, true));
    assert!(!ask(&one, true).await[0].alone, "one that is suspected no more is like any other");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_answered_again() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    fixture.submit(&bulk()).await;
    let asked: [&[u8]; 11] =
        [b"{uso:0}", b"worker", b"token", b"11000", b"1000", b"20", b"+inf", b"1", b"1", b"bulk", b"stages"];
    let claim = [&[&b"FCALL"[..], b"uso_1_claim", b"1"], &asked[..]].concat();
    let again = [&claim[..], &[b"again"]].concat();
    let (_, first): (u8, redis::Value) = fixture.raw_bytes(&claim).await.unwrap();
    let (_, second): (u8, redis::Value) = fixture.raw_bytes(&again).await.unwrap();
    assert_eq!(first, second);
    let running = async || {
        let stats = fixture.queue.stats().await.unwrap();
        (stats.bulk.queued, stats.bulk.running)
    };
    assert_eq!(running().await, (1, 1));
    // The first may be on its way twice: it is not carried out twice.
    let (_, third): (u8, redis::Value) = fixture.raw_bytes(&claim).await.unwrap();
    assert_eq!(first, third);
    assert_eq!(running().await, (1, 1));
}

#[tokio::test]
async fn a_claim_that_arrives_after_a_later_one_gives_nothing() {
    let fixture = Fixture::start().await;
    for _ in 0..3 {
        fixture.submit(&bulk()).await;
    }
    let claim = async |token: &[u8], words: &[&[u8]]| {
        let asked: [&[u8]; 10] =
            [b"{uso:0}", b"worker", token, b"11000", b"1000", b"20", b"+inf", b"1", b"1", b"bulk"];
        let call = [&[&b"FCALL"[..], b"uso_1_claim", b"1"], &asked[..], words].concat();
        let answer: Vec<redis::Value> = fixture.raw_bytes(&call).await.unwrap();
        answer.len() - 1
    };
    assert_eq!(claim(b"later", &[b"order:8"]).await, 1);
    assert_eq!(claim(b"earlier", &[b"order:7"]).await, 0);
    assert_eq!(claim(b"newest", &[b"order:9"]).await, 1);
    // One that found nothing before, and was asked again, is done with too.
    assert_eq!(claim(b"last", &[b"order:10", b"again"]).await, 1);
    assert_eq!(claim(b"empty", &[b"order:11", b"again"]).await, 0);
    fixture.submit(&bulk()).await;
    assert_eq!(claim(b"empty", &[b"order:11"]).await, 0);
    assert_eq!(claim(b"next", &[b"order:12"]).await, 1);
}

#[tokio::test]
async fn whoever_gets_a_job_next_gets_its_newest_checkpoint() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let first = fixture.claim().await.unwrap();
    assert_eq!(first.checkpoint, None);
    first.record_checkpoint(&checkpoint(5)).await.unwrap();
    first.record_checkpoint(&checkpoint(10)).await.unwrap();
    fixture.age_leases(Class::Bulk, LEASE).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    let second = fixture.claim().await.unwrap();
    assert_eq!(second.checkpoint, Some(checkpoint(10)));
    assert!(matches!(first.record_checkpoint(&checkpoint(15)).await, Err(Error::LostLease { .. })));
    assert_eq!(fixture.view(&second.id).await.checkpoint, Some(checkpoint(10)));
    second.release().await.unwrap();
    let third = fixture.claim().await.unwrap();
    assert_eq!(third.checkpoint, Some(checkpoint(10)), "a hand-back keeps it");
    let long = Checkpoint { key: "k".repeat(MAX_CHECKPOINT), ..checkpoint(20) };
    assert!(third.record_checkpoint(&long).await.is_err());
}

#[tokio::test]
async fn a_young_lease_is_left_alone() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    fixture.age_leases(Class::Bulk, LEASE - Duration::from_secs(3)).await;
    assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap(), Default::default());
    lease.complete(&output("a")).await.unwrap();
}

#[tokio::test]
async fn only_one_process_reaps() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let _ = fixture.claim().await.unwrap();
    fixture.queue.reap(&fixture.worker).await.unwrap();
    fixture.age_leases(Class::Bulk, LEASE).await;
    assert_eq!(fixture.queue.reap(&WorkerId::new()).await.unwrap().requeued, 0);
    assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap().requeued, 1);
}

#[tokio::test]
async fn after_an_outage_leases_get_their_time_again_and_nobody_is_blamed() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    fixture.claim().await.unwrap().note_stage(Some("sample")).await.unwrap();
    fixture.queue.reap(&fixture.worker).await.unwrap();
    fixture.age_leases(Class::Bulk, LEASE).await;

    // Nothing was heard for longer than a third of a lease; then a lease's time passes in small steps.
    for ahead in [4, 7, 10, 13] {
        fixture.set_clock(Duration::from_secs(ahead)).await;
        assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap().requeued, 0, "{ahead} s ahead");
    }
    fixture.set_clock(Duration::from_secs(15)).await;
    // The offset moves the library's clock but not the idle time that Redis keeps.
    fixture.age_leases(Class::Bulk, LEASE + Duration::from_secs(15)).await;
    assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap().requeued, 1);
    assert_eq!(fixture.view(&id).await.attempt, 0, "no attempt was spent");
    assert!(!fixture.claim().await.unwrap().alone, "it is to blame for nothing");
}

#[tokio::test]
async fn the_newest_preview_is_there_for_a_while_and_an_event_says_so() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let lease = fixture.claim().await.unwrap();
    assert_eq!(fixture.queue.preview(&id).await.unwrap(), None);
    lease.record_preview(b"first").await.unwrap();
    lease.record_preview(b"second").await.unwrap();
    assert_eq!(fixture.queue.preview(&id).await.unwrap().as_deref(), Some(&b"second"[..]));
    let kinds: Vec<EventKind> = events(&mut tail, 3).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Started, EventKind::Preview, EventKind::Preview]);
    let key = [b"{uso:0}:preview:", &bytes(&id)[..]].concat();
    assert!(fixture.raw_bytes::<i64>(&[b"PTTL", &key]).await.unwrap() > 0);
    assert!(lease.record_preview(&vec![0; MAX_PREVIEW + 1]).await.is_err());

    fixture.queue.cancel(&id).await.unwrap();
    assert!(matches!(lease.record_preview(b"late").await, Err(Error::LostLease { .. })));
    assert_eq!(fixture.queue.preview(&id).await.unwrap().as_deref(), Some(&b"second"[..]));
}

#[tokio::test]
async fn a_silent_consumer_is_forgotten_only_when_it_holds_nothing() {
    let fixture = Fixture::start().await;
    let (holds, held) = (WorkerId::new(), WorkerId::new());
    for _ in 0..2 {
        fixture.submit(&bulk()).await;
    }
    let _ = fixture.claim_as(&holds).await.unwrap();
    fixture.claim_as(&held).await.unwrap().complete(&output("a")).await.unwrap();
    // A consumer's silence is Redis' own time, which nothing moves: the test's library waits for less.
    fixture.edit_library("CONSUMER_LIFE_MS = 3600 * 1000", "CONSUMER_LIFE_MS = -1").await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    let consumers: Vec<HashMap<String, redis::Value>> =
        fixture.raw(&["XINFO", "CONSUMERS", "{uso:0}:ready:bulk", "workers"]).await.unwrap();
    let names: Vec<String> = consumers
        .into_iter()
        .map(|mut c| redis::from_redis_value(c.remove("name").unwrap()).unwrap())
        .collect();
    assert_eq!(names, [holds.as_str()]);
}

#[tokio::test]
async fn after_a_restart_of_the_server_leases_get_their_time_again() {
    let mut fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    fixture.queue.reap(&fixture.worker).await.unwrap();
    fixture.redis.kill().await.unwrap();
    fixture.redis.restart().await.unwrap();
    fixture.reconnected().await;
    fixture.age_leases(Class::Bulk, LEASE).await;
    assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap(), Default::default());
    lease.complete(&output("a")).await.unwrap();
    assert_eq!(fixture.view(&id).await.state, State::Succeeded);
}
