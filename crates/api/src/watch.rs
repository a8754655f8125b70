//! One reader of a shard's event stream for all clients of this process.
//!
//! The reader keeps a window of recent events and hands each new one to every follower. A follower
//! takes the window and its place among the hearers in one step, so nothing falls between the two.
//! Where a client asks for more than the window holds, or was too slow, it gets a snapshot from the
//! record and what follows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use uso_queue::{EventId, EventTail, JobEvent, JobId, JobView, Queue};

/// Events kept for clients that come back.
const WINDOW: usize = 20_000;
/// Events that a follower may be behind before it is sent a snapshot instead.
const BEHIND: usize = 4096;
/// Pause before the stream is opened again after an outage.
const AGAIN: Duration = Duration::from_millis(500);

/// Longest wait of a follower for the stream to be opened first.
const OPENING: Duration = Duration::from_secs(5);

pub(crate) struct Watch {
    shard: u16,
    inner: Mutex<Inner>,
    /// Whether the stream has been opened: what happened before is not heard.
    opened: watch::Sender<bool>,
}

struct Inner {
    /// Oldest first; everything after `floor` is here.
    window: VecDeque<Arc<JobEvent>>,
    /// None until the stream was first opened.
    floor: Option<EventId>,
    /// None once the process stops: followers then end.
    hearers: Option<broadcast::Sender<Arc<JobEvent>>>,
}

impl Watch {
    pub(crate) fn new(shard: u16) -> Self {
        let hearers = Some(broadcast::channel(BEHIND).0);
        let inner = Mutex::new(Inner { window: VecDeque::new(), floor: None, hearers });
        Self { shard, inner, opened: watch::Sender::new(false) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing in here can leave the window half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the stream until `stop`, over as many connections as it takes.
    pub(crate) async fn run(&self, queue: &Queue, stop: CancellationToken) {
        let mut position = None;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                error = self.read(queue, &mut position) => {
                    tracing::warn!(%error, "the event stream broke off");
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(AGAIN) => {}
                    }
                }
            }
        }
        self.lock().hearers = None;
    }

    /// Reads until the connection is gone.
    async fn read(&self, queue: &Queue, position: &mut Option<EventId>) -> uso_queue::Error {
        let mut tail: EventTail = match queue.tail(self.shard, *position).await {
            Ok(tail) => tail,
            Err(error) => return error,
        };
        self.lock().floor.get_or_insert(tail.position());
        self.opened.send_replace(true);
        loop {
            *position = Some(tail.position());
            match tail.next().await {
                Ok(events) => self.publish(events),
                Err(error) => return error,
            }
        }
    }

    fn publish(&self, events: Vec<JobEvent>) {
        let mut inner = self.lock();
        for event in events {
            let event = Arc::new(event);
            inner.window.push_back(Arc::clone(&event));
            if inner.window.len() > WINDOW {
                inner.floor = inner.window.pop_front().map(|oldest| oldest.id);
            }
            if let Some(hearers) = &inner.hearers {
                // That nobody listens is no error.
                let _ = hearers.send(event);
            }
        }
    }

    /// Waits until everything that happens from now on is heard.
    async fn until_opened(&self) -> Result<(), uso_queue::Error> {
        let mut opened = self.opened.subscribe();
        match tokio::time::timeout(OPENING, opened.wait_for(|opened| *opened)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(uso_queue::Error::Unreachable("the event stream is not open yet".into())),
        }
    }

    /// Events of `job` after `after`, or none if they reach back beyond the window.
    fn follow(&self, job: &JobId, after: Option<EventId>) -> Option<Following> {
        let inner = self.lock();
        let heard = inner.hearers.as_ref()?.subscribe();
        let recent = after.filter(|after| inner.floor.is_some_and(|floor| floor <= *after));
        let replay = recent.map(|after| {
            inner.window.iter().filter(|event| event.id > after && event.job == *job).cloned().collect()
        });
        Some(Following { heard, replay })
    }
}

