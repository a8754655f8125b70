//! A primary dies, and sentinels put a replica in its place.

use std::time::{Duration, Instant};

use uso_queue::{Config, Error, JobId, JobSpec, Queue, State, Submission, WorkerId};

use crate::fixture::{bulk, events, output};
use crate::server::{Server, confirmed, until};

const PASSWORD: &str = "of-the-servers";
const SENTINELS_PASSWORD: &str = "of-the-sentinels";

/// One primary, some replicas, and a sentinel; everything has a password.
struct Watched {
    primary: Server,
    replicas: Vec<Server>,
    sentinel: Server,
}

impl Watched {
    async fn start(replicas: usize) -> Self {
        let primary = Server::start_with(PASSWORD, &[]).await;
        let follow = format!("replicaof 127.0.0.1 {}", primary.port);
        let mut followers = Vec::new();
        for _ in 0..replicas {
            followers.push(Server::start_with(PASSWORD, &[&follow]).await);
        }
        let lines = [
            format!("sentinel monitor main 127.0.0.1 {} 1", primary.port),
            format!("sentinel auth-pass main {PASSWORD}"),
            "sentinel down-after-milliseconds main 400".into(),
            "sentinel failover-timeout main 2000".into(),
        ];
        until("all replicas", async || {
            let ready: usize = primary.ask(&format!("WAIT {replicas} 100")).await.ok()?;
            (ready == replicas).then_some(())
        })
        .await;
        let sentinel = Server::sentinel(SENTINELS_PASSWORD, &lines).await;
        until("a sentinel that knows the replicas", async || {
            let known: Vec<redis::Value> = sentinel.ask("SENTINEL REPLICAS main").await.ok()?;
            (known.len() == replicas).then_some(())
        })
        .await;
        Self { primary, replicas: followers, sentinel }
    }

    fn config(&self) -> Config {
        let sentinel = self.sentinel.address();
        let url = format!(
            "redis+sentinel://:{PASSWORD}@127.0.0.1:1,{sentinel}/main?sentinel_password={SENTINELS_PASSWORD}"
        );
        Config { timeout: Duration::from_secs(2), ..Config::new(url) }
    }
}

async fn keyed(queue: &Queue, spec: &JobSpec, key: &str) -> Result<JobId, Error> {
    Ok(queue.submit("tenant", Submission { key: Some(key), ..spec.into() }).await?.id)
}

