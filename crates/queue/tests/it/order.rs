//! Who is served next, and who is woken.

use std::time::{Duration, Instant};

use uso_queue::{Claim, Class, WorkerId};

use crate::fixture::{Fixture, bulk, output, spec};

#[tokio::test]
async fn interactive_work_goes_before_bulk_then_priority_then_age() {
    let fixture = Fixture::start().await;
    let mut expected = Vec::new();
    let late_bulk = fixture.submit(&spec(Class::Bulk, 0)).await;
    let urgent_bulk = fixture.submit(&spec(Class::Bulk, 100)).await;
    let first = fixture.submit(&spec(Class::Interactive, 0)).await;
    let second = fixture.submit(&spec(Class::Interactive, 0)).await;
    let low = fixture.submit(&spec(Class::Interactive, -100)).await;
    let high = fixture.submit(&spec(Class::Interactive, 1)).await;
    expected.extend([high, first, second, low, urgent_bulk, late_bulk]);
    let mut served = Vec::new();
    while let Some(lease) = fixture.claim().await {
        served.push(lease.id);
        lease.complete(&output("a")).await.unwrap();
    }
    assert_eq!(served, expected);
}

#[tokio::test]
async fn a_job_that_comes_back_keeps_its_age() {
    let fixture = Fixture::start().await;
    let first = fixture.submit(&bulk()).await;
    let second = fixture.submit(&bulk()).await;
    fixture.claim().await.unwrap().release().await.unwrap();
    assert_eq!(fixture.claim().await.unwrap().id, first);
    assert_eq!(fixture.claim().await.unwrap().id, second);
}

#[tokio::test]
async fn tenants_take_turns() {
    let fixture = Fixture::start().await;
    for tenant in ["a", "a", "a", "a", "b", "b", "c"] {
        fixture.queue.submit(tenant, &bulk()).await.unwrap();
    }
    let mut served = Vec::new();
    while let Some(lease) = fixture.claim().await {
        served.push(lease.tenant.clone());
    }
    assert_eq!(served, ["a", "b", "c", "a", "b", "a", "a"]);
}

#[tokio::test]
async fn a_worker_sees_only_the_classes_it_asks_for() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let claim =
        fixture.queue.claim(&Claim { classes: &[Class::Interactive], ..Claim::one(&fixture.worker) }).await;
    assert!(claim.unwrap().is_empty());
    assert!(fixture.claim().await.is_some());
}

#[tokio::test]
async fn the_stream_holds_no_more_than_is_being_worked_on() {
    let fixture = Fixture::start().await;
    for _ in 0..500 {
        fixture.submit(&bulk()).await;
    }
    let _ = fixture.claim().await.unwrap();
    let _ = fixture.claim().await.unwrap();
    assert_eq!(fixture.raw::<u64>(&["XLEN", "{uso:0}:ready:bulk"]).await.unwrap(), 2);
    let stats = fixture.queue.stats().await.unwrap();
    assert_eq!((stats.interactive.queued, stats.bulk.queued, stats.bulk.running), (0, 498, 2));
}

#[tokio::test]
async fn one_submission_wakes_one_idle_worker() {
    let fixture = Fixture::start().await;
    let longest = Duration::from_secs(4);
    let wait = |queue: uso_queue::Queue| async move {
        let start = Instant::now();
        queue.wakeups().wait(longest).await;
        start.elapsed()
    };
    let (one, two) = (tokio::spawn(wait(fixture.queue.clone())), tokio::spawn(wait(fixture.another().await)));
    let both_wait = async {
        while !fixture.raw::<String>(&["CLIENT", "LIST"]).await.unwrap().matches("cmd=blpop").count().eq(&2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(longest, both_wait).await.unwrap();
    fixture.submit(&bulk()).await;
    let mut waited = [one.await.unwrap(), two.await.unwrap()];
    waited.sort();
    assert!(waited[0] < longest && waited[1] >= longest, "{waited:?}");
}

#[tokio::test]
async fn two_workers_never_get_the_same_job() {
    let fixture = Fixture::start().await;
    for _ in 0..200 {
        fixture.submit(&bulk()).await;
    }
    let drain = |queue: uso_queue::Queue| async move {
        let worker = WorkerId::new();
        let mut ids = Vec::new();
        while let Some(lease) = queue.claim_one(&worker).await.unwrap() {
            ids.push(lease.id);
            lease.complete(&output("a")).await.unwrap();
        }
        ids
    };
    let (one, two) = tokio::join!(drain(fixture.queue.clone()), drain(fixture.another().await));
    let mut all = [one, two].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 200);
}

/// Tokens that lie in a list of wake-ups.
async fn tokens(fixture: &Fixture, list: &str) -> u64 {
    fixture.raw(&["LLEN", &format!("{{uso:0}}:{list}")]).await.unwrap()
}

#[tokio::test]
async fn interactive_work_wakes_a_busy_worker_when_none_is_idle() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    let _ = fixture.claim().await.unwrap();
    let mut wakeups = fixture.queue.urgent_wakeups();
    let waiting = tokio::spawn(async move {
        let start = Instant::now();
        wakeups.wait(Duration::from_secs(20)).await;
        start.elapsed()
    });
    fixture.submit(&bulk()).await;
    assert_eq!((tokens(&fixture, "wake").await, tokens(&fixture, "urgent").await), (2, 0), "bulk can wait");
    fixture.submit(&spec(Class::Interactive, 0)).await;
    assert!(waiting.await.unwrap() < Duration::from_secs(20));
    assert_eq!(tokens(&fixture, "wake").await, 2, "nobody idle was to be woken");
}

#[tokio::test]
async fn interactive_work_leaves_busy_workers_alone_while_one_is_idle() {
    let fixture = Fixture::start().await;
    let idle = WorkerId::new();
    assert!(fixture.claim_as(&idle).await.is_none());
    fixture.submit(&spec(Class::Interactive, 0)).await;
    assert_eq!((tokens(&fixture, "wake").await, tokens(&fixture, "urgent").await), (1, 0));

    // It takes the job: now nobody is idle.
    let _ = fixture.claim_as(&idle).await.unwrap();
    fixture.submit(&spec(Class::Interactive, 0)).await;
    assert_eq!((tokens(&fixture, "wake").await, tokens(&fixture, "urgent").await), (1, 1));

    // One that has other work and finds nothing more is not idle, nor is one that was last seen long ago.
    let _ = fixture.claim_as(&WorkerId::new()).await.unwrap();
    let busy = Claim { busy: true, ..Claim::one(&idle) };
    assert!(fixture.queue.claim(&busy).await.unwrap().is_empty());
    assert!(fixture.claim_as(&WorkerId::new()).await.is_none());
    fixture.set_clock(Duration::from_secs(3)).await;
    fixture.submit(&spec(Class::Interactive, 0)).await;
    assert_eq!((tokens(&fixture, "wake").await, tokens(&fixture, "urgent").await), (1, 2));
}