struct Following {
    heard: broadcast::Receiver<Arc<JobEvent>>,
    /// None where only a snapshot can help.
    replay: Option<VecDeque<Arc<JobEvent>>>,
}

/// What a client is told.
pub(crate) enum Told {
    /// The job as it is now.
    Snapshot(Box<JobView>),
    /// What happened to it.
    Event(Arc<JobEvent>),
}

/// One client's view of one job.
pub(crate) struct Follower {
    queue: Queue,
    job: JobId,
    heard: broadcast::Receiver<Arc<JobEvent>>,
    waiting: VecDeque<Told>,
    told: EventId,
    over: bool,
}

impl Follower {
    /// Follows a job from `after` on, or from a snapshot. None if the process is about to stop.
    ///
    /// # Errors
    /// If the record cannot be read, or the events cannot be heard.
    pub(crate) async fn new(
        watch: &Watch,
        queue: &Queue,
        view: JobView,
        after: Option<EventId>,
    ) -> Result<Option<Self>, uso_queue::Error> {
        watch.until_opened().await?;
        let Some(Following { heard, replay }) = watch.follow(&view.id, after) else { return Ok(None) };
        let mut follower = Self {
            queue: queue.clone(),
            job: view.id,
            heard,
            waiting: VecDeque::new(),
            told: view.last_event,
            over: false,
        };
        match (replay, after) {
            (Some(replay), Some(after)) => {
                follower.told = after;
                replay.into_iter().for_each(|event| follower.hear(event));
            }
            // The record is read again: it may have moved on before the first event was heard.
            _ => follower.snapshot().await?,
        }
        Ok(Some(follower))
    }

    /// The next thing to tell, or none when there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Some(told);
            }
            if self.over {
                return None;
            }
            match self.heard.recv().await {
                Ok(event) => self.hear(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    if let Err(error) = self.snapshot().await {
                        // The client comes back and asks for what it missed.
                        tracing::warn!(%error, "an event stream was cut off");
                        return None;
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    fn hear(&mut self, event: Arc<JobEvent>) {
        if event.job == self.job && event.id > self.told {
            self.told = event.id;
            self.over = event.is_terminal();
            self.waiting.push_back(Told::Event(event));
        }
    }

    async fn snapshot(&mut self) -> Result<(), uso_queue::Error> {
        match self.queue.view(&self.job).await? {
            Some(view) => {
                self.told = view.last_event;
                self.over = view.state.is_terminal();
                self.waiting.push_back(Told::Snapshot(Box::new(view)));
            }
            None => self.over = true,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;
    use uso_queue::private_redis::PrivateRedis;
    use uso_queue::{Config, Defaults, JobSpec, Queue, State, WorkerId};

    use super::{Follower, Told, Watch};

    #[tokio::test]
    async fn what_happens_before_the_stream_is_opened_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let redis = PrivateRedis::start(folder.path(), None).await.unwrap();
        let queue = Queue::connect(Config::new(redis.url())).await.unwrap();
        let spec = JobSpec::parse(&serde_json::json!({}), &Defaults::default()).unwrap();
        let id = queue.submit("default", &spec).await.unwrap().id;
        let view = queue.view(&id).await.unwrap().unwrap();
        let (watch, stop) = (Watch::new(0), CancellationToken::new());
        let opens_late = async {
            // A follower that did not wait would have its snapshot by now.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let _running = queue.claim_one(&WorkerId::new()).await.unwrap().unwrap();
            watch.run(&queue, stop.clone()).await;
        };
        let follows = async {
            let mut follower = Follower::new(&watch, &queue, view, None).await.unwrap().unwrap();
            let told = follower.next().await.unwrap();
            stop.cancel();
            told
        };
        let ((), told) = tokio::join!(opens_late, follows);
        assert!(matches!(told, Told::Snapshot(view) if view.state == State::Running));
    }
}
