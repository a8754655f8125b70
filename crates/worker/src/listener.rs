//! How a worker listens for wake-ups, without losing a connection whenever something else happens first.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use uso_queue::{Queue, Wakeups};

/// A worker looks for work at least this often, wake-up or not.
const LOOK: Duration = Duration::from_secs(1);
const _: () =
    assert!(LOOK.as_millis() < uso_queue::IDLE_FOR.as_millis(), "it would not count as idle in between");

/// What a worker listens for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// It has no room.
    Nothing,
    /// It has nothing to do.
    Work,
    /// It has room for an interactive job.
    Urgent,
    /// It has nothing to do but to wait for references: nobody wakes it, so it looks more often.
    Often,
    /// It has room for what nobody is woken for: it looks now and then.
    Time,
}

type Waiting = Pin<Box<dyn Future<Output = Wakeups> + Send>>;

/// At most one wait at a time. A wait that goes on may take a wake-up, so it ends when its worker would not act
/// on it: other workers do.
pub(crate) struct WakeUpListener {
    queue: Queue,
    waiting: Option<(Listen, Waiting)>,
    work: Option<Wakeups>,
    urgent: Option<Wakeups>,
}

impl WakeUpListener {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, waiting: None, work: None, urgent: None }
    }

    /// Returns when there may be such work; never, if there is no room for it. It may be dropped and asked
    /// again.
    pub(crate) async fn listen(&mut self, what: Listen) {
        if self.waiting.as_ref().is_some_and(|(before, _)| *before != what) {
            self.waiting = None;
        }
        let wakeups = match what {
            Listen::Nothing => return std::future::pending().await,
            Listen::Often => return tokio::time::sleep(LOOK / 4).await,
            Listen::Time => return tokio::time::sleep(LOOK).await,
            Listen::Work => &mut self.work,
            Listen::Urgent => &mut self.urgent,
        };
        let queue = &self.queue;
        let (_, waiting) = self.waiting.get_or_insert_with(|| {
            let mut wakeups = wakeups.take().unwrap_or_else(|| match what {
                Listen::Urgent => queue.urgent_wakeups(),
                _ => queue.wakeups(),
            });
            let wait = async move {
                wakeups.wait(LOOK).await;
                wakeups
            };
            (what, Box::pin(wait))
        });
        *wakeups = Some(waiting.await);
        self.waiting = None;
    }
}
