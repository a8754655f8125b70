//! Who holds a job, and what a process that lost it can still do: nothing.

use std::time::Duration;

use uso_queue::{Class, Config, Error, EventKind, Failure, Queue, State, WorkerId};

use crate::fixture::{Fixture, bulk, events, output};

const LEASE: Duration = Duration::from_secs(10);

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
    assert_eq!((&current.id, current.attempt), (&id, 2));

    let lost =
        |answer: Result<(), Error>| assert!(matches!(answer, Err(Error::LostLease { .. })), "{answer:?}");
    lost(late.progress(5, 10).await);
    lost(late.complete(&output("late")).await);
    let failure = Failure { code: "x".into(), message: "x".into(), retryable: false };
    lost(late.fail(&failure).await);
    lost(late.release().await);

    current.complete(&output("current")).await.unwrap();
    lost(late.complete(&output("late")).await);
    let view = fixture.queue.view(&id).await.unwrap().unwrap();
    assert_eq!((view.state, view.output), (State::Succeeded, Some(output("current"))));
}

#[tokio::test]
async fn the_right_fence_with_another_token_is_refused() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    let fence = lease.fence.to_string();
    let call = ["FCALL", "uso_1_complete", "1", "{uso:0}", &id.to_string(), &fence, "forged", "1000", "{}"];
    assert_eq!(fixture.raw::<u64>(&call).await.unwrap(), 0);
    assert_eq!(fixture.queue.view(&id).await.unwrap().unwrap().state, State::Running);
}

#[tokio::test]
async fn renewing_makes_a_lease_young_again() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let config = Config { renew: Duration::from_millis(50), ..Config::new(fixture.redis.url()) };
    let queue = Queue::connect(config).await.unwrap();
    let lease = queue.claim(&fixture.worker, &Class::ALL).await.unwrap().unwrap();
    fixture.age_leases(Class::Bulk, LEASE).await;
    let keeper = lease.keep();
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
    keeper.stop().await;
    assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap().requeued, 0);
    lease.complete(&output("a")).await.unwrap();
}

#[tokio::test]
async fn a_keeper_notices_that_its_lease_is_lost() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let config = Config { renew: Duration::from_millis(50), ..Config::new(fixture.redis.url()) };
    let queue = Queue::connect(config).await.unwrap();
    let lease = queue.claim(&fixture.worker, &Class::ALL).await.unwrap().unwrap();
    lease.release().await.unwrap();
    let keeper = lease.keep();
    tokio::time::timeout(Duration::from_secs(20), keeper.lost().cancelled()).await.unwrap();
    keeper.stop().await;
}

#[tokio::test]
async fn a_job_whose_workers_die_three_times_has_failed() {
    let fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(None).await.unwrap();
    let id = fixture.submit(&bulk()).await;
    for _ in 0..3 {
        let _ = fixture.claim().await.unwrap();
        fixture.age_leases(Class::Bulk, LEASE).await;
        fixture.queue.reap(&fixture.worker).await.unwrap();
    }
    let view = fixture.queue.view(&id).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempt), (State::Failed, 3));
    assert_eq!(view.error.unwrap().code, "lease_lost");
    let seen = events(&mut tail, 7).await;
    assert_eq!(seen[2].kind, EventKind::Requeued { reason: "lease_lost".into() });
    assert_eq!(seen[6].kind, EventKind::Failed);
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
    let _ = fixture.claim().await.unwrap();
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
    assert_eq!(fixture.queue.view(&id).await.unwrap().unwrap().attempt, 0, "no attempt was spent");
}
