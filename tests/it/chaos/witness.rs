//! Somebody who reads every event, over as many connections as it takes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use uso_queue::{EventKind, EventTail, Fault, History, JobEvent, JobId, Queue};

use super::clients::Ledger;

/// What was seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// How each job ended, as often as it did.
    pub(crate) ends: HashMap<JobId, Vec<&'static str>>,
    /// Why jobs went back to the queue.
    pub(crate) requeued: BTreeMap<String, usize>,
    /// How often each job's worker was gone.
    pub(crate) lost: HashMap<JobId, usize>,
    /// How often each job was tried again because the engine had failed.
    pub(crate) retried: HashMap<JobId, usize>,
    /// Attempts that began where another had left off.
    pub(crate) resumed: usize,
    pub(crate) faults: Vec<Fault>,
    /// The newest step of each job under way.
    steps: HashMap<JobId, Option<u32>>,
}

pub(crate) struct Witness {
    task: JoinHandle<Seen>,
    over: Arc<AtomicBool>,
}

impl Witness {
    pub(crate) async fn start(queue: &Queue, ledger: &Arc<Ledger>) -> Self {
        let tail = queue.tail(0, "0-0".parse().ok()).await.unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(watch(queue.clone(), tail, Arc::clone(ledger), Arc::clone(&over)));
        Self { task, over }
    }

    /// Everything there was to be seen.
    pub(crate) async fn finish(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn watch(queue: Queue, mut tail: EventTail, ledger: Arc<Ledger>, over: Arc<AtomicBool>) -> Seen {
    let (mut seen, mut history) = (Seen::default(), History::default());
    loop {
        match tail.next().await {
            Ok(events) if events.is_empty() && over.load(Ordering::Relaxed) => return seen,
            Ok(events) => {
                for event in &events {
                    seen.faults.extend(history.check(event));
                    seen.note(event);
                    ledger.ended.fetch_add(usize::from(event.is_terminal()), Ordering::Relaxed);
                }
            }
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if let Ok(again) = queue.tail(0, Some(tail.position())).await {
                    tail = again;
                }
            }
        }
    }
}

impl Seen {
    fn note(&mut self, event: &JobEvent) {
        match &event.kind {
            EventKind::Started => drop(self.steps.insert(event.job, None)),
            EventKind::Progress { step, .. } => {
                // An attempt from the start may skip reports, but hardly so many.
                let first = self.steps.insert(event.job, Some(*step)) == Some(None);
                self.resumed += usize::from(first && *step > 5);
            }
            EventKind::Requeued { reason } => {
                *self.requeued.entry(reason.clone()).or_default() += 1;
                match reason.as_str() {
                    "lease_lost" => *self.lost.entry(event.job).or_default() += 1,
                    "retry" => *self.retried.entry(event.job).or_default() += 1,
                    _ => {}
                }
            }
            _ if event.is_terminal() => self.ends.entry(event.job).or_default().push(event.name()),
            _ => {}
        }
    }
}
