//! Clients that do not give up: they repeat what they ask for until they are answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uso_queue::{BatchId, BatchOperation, Defaults, Error, JobId, JobSpec, Queue, Submission};

use super::plan::{Dice, Plan};
use super::site::Site;
use crate::process::PATIENCE;

/// Clients over HTTP; one more submits batches through the library.
const CLIENTS: usize = 6;
/// Jobs of a batch.
const BATCH: usize = 20;
/// Jobs that may wait or run before clients submit more: faults meet a busy fleet to the end.
const UNDER_WAY: usize = 150;
/// Pause before a request is repeated.
const AGAIN: Duration = Duration::from_millis(100);

/// A job that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) body: Value,
    pub(crate) id: JobId,
    /// Whether the fleet said that it is canceled.
    pub(crate) canceled: bool,
    pub(crate) batch: Option<BatchId>,
}

/// What clients were told, and how far the fleet is.
#[derive(Default)]
pub(crate) struct Ledger {
    orders: Mutex<Vec<Order>>,
    pub(crate) ended: AtomicUsize,
}

impl Ledger {
    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.lock().unwrap().clone()
    }

    fn accepted(&self) -> usize {
        self.orders.lock().unwrap().len()
    }

    /// Waits until so many jobs are accepted; a client that fails ends the run at once.
    pub(crate) async fn until_accepted(&self, jobs: usize, clients: &mut JoinSet<()>) {
        let accepted = async {
            while self.accepted() < jobs {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let accepted = tokio::time::timeout(PATIENCE, accepted);
        tokio::pin!(accepted);
        loop {
            tokio::select! {
                accepted = &mut accepted => return accepted.expect("the fleet stands still"),
                Some(client) = clients.join_next() => client.unwrap(),
            }
        }
    }

    async fn room(&self) {
        while self.accepted() > self.ended.load(Ordering::Relaxed) + UNDER_WAY {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn start(site: &Site, plan: &Plan, ledger: &Arc<Ledger>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    let batches = plan.jobs * 15 / 100 / BATCH;
    let singles = plan.jobs - batches * BATCH;
    for number in 0..CLIENTS {
        let jobs = (singles + number) / CLIENTS;
        let client = Http { http: http(), api: site.api.clone(), ledger: Arc::clone(ledger) };
        let dice = Dice::new(plan.seed ^ (number as u64 + 1) << 32);
        clients.spawn(async move { client.submit(number, jobs, dice).await });
    }
    let (queue, ledger, dice) = (site.queue.clone(), Arc::clone(ledger), Dice::new(plan.seed ^ 99 << 32));
    clients.spawn(async move { submit_batches(&queue, &ledger, batches, dice).await });
    clients
}

fn http() -> Client {
    Client::builder().timeout(Duration::from_secs(10)).build().unwrap()
}

/// A job of a few steps, now and then one that lasts.
fn job(dice: &mut Dice, name: &str, class: &str) -> Value {
    let long = dice.percent(if class == "bulk" { 8 } else { 1 });
    let steps = if long { 100 } else { 1 + dice.below(5) };
    json!({ "prompt": name, "steps": steps, "seed": dice.below(1 << 32), "class": class })
}

struct Http {
    http: Client,
    api: String,
    ledger: Arc<Ledger>,
}

impl Http {
    async fn submit(self, number: usize, jobs: usize, mut dice: Dice) {
        for i in 0..jobs {
            self.ledger.room().await;
            let key = format!("client-{number}-{i}");
            let class = if dice.percent(40) { "interactive" } else { "bulk" };
            let body = job(&mut dice, &key, class);
            let id = if dice.percent(10) {
                // Both at once, as an impatient client does.
                let (first, second) = tokio::join!(self.accept(&key, &body), self.accept(&key, &body));
                assert_eq!(first, second, "{key} has two jobs");
                first
            } else {
                self.accept(&key, &body).await
            };
            let canceled = dice.percent(5) && self.cancel(&id).await;
            let order = Order { key, body, id, canceled, batch: None };
            self.ledger.orders.lock().unwrap().push(order);
        }
    }

    /// Submits until it is answered.
    async fn accept(&self, key: &str, body: &Value) -> JobId {
        loop {
            let post = self.http.post(format!("{}/v1/jobs", self.api)).header("Idempotency-Key", key);
            if let Some((status, answer)) = answer(post.json(body)).await {
                assert_eq!(status, StatusCode::ACCEPTED, "{key}: {answer}");
                return answer["id"].as_str().unwrap().parse().unwrap();
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Whether the job is canceled now; it may have ended before.
    async fn cancel(&self, id: &JobId) -> bool {
        loop {
            if let Some((status, answer)) =
                answer(self.http.post(format!("{}/v1/jobs/{id}/cancel", self.api))).await
            {
                assert!(matches!(status.as_u16(), 202 | 409), "{id}: {status} {answer}");
                return status == StatusCode::ACCEPTED;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// A whole answer, or none if it was lost or says to come back.
async fn answer(request: reqwest::RequestBuilder) -> Option<(StatusCode, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status();
    if status.is_server_error() {
        return None;
    }
    Some((status, response.json().await.ok()?))
}

async fn submit_batches(queue: &Queue, ledger: &Ledger, batches: usize, mut dice: Dice) {
    for number in 0..batches {
        ledger.room().await;
        let tenant = ["night", "labels"][number % 2];
        let batch = queue.new_batch(tenant).unwrap();
        let keys: Vec<String> = (0..BATCH).map(|i| format!("batch-{number}-{i}")).collect();
        let bodies: Vec<Value> = keys.iter().map(|key| job(&mut dice, key, "bulk")).collect();
        let spec = |body| JobSpec::parse(body, &Defaults::default()).unwrap();
        let specs: Vec<JobSpec> = bodies.iter().map(spec).collect();
        let jobs = specs.iter().zip(&keys);
        let jobs = jobs.map(|(spec, key)| Submission { key: Some(key), batch: Some(batch), ..spec.into() });
        let jobs: Vec<_> = jobs.collect();
        let submitted = insist(|| queue.submit_all(tenant, &jobs)).await;
        let again = insist(|| queue.submit_all(tenant, &jobs)).await;
        assert!(again.iter().all(|job| !job.fresh), "batch {number} was accepted twice");
        if dice.percent(20) {
            assert!(insist(|| queue.control_batch(&batch, BatchOperation::Cancel)).await);
        }
        let mut orders = ledger.orders.lock().unwrap();
        for (((job, again), key), body) in submitted.iter().zip(&again).zip(keys).zip(bodies) {
            assert_eq!(job.id, again.id, "{key} has two jobs");
            orders.push(Order { key, body, id: job.id, canceled: false, batch: Some(batch) });
        }
    }
}

/// Asks until Redis is there.
pub(crate) async fn insist<T, F: Future<Output = Result<T, Error>>>(mut ask: impl FnMut() -> F) -> T {
    let answered = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.retryable(), "{error}"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("Redis does not come back")
}

/// Repeats every request over HTTP: each key still has its job.
pub(crate) async fn submit_all_again(site: &Site, ledger: &Arc<Ledger>) {
    let orders = ledger.orders();
    let mut clients = JoinSet::new();
    for part in orders.chunks(orders.len().div_ceil(CLIENTS)) {
        let client = Http { http: http(), api: site.api.clone(), ledger: Arc::clone(ledger) };
        let part: Vec<Order> = part.iter().filter(|order| order.batch.is_none()).cloned().collect();
        clients.spawn(async move {
            for Order { key, body, id, .. } in &part {
                assert_eq!(client.accept(key, body).await, *id, "{key} has two jobs");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}
