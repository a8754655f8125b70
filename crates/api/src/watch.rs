//! One reader of a shard's event stream for all clients of this process.
//!
//! The reader keeps a window of recent events and hands each new one to those who follow its job, its
//! batch or its tenant: whoever follows one job is not woken by others. A follower takes the window and
//! its place among the hearers in one step, so nothing falls between the two.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use uso_queue::{BatchId, EventId, EventTail, JobEvent, JobId, Queue};

/// Events kept for clients that come back: as many as the queue keeps.
const WINDOW: usize = uso_queue::EVENTS_KEPT;
/// Events that whoever follows one job may be behind before it is sent a snapshot instead. It takes some
/// fifty bytes an event, for each job that is followed.
const JOB_BEHIND: usize = 64;
/// The same of a batch or a tenant: more than one read of the stream gives.
const MANY_BEHIND: usize = 4096;
/// Pause before the stream is opened again after an outage.
const AGAIN: Duration = Duration::from_millis(500);

/// Longest wait of a follower for the stream to be opened first.
const OPENING: Duration = Duration::from_secs(5);

type Hearers = broadcast::Sender<Arc<JobEvent>>;

/// What can be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topic {
    Job(JobId),
    Batch(BatchId),
    Tenant(String),
}

impl Topic {
    fn concerns(&self, event: &JobEvent) -> bool {
        match self {
            Self::Job(id) => event.job == *id,
            Self::Batch(id) => event.batch == Some(*id),
            Self::Tenant(name) => event.tenant == *name,
        }
    }
}

pub(crate) struct Watch {
    shard: u16,
    inner: Mutex<Inner>,
    /// Whether the stream has been opened: what happened before is not heard.
    opened: watch::Sender<bool>,
    /// Told whenever a job has ended.
    ended: Arc<Notify>,
}

struct Inner {
    /// Oldest first; everything after `floor` is here.
    window: VecDeque<Arc<JobEvent>>,
    /// None until the stream was first opened.
    floor: Option<EventId>,
    /// Those of each topic; a topic without any is not here.
    jobs: HashMap<JobId, Hearers>,
    batches: HashMap<BatchId, Hearers>,
    tenants: HashMap<String, Hearers>,
    /// The process stops: nobody follows any more.
    over: bool,
}

impl Watch {
    /// A reader of a shard's events that tells `ended` whenever a job has ended.
    pub(crate) fn new(shard: u16, ended: Arc<Notify>) -> Self {
        let inner = Inner {
            window: VecDeque::new(),
            floor: None,
            jobs: HashMap::new(),
            batches: HashMap::new(),
            tenants: HashMap::new(),
            over: false,
        };
        Self { shard, inner: Mutex::new(inner), opened: watch::Sender::new(false), ended }
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
        self.lock().close();
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
                Ok(events) => {
                    let any_ended = events.iter().any(JobEvent::is_terminal);
                    self.lock().publish(events);
                    if any_ended {
                        self.ended.notify_one();
                    }
                }
                Err(error) => return error,
            }
        }
    }

    /// Follows a topic; None if the process is about to stop. Whatever happens after this is heard; what
    /// happened after `after` is given at once, or none if that reaches back beyond the window.
    ///
    /// # Errors
    /// If the stream is not open yet, and does not open soon.
    pub(crate) async fn follow(
        self: &Arc<Self>,
        topic: Topic,
        after: Option<EventId>,
    ) -> Result<Option<Following>, uso_queue::Error> {
        self.until_opened().await?;
        let mut inner = self.lock();
        if inner.over {
            return Ok(None);
        }
        let heard = inner.subscribe(&topic);
        let recent = after.filter(|after| inner.floor.is_some_and(|floor| floor <= *after));
        let replay = recent.map(|after| {
            let new = inner.window.iter().filter(|event| event.id > after && topic.concerns(event));
            new.cloned().collect()
        });
        let Some(position) = inner.position() else { return Ok(None) };
        let ear = Ear { watch: Arc::clone(self), topic, heard: Some(heard) };
        Ok(Some(Following { ear, replay, position }))
    }

    /// Waits until everything that happens from now on is heard.
    async fn until_opened(&self) -> Result<(), uso_queue::Error> {
        let mut opened = self.opened.subscribe();
        match tokio::time::timeout(OPENING, opened.wait_for(|opened| *opened)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(uso_queue::Error::Unreachable("the event stream is not open yet".into())),
        }
    }

    /// How many topics are followed.
    #[cfg(test)]
    fn topics(&self) -> usize {
        let inner = self.lock();
        inner.jobs.len() + inner.batches.len() + inner.tenants.len()
    }
}

impl Inner {
    /// The newest event there was.
    fn position(&self) -> Option<EventId> {
        self.window.back().map(|event| event.id).or(self.floor)
    }

    fn publish(&mut self, events: Vec<JobEvent>) {
        for event in events {
            let event = Arc::new(event);
            tell(&self.jobs, &event.job, &event);
            if let Some(batch) = &event.batch {
                tell(&self.batches, batch, &event);
            }
            tell(&self.tenants, event.tenant.as_str(), &event);
            self.window.push_back(event);
            if self.window.len() > WINDOW {
                self.floor = self.window.pop_front().map(|oldest| oldest.id);
            }
        }
    }

