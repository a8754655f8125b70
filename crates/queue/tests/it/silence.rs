//! A link to Redis that is silent for a while.

use std::time::Duration;

use uso_queue::{Config, Error, Lease, Queue, Renewer, State, WorkerId};

use crate::fixture::{Fixture, bulk, config, output};
use crate::link::Link;

/// A worker that holds a job over a link of its own.
async fn holder(fixture: &Fixture) -> (Link, Renewer, Lease) {
    let link = Link::to(&fixture.redis.url()).await;
    let queue =
        Queue::connect(Config { url: link.url().to_owned(), ..config(&fixture.redis) }).await.unwrap();
    fixture.submit(&bulk()).await;
    let lease = queue.claim_one(&WorkerId::new()).await.unwrap().unwrap();
    lease.note_stage(Some("sample")).await.unwrap();
    (link, Renewer::start(&queue), lease)
}

/// Reaps as another worker does, until `over`.
async fn reap_meanwhile<T>(fixture: &Fixture, over: impl Future<Output = T>) -> T {
    let reap = async {
        loop {
            fixture.queue.reap(&fixture.worker).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        over = over => over,
        () = reap => unreachable!("it never ends"),
    }
}

#[tokio::test]
async fn a_silent_link_costs_no_lease() {
    const HOLDERS: u64 = 8;
    /// Less than a lease may bear, because a loaded machine needs time as well.
    const SILENCE: Duration = Duration::from_secs(8);
    let fixture = Fixture::start().await;
    let mut holders = Vec::new();
    for _ in 0..HOLDERS {
        holders.push(holder(&fixture).await);
    }
    let held: Vec<_> = holders.iter().map(|(_, renewer, lease)| renewer.keep(lease)).collect();
    // At another moment of its beat for each.
    let silences = holders.iter().zip(0..).map(|((link, ..), i)| async move {
        tokio::time::sleep(Duration::from_millis(1000 + 1000 / HOLDERS * i)).await;
        link.silence(true);
        tokio::time::sleep(SILENCE).await;
        link.silence(false);
        tokio::time::sleep(Duration::from_millis(500)).await;
    });
    reap_meanwhile(&fixture, futures(silences)).await;
    for (keeper, (_, _, lease)) in held.iter().zip(&holders) {
        assert!(!keeper.lost().is_cancelled());
        lease.complete(&output("a")).await.unwrap();
        let view = fixture.view(&lease.id).await;
        assert_eq!((view.state, view.attempt), (State::Succeeded, 1));
    }
}

#[tokio::test]
async fn a_claim_that_is_carried_out_late_is_answered_to_the_next() {
    let fixture = Fixture::start().await;
    let link = Link::to(&fixture.redis.url()).await;
    let timeout = Duration::from_millis(300);
    let config = Config { url: link.url().to_owned(), timeout, ..config(&fixture.redis) };
    let (queue, worker) = (Queue::connect(config).await.unwrap(), WorkerId::new());
    assert!(queue.claim_one(&worker).await.unwrap().is_none());
    let job = fixture.submit(&bulk()).await;
    link.silence(true);
    assert!(matches!(queue.claim_one(&worker).await, Err(Error::Unreachable(_))));
    link.silence(false);
    let late = async {
        while fixture.view(&job).await.state != State::Running {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), late).await.expect("the link has lost it");
    let lease = queue.claim_one(&worker).await.unwrap().expect("nobody knows of its lease");
    assert_eq!((lease.id, lease.attempt), (job, 1));
    lease.complete(&output("a")).await.unwrap();
    assert_eq!(fixture.view(&job).await.state, State::Succeeded);
}

#[tokio::test]
async fn a_link_that_is_silent_for_long_moves_the_job_and_blames_nobody_in_the_end() {
    let fixture = Fixture::start().await;
    let (link, renewer, lease) = holder(&fixture).await;
    let keeper = renewer.keep(&lease);
    link.silence(true);
    let moved = async {
        loop {
            if let Some(other) = fixture.claim().await {
                return other;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let moved = tokio::time::timeout(Duration::from_secs(60), moved);
    let other = reap_meanwhile(&fixture, moved).await.expect("the job is not moved");
    assert_eq!(
        (other.id, other.attempt, other.alone),
        (lease.id, 1, true),
        "it may be why its worker was lost"
    );
    link.silence(false);
    tokio::time::timeout(Duration::from_secs(30), keeper.lost().cancelled()).await.unwrap();
    drop(keeper);
    renewer.stop().await;
    other.release().await.unwrap();
    assert!(!fixture.claim().await.unwrap().alone, "its worker came back");
}

/// Runs them all at once.
async fn futures<F: Future<Output = ()>>(all: impl Iterator<Item = F>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
