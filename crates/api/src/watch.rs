//! One reader of a shard's event stream for all clients of this process.
//!
//! The reader keeps a window of recent events and sends each new one to the subscribers of its job, its batch and its
//! tenant, so that a subscriber of one job is not woken by others. A subscriber gets the window and its subscription in
//! one step, so no event is lost in between.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use uso_queue::{BatchId, EventId, EventTail, JobEvent, JobId, Queue};

/// Events kept for clients that reconnect: as many as the queue keeps.
const WINDOW: usize = uso_queue::EVENTS_KEPT;
/// Events that a subscriber of one job may be behind before it gets a snapshot instead. Each takes some fifty bytes for
/// each job that is followed.
const JOB_BEHIND: usize = 64;
/// The same for a batch or a tenant: more than one read of the stream returns.
const MANY_BEHIND: usize = 4096;
/// Pause before the stream is opened again after an outage.
const AGAIN: Duration = Duration::from_millis(500);

/// Longest wait of a subscriber until the stream is opened for the first time.
const OPENING: Duration = Duration::from_secs(5);

type Subscribers = broadcast::Sender<Arc<JobEvent>>;

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
    /// Whether the stream has been opened: earlier events are not read.
    opened: watch::Sender<bool>,
    /// Notified whenever a job has ended.
    ended: Arc<Notify>,
}

struct Inner {
    /// Oldest first; everything after `floor` is here.
    window: VecDeque<Arc<JobEvent>>,
    /// None until the stream was first opened.
    floor: Option<EventId>,
    /// Those of each topic; a topic without any is not here.
    jobs: HashMap<JobId, Subscribers>,
    batches: HashMap<BatchId, Subscribers>,
    tenants: HashMap<String, Subscribers>,
    /// The process stops: there are no new subscribers.
    stopping: bool,
}

impl Watch {
    /// A reader of a shard's events that notifies `ended` whenever a job has ended.
    pub(crate) fn new(shard: u16, ended: Arc<Notify>) -> Self {
        let inner = Inner {
            window: VecDeque::new(),
            floor: None,
            jobs: HashMap::new(),
            batches: HashMap::new(),
            tenants: HashMap::new(),
            stopping: false,
        };
        Self { shard, inner: Mutex::new(inner), opened: watch::Sender::new(false), ended }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // No call can leave the window half changed.
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

    /// Subscribes to a topic; None if the process stops. The subscription gets all later events. Events since `after`
    /// are returned at once, or none if the window does not reach back that far.
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
        if inner.stopping {
            return Ok(None);
        }
        let events = inner.subscribe(&topic);
        let recent = after.filter(|after| inner.floor.is_some_and(|floor| floor <= *after));
        let replay = recent.map(|after| {
            let new = inner.window.iter().filter(|event| event.id > after && topic.concerns(event));
            new.cloned().collect()
        });
        let Some(position) = inner.position() else { return Ok(None) };
        let subscription = Subscription { watch: Arc::clone(self), topic, events: Some(events) };
        Ok(Some(Following { subscription, replay, position }))
    }

    /// Waits until the stream is open, so that all later events are read.
    async fn until_opened(&self) -> Result<(), uso_queue::Error> {
        let mut opened = self.opened.subscribe();
        match tokio::time::timeout(OPENING, opened.wait_for(|opened| *opened)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(uso_queue::Error::Unreachable("the event stream is not open yet".into())),
        }
    }

    /// How many topics have subscribers.
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
            send(&self.jobs, &event.job, &event);
            if let Some(batch) = &event.batch {
                send(&self.batches, batch, &event);
            }
            send(&self.tenants, event.tenant.as_str(), &event);
            self.window.push_back(event);
            if self.window.len() > WINDOW {
                self.floor = self.window.pop_front().map(|oldest| oldest.id);
            }
        }
    }

    fn subscribe(&mut self, topic: &Topic) -> broadcast::Receiver<Arc<JobEvent>> {
        let subscribers = |behind| move || broadcast::channel(behind).0;
        match topic {
            Topic::Job(id) => self.jobs.entry(*id).or_insert_with(subscribers(JOB_BEHIND)),
            Topic::Batch(id) => self.batches.entry(*id).or_insert_with(subscribers(MANY_BEHIND)),
            Topic::Tenant(name) => self.tenants.entry(name.clone()).or_insert_with(subscribers(MANY_BEHIND)),
        }
        .subscribe()
    }

    /// Removes a topic without subscribers.
    fn unsubscribe(&mut self, topic: &Topic) {
        match topic {
            Topic::Job(id) => forget_unfollowed(&mut self.jobs, id),
            Topic::Batch(id) => forget_unfollowed(&mut self.batches, id),
            Topic::Tenant(name) => forget_unfollowed(&mut self.tenants, name.as_str()),
        }
    }

    /// Subscriptions end once they have got the events sent before.
    fn close(&mut self) {
        self.stopping = true;
        self.jobs.clear();
        self.batches.clear();
        self.tenants.clear();
    }
}

