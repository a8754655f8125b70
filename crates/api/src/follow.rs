//! The updates that one client gets: of one job, or of many.
//!
//! A client that asks for more than the window of events holds, or that was too slow, gets the state as it is now, and
//! then the events that follow.

use std::collections::VecDeque;
use std::sync::Arc;

use uso_queue::{EventId, JobEvent, JobView, Queue};

use crate::watch::{Following, Received, Subscription, Topic, Watch};

/// An update of one job.
pub(crate) enum JobUpdate {
    /// The job as it is now.
    Snapshot(Box<JobView>),
    /// What happened to it.
    Event(Arc<JobEvent>),
}

/// The updates of one job, for one client.
pub(crate) struct Follower {
    queue: Queue,
    job: uso_queue::JobId,
    subscription: Subscription,
    waiting: VecDeque<JobUpdate>,
    sent: EventId,
    ended: bool,
}

impl Follower {
    /// Follows a job from `after` on, or from a snapshot. None if the process is about to stop.
    ///
    /// # Errors
    /// If the record or the event stream cannot be read.
    pub(crate) async fn new(
        watch: &Arc<Watch>,
        queue: &Queue,
        view: JobView,
        after: Option<EventId>,
    ) -> Result<Option<Self>, uso_queue::Error> {
        let Some(Following { subscription, replay, .. }) = watch.follow(Topic::Job(view.id), after).await?
        else {
            return Ok(None);
        };
        let mut follower = Self {
            queue: queue.clone(),
            job: view.id,
            subscription,
            waiting: VecDeque::new(),
            sent: view.last_event,
            ended: false,
        };
        match (replay, after) {
            (Some(replay), Some(after)) => {
                follower.sent = after;
                replay.into_iter().for_each(|event| follower.add(event));
            }
            // The record is read again: it may have changed before the subscription began.
            _ => follower.snapshot().await?,
        }
        Ok(Some(follower))
    }

    /// The next update; none when there will be no more.
    pub(crate) async fn next(&mut self) -> Option<JobUpdate> {
        loop {
            if let Some(update) = self.waiting.pop_front() {
                return Some(update);
            }
            if self.ended {
                return None;
            }
            match self.subscription.next().await {
                Received::Event(event) => self.add(event),
                Received::Missed(_) => {
                    if let Err(error) = self.snapshot().await {
                        // The client reconnects and asks for what it missed.
                        tracing::warn!(%error, "an event stream was cut off");
                        return None;
                    }
                }
                Received::Stopping => return None,
            }
        }
    }

    /// Whether the client has got the job's last event.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }

    fn add(&mut self, event: Arc<JobEvent>) {
        if event.id > self.sent {
            self.sent = event.id;
            self.ended = event.is_terminal();
            self.waiting.push_back(JobUpdate::Event(event));
        }
    }

    async fn snapshot(&mut self) -> Result<(), uso_queue::Error> {
        match self.queue.view(&self.job).await? {
            Some(view) => {
                self.sent = view.last_event;
                self.ended = view.state.is_terminal();
                self.waiting.push_back(JobUpdate::Snapshot(Box::new(view)));
            }
            None => self.ended = true,
        }
        Ok(())
    }
}

/// An update of many jobs.
pub(crate) enum TopicUpdate {
    /// Events up to this one may be missing: the client must get the state as it is now.
    Reload(EventId),
    /// An event of one of the jobs.
    Event(Arc<JobEvent>),
}

/// The updates of a batch's or a tenant's jobs, for one client.
pub(crate) struct TopicFollower {
    subscription: Subscription,
    waiting: VecDeque<TopicUpdate>,
    sent: EventId,
}

impl TopicFollower {
    /// Follows from `after` on, or from now. None if the process is about to stop.
    ///
    /// # Errors
    /// If the event stream cannot be read.
    pub(crate) async fn new(
        watch: &Arc<Watch>,
        topic: Topic,
        after: Option<EventId>,
    ) -> Result<Option<Self>, uso_queue::Error> {
        let Some(Following { subscription, replay, position }) = watch.follow(topic, after).await? else {
            return Ok(None);
        };
        let sent = match (&replay, after) {
            // The process that served the client before may be ahead of this one.
            (Some(_), Some(after)) => position.max(after),
            _ => position,
        };
        let waiting = match replay {
            Some(replay) => replay.into_iter().map(TopicUpdate::Event).collect(),
            None => VecDeque::from([TopicUpdate::Reload(position)]),
        };
        Ok(Some(Self { subscription, waiting, sent }))
    }

    /// The next update; none when the process stops.
    pub(crate) async fn next(&mut self) -> Option<TopicUpdate> {
        loop {
            if let Some(update) = self.waiting.pop_front() {
                return Some(update);
            }
            match self.subscription.next().await {
                Received::Event(event) if event.id > self.sent => {
                    self.sent = event.id;
                    return Some(TopicUpdate::Event(event));
                }
                // The client has it already.
                Received::Event(_) => {}
                Received::Missed(position) => {
                    self.sent = position;
                    return Some(TopicUpdate::Reload(position));
                }
                Received::Stopping => return None,
            }
        }
    }

    /// Whether no update is waiting now.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.subscription.is_idle()
    }

    /// Whether everything up to this event has been read by this process.
    pub(crate) fn has_read(&self, event: EventId) -> bool {
        self.subscription.position().is_some_and(|position| position >= event)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;
    use uso_local::PrivateRedis;
    use uso_queue::{Config, Defaults, JobSpec, Queue, State, WorkerId};

    use super::{Follower, JobUpdate, TopicFollower, TopicUpdate};
    use crate::watch::{Topic, Watch};

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
            let update = follower.next().await.unwrap();
            stop.cancel();
            update
        };
        let ((), update) = tokio::join!(opens_late, follows);
        assert!(matches!(update, JobUpdate::Snapshot(view) if view.state == State::Running));
    }

    #[tokio::test]
    async fn what_a_process_that_was_ahead_has_sent_is_not_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let (_redis, queue) = queue(&folder).await;
        let spec = JobSpec::parse(&serde_json::json!({}), &Defaults::default()).unwrap();
        let (watch, stop) = (Arc::new(Watch::new(0, Arc::default())), CancellationToken::new());
        let follow = |after: Option<&str>| {
            let after = after.map(|after| after.parse().unwrap());
            TopicFollower::new(&watch, Topic::Tenant("default".into()), after)
        };
        let follows = async {
            let mut all = follow(None).await.unwrap().unwrap();
            let mut ahead = follow(Some("99999999999999-0")).await.unwrap().unwrap();
            queue.submit("default", &spec).await.unwrap();
            assert!(matches!(all.next().await, Some(TopicUpdate::Reload(_))));
            assert!(matches!(all.next().await, Some(TopicUpdate::Event(_))));
            let update = tokio::time::timeout(Duration::from_millis(200), ahead.next()).await;
            assert!(update.is_err(), "the client has it already");
            stop.cancel();
        };
        tokio::join!(watch.run(&queue, stop.clone()), follows);
    }
}
