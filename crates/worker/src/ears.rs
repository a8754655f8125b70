//! How a worker hears of work, without losing a connection whenever something else happens first.

use std::future::Future;
use std::pin::Pin;

use uso_queue::{Queue, Wakeups};

use crate::run::LOOK;

/// What a worker listens for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// It has no room.
    Nothing,
    /// It has nothing to do.
    Work,
    /// It has room for an interactive job.
    Urgent,
    /// It has nothing to do but to wait for references.
    Anything,
    /// It has room for what nobody is woken for.
    Time,
}

type Waiting = Pin<Box<dyn Future<Output = Wakeups> + Send>>;

/// At most one wait at a time. A wait that goes on may take a token, so it ends when its worker would not
/// heed it: other workers do.
pub(crate) struct Ears {
    queue: Queue,
    waiting: Option<(For, Waiting)>,
    work: Option<Wakeups>,
    urgent: Option<Wakeups>,
}

impl Ears {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, waiting: None, work: None, urgent: None }
    }

    /// Returns when there may be such work; never, if there is no room for it. It may be dropped and asked
    /// again.
    pub(crate) async fn hear(&mut self, what: For) {
        if self.waiting.as_ref().is_some_and(|(before, _)| *before != what) {
            self.waiting = None;
        }
        let wakeups = match what {
            For::Nothing => return std::future::pending().await,
            For::Anything => return tokio::time::sleep(LOOK / 4).await,
            For::Time => return tokio::time::sleep(LOOK).await,
            For::Work => &mut self.work,
            For::Urgent => &mut self.urgent,
        };
        let queue = &self.queue;
        let (_, waiting) = self.waiting.get_or_insert_with(|| {
            let mut wakeups = wakeups.take().unwrap_or_else(|| match what {
                For::Urgent => queue.urgent_wakeups(),
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