#[tokio::test]
async fn nothing_that_was_waited_for_is_lost_with_the_primary() {
    let mut watched = Watched::start(2).await;
    let queue = Queue::connect(Config { replicas: 1, ..watched.config() }).await.unwrap();
    queue.migrate().await.unwrap();
    confirmed(&queue).await;
    let mut tail = queue.tail(0, None).await.unwrap();
    let spec = bulk();
    let mut jobs = Vec::new();
    for i in 0..20 {
        jobs.push(keyed(&queue, &spec, &i.to_string()).await.unwrap());
    }
    let worker = WorkerId::new();
    let lease = queue.claim_one(&worker).await.unwrap().unwrap();
    // What is confirmed now covers the claim as well.
    jobs.push(keyed(&queue, &spec, "last").await.unwrap());
    events(&mut tail, jobs.len() + 1).await;

    watched.primary.kill().await;
    let mut refusals = 0;
    let after = until("a new primary", async || {
        let began = Instant::now();
        let answer = keyed(&queue, &spec, "after").await;
        if let Err(error) = &answer {
            assert!(error.retryable(), "{error}");
            assert!(began.elapsed() < Duration::from_secs(3), "a producer fails fast");
            refusals += 1;
        }
        answer.ok()
    })
    .await;
    assert!(refusals > 0);
    for id in &jobs {
        assert!(queue.view(id).await.unwrap().is_some(), "{id} is lost");
    }
    // The lease went along, and so did the place in the stream of events.
    lease.renew().await.unwrap();
    lease.complete(&output("a")).await.unwrap();
    let mut tail = queue.tail(0, Some(tail.position())).await.unwrap();
    let seen = events(&mut tail, 2).await;
    assert_eq!(seen.iter().map(|event| event.job).collect::<Vec<_>>(), [after, lease.id]);
    assert_eq!(queue.audit().await.unwrap().faults, []);

    let mut wakeups = queue.wakeups();
    let waits = tokio::spawn(async move {
        let began = Instant::now();
        wakeups.wait(Duration::from_secs(8)).await;
        began.elapsed()
    });
    queue.submit("tenant", &bulk()).await.unwrap();
    assert!(waits.await.unwrap() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_claim_that_the_new_primary_never_heard_of_counts_no_more() {
    let mut watched = Watched::start(1).await;
    let queue = Queue::connect(watched.config()).await.unwrap();
    queue.migrate().await.unwrap();
    let job = queue.submit("tenant", &bulk()).await.unwrap().id;
    until("a replica that has the job", async || {
        let kept: u32 = watched.primary.ask("WAIT 1 100").await.ok()?;
        let known: Vec<String> = watched.replicas[0].ask("KEYS {uso:0}:backlog:*").await.ok()?;
        (kept == 1 && !known.is_empty()).then_some(())
    })
    .await;
    // Cut off first: what is on its way to a frozen server it reads once it goes on.
    watched.replicas[0].freeze(true).await;
    watched.primary.ask::<u32>("CLIENT KILL TYPE replica").await.unwrap();
    let worker = WorkerId::new();
    let lost = queue.claim_one(&worker).await.unwrap().unwrap();
    watched.primary.kill().await;
    watched.replicas[0].freeze(false).await;

    let other = WorkerId::new();
    let lease = until("a new primary", async || queue.claim_one(&other).await.ok().flatten()).await;
    assert_eq!((lease.id, lease.fence), (job, lost.fence), "even the fence is the same");
    assert!(matches!(lost.progress(1, 2).await, Err(Error::LostLease { .. })));
    assert!(matches!(lost.complete(&output("lost")).await, Err(Error::LostLease { .. })));
    lease.complete(&output("kept")).await.unwrap();
    let view = queue.view(&job).await.unwrap().unwrap();
    assert_eq!((view.state, view.output), (State::Succeeded, Some(output("kept"))));
}

#[tokio::test]
async fn a_planned_fail_over_is_followed() {
    let watched = Watched::start(1).await;
    let queue = Queue::connect(watched.config()).await.unwrap();
    queue.migrate().await.unwrap();
    let job = queue.submit("tenant", &bulk()).await.unwrap().id;
    until("the same data", async || (watched.primary.ask::<u32>("WAIT 1 100").await == Ok(1)).then_some(()))
        .await;
    // It refuses until it has checked the replica.
    until("a fail-over", async || watched.sentinel.ask::<()>("SENTINEL FAILOVER main").await.ok()).await;
    until("a new primary", async || {
        (watched.replicas[0].line("INFO replication", "role").await? == "master").then_some(())
    })
    .await;
    let other = until("an accepted job", async || queue.submit("tenant", &bulk()).await.ok()).await.id;
    let worker = WorkerId::new();
    let lease = until("a claim", async || queue.claim_one(&worker).await.ok().flatten()).await;
    assert_eq!(lease.id, job);
    lease.complete(&output("a")).await.unwrap();
    assert!(queue.view(&other).await.unwrap().is_some());
}

#[tokio::test]
async fn a_service_that_no_sentinel_knows_is_named() {
    let watched = Watched::start(0).await;
    let config = watched.config();
    let url = config.url.replace("/main", "/other");
    let Err(error) = Queue::connect(Config { url, ..config.clone() }).await else { panic!("it was found") };
    let text = format!("{error} {error:?} {config:?}");
    assert!(matches!(error, Error::Unreachable(_)) && text.contains("other"), "{text}");
    assert!(!text.contains(PASSWORD) && !text.contains(SENTINELS_PASSWORD), "{text}");

    let url = config.url.replace(SENTINELS_PASSWORD, "wrong-one");
    let Err(error) = Queue::connect(Config { url, ..config }).await else { panic!("it was let in") };
    assert!(!format!("{error} {error:?}").contains("wrong-one"), "{error}");
}
