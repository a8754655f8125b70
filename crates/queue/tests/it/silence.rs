//! A link to Redis that is silent for a while: its connections hold what they were given, and new ones are taken and
//! say nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uso_queue::{Config, Lease, Queue, Renewer, State, WorkerId};

use crate::fixture::{Fixture, bulk, config, output};

/// A way to Redis that can be made silent.
struct Link {
    silent: watch::Sender<bool>,
    url: String,
    _task: JoinSet<()>,
}

impl Link {
    async fn to(fixture: &Fixture) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = fixture.redis.url().trim_start_matches("redis://").trim_end_matches('/').to_owned();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (silent, heard) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&target).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                carried.spawn(carry(near_in, far_out, heard.clone()));
                carried.spawn(carry(far_in, near_out, heard.clone()));
            }
        });
        Self { silent, url, _task: task }
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut silent: watch::Receiver<bool>,
) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A worker that holds a job over a link of its own.
async fn holder(fixture: &Fixture) -> (Link, Renewer, Lease) {
    let link = Link::to(fixture).await;
    let queue = Queue::connect(Config { url: link.url.clone(), ..config(&fixture.redis) }).await.unwrap();
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
        link.silent.send_replace(true);
        tokio::time::sleep(SILENCE).await;
        link.silent.send_replace(false);
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
async fn a_link_that_is_silent_for_long_moves_the_job_and_blames_nobody_in_the_end() {
    let fixture = Fixture::start().await;
    let (link, renewer, lease) = holder(&fixture).await;
    let keeper = renewer.keep(&lease);
    link.silent.send_replace(true);
    let moved = async {
        loop {
            if let Some(other) = fixture.claim().await {
                return other;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let other = reap_meanwhile(&fixture, moved).await;
    assert_eq!(
        (other.id, other.attempt, other.alone),
        (lease.id, 1, true),
        "it may be why its worker was lost"
    );
    link.silent.send_replace(false);
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