fn send<K, Q>(topics: &HashMap<K, Subscribers>, name: &Q, event: &Arc<JobEvent>)
where
    K: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    if let Some(subscribers) = topics.get(name) {
        // That there is no subscriber is no error.
        let _ = subscribers.send(Arc::clone(event));
    }
}

fn forget_unfollowed<K, Q>(topics: &mut HashMap<K, Subscribers>, name: &Q)
where
    K: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    if topics.get(name).is_some_and(|subscribers| subscribers.receiver_count() == 0) {
        topics.remove(name);
    }
}

/// A new subscription.
pub(crate) struct Following {
    /// Gets all later events.
    pub(crate) subscription: Subscription,
    /// The events that the client has missed; none if it must get the state as it is now.
    pub(crate) replay: Option<VecDeque<Arc<JobEvent>>>,
    /// The newest event before those of the subscription.
    pub(crate) position: EventId,
}

/// Gets a topic's events, until it is dropped.
pub(crate) struct Subscription {
    watch: Arc<Watch>,
    topic: Topic,
    /// Only none while it is dropped.
    events: Option<broadcast::Receiver<Arc<JobEvent>>>,
}

/// What a subscription gets.
pub(crate) enum Received {
    Event(Arc<JobEvent>),
    /// It was too slow: events up to this one may be missing.
    Missed(EventId),
    /// The process stops.
    Stopping,
}

impl Subscription {
    pub(crate) async fn next(&mut self) -> Received {
        let Some(events) = &mut self.events else { return Received::Stopping };
        match events.recv().await {
            Ok(event) => Received::Event(event),
            Err(broadcast::error::RecvError::Lagged(_)) => match self.watch.lock().position() {
                Some(position) => Received::Missed(position),
                None => Received::Stopping,
            },
            Err(broadcast::error::RecvError::Closed) => Received::Stopping,
        }
    }
}

impl Subscription {
    /// Whether no event is waiting now.
    pub(crate) fn is_idle(&self) -> bool {
        self.events.as_ref().is_none_or(broadcast::Receiver::is_empty)
    }

    /// The newest event that was read, of whatever topic.
    pub(crate) fn position(&self) -> Option<EventId> {
        self.watch.lock().position()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events = None;
        self.watch.lock().unsubscribe(&self.topic);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;
    use uso_local::PrivateRedis;
    use uso_queue::{Config, Queue};

    use super::{Topic, Watch};

    async fn queue(folder: &tempfile::TempDir) -> (PrivateRedis, Queue) {
        let redis = PrivateRedis::start(folder.path(), None).await.unwrap();
        let queue = Queue::connect(Config::new(redis.url())).await.unwrap();
        (redis, queue)
    }

    #[tokio::test]
    async fn a_topic_without_subscribers_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (_redis, queue) = queue(&folder).await;
        let (watch, stop) = (Arc::new(Watch::new(0, Arc::default())), CancellationToken::new());
        let follows = async {
            let batch = queue.new_batch("default").unwrap();
            let mut subscriptions = Vec::new();
            for topic in [Topic::Batch(batch), Topic::Tenant("a".into()), Topic::Tenant("a".into())] {
                subscriptions.push(watch.follow(topic, None).await.unwrap().unwrap().subscription);
            }
            assert_eq!(watch.topics(), 2);
            subscriptions.remove(0);
            subscriptions.remove(0);
            assert_eq!(watch.topics(), 1, "one of two still follows the tenant");
            subscriptions.clear();
            assert_eq!(watch.topics(), 0);
            stop.cancel();
        };
        tokio::join!(watch.run(&queue, stop.clone()), follows);
        assert!(watch.follow(Topic::Tenant("a".into()), None).await.unwrap().is_none());
    }
}