    fn subscribe(&mut self, topic: &Topic) -> broadcast::Receiver<Arc<JobEvent>> {
        let hearers = |behind| move || broadcast::channel(behind).0;
        match topic {
            Topic::Job(id) => self.jobs.entry(*id).or_insert_with(hearers(JOB_BEHIND)),
            Topic::Batch(id) => self.batches.entry(*id).or_insert_with(hearers(MANY_BEHIND)),
            Topic::Tenant(name) => self.tenants.entry(name.clone()).or_insert_with(hearers(MANY_BEHIND)),
        }
        .subscribe()
    }

    /// Forgets a topic that nobody follows any more.
    fn leave(&mut self, topic: &Topic) {
        match topic {
            Topic::Job(id) => forget_unheard(&mut self.jobs, id),
            Topic::Batch(id) => forget_unheard(&mut self.batches, id),
            Topic::Tenant(name) => forget_unheard(&mut self.tenants, name.as_str()),
        }
    }

    /// Followers end once they have heard what was told before.
    fn close(&mut self) {
        self.over = true;
        self.jobs.clear();
        self.batches.clear();
        self.tenants.clear();
    }
}

fn tell<K, Q>(topics: &HashMap<K, Hearers>, name: &Q, event: &Arc<JobEvent>)
where
    K: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    if let Some(hearers) = topics.get(name) {
        // That nobody listens is no error.
        let _ = hearers.send(Arc::clone(event));
    }
}

fn forget_unheard<K, Q>(topics: &mut HashMap<K, Hearers>, name: &Q)
where
    K: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    if topics.get(name).is_some_and(|hearers| hearers.receiver_count() == 0) {
        topics.remove(name);
    }
}

/// A place among the hearers of a topic.
pub(crate) struct Following {
    /// Hears what happens from now on.
    pub(crate) ear: Ear,
    /// What happened since the client was last told; none where it must be told anew.
    pub(crate) replay: Option<VecDeque<Arc<JobEvent>>>,
    /// The newest event before those that are heard.
    pub(crate) position: EventId,
}

/// Hears a topic's events, and leaves it when it is dropped.
pub(crate) struct Ear {
    watch: Arc<Watch>,
    topic: Topic,
    /// Only none while it is dropped.
    heard: Option<broadcast::Receiver<Arc<JobEvent>>>,
}

/// What an ear has heard.
pub(crate) enum Heard {
    Event(Arc<JobEvent>),
    /// It was too slow: what there was up to this event is lost to it.
    Missed(EventId),
    /// The process stops.
    Over,
}

impl Ear {
    pub(crate) async fn next(&mut self) -> Heard {
        let Some(heard) = &mut self.heard else { return Heard::Over };
        match heard.recv().await {
            Ok(event) => Heard::Event(event),
            Err(broadcast::error::RecvError::Lagged(_)) => match self.watch.lock().position() {
                Some(position) => Heard::Missed(position),
                None => Heard::Over,
            },
            Err(broadcast::error::RecvError::Closed) => Heard::Over,
        }
    }
}

impl Ear {
    /// Whether there is nothing to hear just now.
    pub(crate) fn is_idle(&self) -> bool {
        self.heard.as_ref().is_none_or(broadcast::Receiver::is_empty)
    }

    /// The newest event that was read, of whatever topic.
    pub(crate) fn position(&self) -> Option<EventId> {
        self.watch.lock().position()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.heard = None;
        self.watch.lock().leave(&self.topic);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;
    use uso_queue::private_redis::PrivateRedis;
    use uso_queue::{Config, Defaults, JobSpec, Queue, State, WorkerId};

    use super::{Topic, Watch};
    use crate::follow::{Follower, Told};

    async fn queue(folder: &tempfile::TempDir) -> (PrivateRedis, Queue) {
        let redis = PrivateRedis::start(folder.path(), None).await.unwrap();
        let queue = Queue::connect(Config::new(redis.url())).await.unwrap();
        (redis, queue)
    }

    #[tokio::test]
    async fn what_happens_before_the_stream_is_opened_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let (_redis, queue) = queue(&folder).await;
        let spec = JobSpec::parse(&serde_json::json!({}), &Defaults::default()).unwrap();
        let id = queue.submit("default", &spec).await.unwrap().id;
        let view = queue.view(&id).await.unwrap().unwrap();
        let (watch, stop) = (Arc::new(Watch::new(0, Arc::default())), CancellationToken::new());
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

    #[tokio::test]
    async fn a_topic_that_nobody_follows_any_more_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (_redis, queue) = queue(&folder).await;
        let (watch, stop) = (Arc::new(Watch::new(0, Arc::default())), CancellationToken::new());
        let follows = async {
            let batch = queue.new_batch("default").unwrap();
            let mut ears = Vec::new();
            for topic in [Topic::Batch(batch), Topic::Tenant("a".into()), Topic::Tenant("a".into())] {
                ears.push(watch.follow(topic, None).await.unwrap().unwrap().ear);
            }
            assert_eq!(watch.topics(), 2);
            ears.remove(0);
            ears.remove(0);
            assert_eq!(watch.topics(), 1, "one of two still follows the tenant");
            ears.clear();
            assert_eq!(watch.topics(), 0);
            stop.cancel();
        };
        tokio::join!(watch.run(&queue, stop.clone()), follows);
        assert!(watch.follow(Topic::Tenant("a".into()), None).await.unwrap().is_none());
    }
}
