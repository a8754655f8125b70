//! Whether an idle worker would take a job that another one holds.

use std::time::Duration;

use uso_queue::{Claim, Class, Config, Lease, Queue, Renewer, Scope, Window, WorkerId};

use crate::fixture::{Fixture, bulk, config, spec};
use crate::loras::with;

const RENEW: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(20);

async fn queue(fixture: &Fixture, shards: u16) -> Queue {
    Queue::connect(Config { renew: RENEW, shards, ..config(&fixture.redis) }).await.unwrap()
}

/// Waits until a keeper knows that its job is wanted, or that it is not.
async fn becomes(wanted: &mut tokio::sync::watch::Receiver<bool>, expected: bool) {
    let known = wanted.wait_for(|wanted| *wanted == expected);
    tokio::time::timeout(PATIENCE, known).await.expect("it does not come to be known").unwrap();
}

/// What a renewal says, given time for some.
async fn says(queue: &Queue, lease: &Lease) -> bool {
    let renewer = Renewer::start(queue);
    let keeper = renewer.keep(lease);
    let mut wanted = keeper.wanted_elsewhere();
    let heard = tokio::time::timeout(10 * RENEW, wanted.wait_for(|wanted| *wanted)).await.is_ok();
    renewer.stop().await;
    heard
}

/// Has a worker without work claim, as each does every second.
async fn be_idle(queue: &Queue) {
    assert!(queue.claim_one(&WorkerId::new()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_bulk_job_is_wanted_elsewhere_while_a_worker_is_idle() {
    let fixture = Fixture::start().await;
    let queue = queue(&fixture, 1).await;
    fixture.submit(&bulk()).await;
    let held = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    fixture.submit(&spec(Class::Interactive, 0)).await;
    let urgent = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    assert!(!says(&queue, &held).await, "nobody is idle");

    let renewer = Renewer::start(&queue);
    let keeper = renewer.keep(&held);
    let mut wanted = keeper.wanted_elsewhere();
    let idle = WorkerId::new();
    assert!(queue.claim_one(&idle).await.unwrap().is_none());
    becomes(&mut wanted, true).await;
    assert!(!says(&queue, &urgent).await, "interactive work is begun at once");
    // The idle worker finds something else.
    let other = fixture.submit(&bulk()).await;
    assert_eq!(queue.claim_one(&idle).await.unwrap().unwrap().id, other);
    becomes(&mut wanted, false).await;
    renewer.stop().await;
}

#[tokio::test]
async fn a_job_that_nobody_could_claim_is_not_wanted_elsewhere() {
    let fixture = Fixture::start().await;
    let queue = queue(&fixture, 1).await;
    fixture.submit(&bulk()).await;
    let lease = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    be_idle(&queue).await;
    assert!(says(&queue, &lease).await);
    for scope in [Scope::Class(Class::Bulk), Scope::Tenant("tenant")] {
        queue.set_paused(scope, true).await.unwrap();
        be_idle(&queue).await;
        assert!(!says(&queue, &lease).await, "{scope:?} is paused");
        queue.set_paused(scope, false).await.unwrap();
    }
    let time = |hours: i64| {
        jiff::tz::TimeZone::UTC
            .to_datetime(jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours))
            .time()
    };
    let later = Window { opens: time(2), closes: time(3), zone: "UTC".into(), fill: false };
    queue.set_window(Some(&later)).await.unwrap();
    be_idle(&queue).await;
    assert!(!says(&queue, &lease).await, "bulk work is over for now");
}

#[tokio::test]
async fn a_job_whose_loras_an_idle_worker_may_lack_is_not_wanted_elsewhere() {
    let fixture = Fixture::start().await;
    let queue = queue(&fixture, 1).await;
    fixture.submit(&with(&["ink"])).await;
    let loras = ["ink".to_owned()];
    let claim = Claim { loras: &loras, ..Claim::one(&fixture.worker) };
    let lease = queue.claim(&claim).await.unwrap().pop().unwrap();
    be_idle(&queue).await;
    assert!(!says(&queue, &lease).await, "it would come back to the same worker");
}

#[tokio::test]
async fn a_worker_is_idle_for_the_jobs_of_all_shards() {
    let fixture = Fixture::start().await;
    fixture.raw::<redis::Value>(&["FLUSHALL"]).await.unwrap();
    let queue = queue(&fixture, 4).await;
    let mut leases = Vec::new();
    for tenant in 0..8 {
        queue.submit(&format!("tenant-{tenant}"), &bulk()).await.unwrap();
        leases.push(queue.claim_one(&fixture.worker).await.unwrap().unwrap());
    }
    let mut shards: Vec<_> = leases.iter().map(|lease| lease.id.shard()).collect();
    shards.sort();
    shards.dedup();
    assert!(shards.len() > 1, "all tenants are in one shard");
    be_idle(&queue).await;
    let renewer = Renewer::start(&queue);
    let keepers: Vec<_> = leases.iter().map(|lease| renewer.keep(lease)).collect();
    for keeper in keepers {
        becomes(&mut keeper.wanted_elsewhere(), true).await;
    }
    renewer.stop().await;
}
