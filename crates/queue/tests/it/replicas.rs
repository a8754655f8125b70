//! Work is accepted only once replicas have it.

use std::time::{Duration, Instant};

use uso_queue::{BatchOperation, Config, Durability, Error, JobSpec, Queue, Submission, Submitted, WorkerId};

use crate::fixture::{bulk, failure};
use crate::server::{Server, confirmed, until};

struct Pair {
    primary: Server,
    replica: Server,
    queue: Queue,
}

impl Pair {
    async fn start() -> Self {
        let primary = Server::start(&[]).await;
        let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", primary.port)]).await;
        until("a replica", async || (primary.ask::<u32>("WAIT 1 100").await == Ok(1)).then_some(())).await;
        let timeout = Duration::from_millis(800);
        let queue =
            Queue::connect(Config { replicas: 1, timeout, ..Config::new(primary.url()) }).await.unwrap();
        queue.migrate().await.unwrap();
        confirmed(&queue).await;
        Self { primary, replica, queue }
    }
}

async fn submit(queue: &Queue, spec: &JobSpec, key: &str) -> Result<Submitted, Error> {
    queue.submit("tenant", Submission { key: Some(key), ..spec.into() }).await
}

fn is_not_durable<T>(answer: Result<T, Error>) {
    match answer {
        Err(error @ Error::NotDurable { confirmed: 0, wanted: 1 }) => assert!(error.retryable()),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was promised"),
    }
}

#[tokio::test]
async fn nothing_is_promised_before_a_replica_has_it() {
    let pair = Pair::start().await;
    let (queue, spec) = (&pair.queue, bulk());
    assert_eq!(queue.durability(), Durability::Replicas(1));
    assert!(queue.durability().to_string().starts_with("replica:1"));
    let before = submit(queue, &spec, "before").await.unwrap().id;
    let batch = queue.new_batch("tenant").unwrap();
    queue.submit("tenant", Submission { batch: Some(batch), ..(&spec).into() }).await.unwrap();
    let worker = WorkerId::new();
    let lease = queue.claim_one(&worker).await.unwrap().unwrap();
    assert_eq!(lease.id, before);
    lease.fail(&failure(false)).await.unwrap();

    pair.replica.freeze(true).await;
    is_not_durable(submit(queue, &spec, "k").await);
    // This one writes nothing, over a connection that has not: it must not be taken for confirmed.
    is_not_durable(submit(&Queue::connect(queue.config().clone()).await.unwrap(), &spec, "k").await);
    is_not_durable(queue.retry(&before).await);
    is_not_durable(queue.cancel(&before).await);
    is_not_durable(queue.control_batch(&batch, BatchOperation::Pause).await);
    assert_eq!(queue.stats().await.unwrap().bulk.queued, 3, "k, the batch's and the repeated one");

    pair.replica.freeze(false).await;
    let repeated = until("a confirmation", async || submit(queue, &spec, "k").await.ok()).await;
    assert!(!repeated.fresh, "the same job as at first");
    assert!(queue.control_batch(&batch, BatchOperation::Pause).await.unwrap());
    assert!(queue.view(&repeated.id).await.unwrap().is_some());
    let replicated: Vec<String> = pair.replica.ask("KEYS {uso:0}:key:tenant:*").await.unwrap();
    assert_eq!(replicated.len(), 2);
}

#[tokio::test]
async fn whoever_waits_for_replicas_holds_up_nobody_else() {
    let pair = Pair::start().await;
    pair.replica.freeze(true).await;
    let waits: Vec<_> = (0..20)
        .map(|_| {
            let queue = pair.queue.clone();
            tokio::spawn(async move { queue.submit("tenant", &bulk()).await })
        })
        .collect();
    until("twenty who wait", async || {
        (pair.primary.line("INFO clients", "blocked_clients").await? == "20").then_some(())
    })
    .await;
    let began = Instant::now();
    assert_eq!(pair.queue.stats().await.unwrap().bulk.queued, 20);
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    for wait in waits {
        is_not_durable(wait.await.unwrap());
    }
}
