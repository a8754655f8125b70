//! What one client is told: of one job, or of many.
//!
//! Where a client asks for more than the window of events holds, or was too slow, it is told how things
//! are now, and then what follows.

use std::collections::VecDeque;
use std::sync::Arc;

use uso_queue::{EventId, JobEvent, JobView, Queue};

use crate::watch::{Ear, Following, Heard, Topic, Watch};

/// What a client is told of a job.
pub(crate) enum Told {
    /// The job as it is now.
    Snapshot(Box<JobView>),
    /// What happened to it.
    Event(Arc<JobEvent>),
}

/// One client's view of one job.
pub(crate) struct Follower {
    queue: Queue,
    job: uso_queue::JobId,
    ear: Ear,
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
        watch: &Arc<Watch>,
        queue: &Queue,
        view: JobView,
        after: Option<EventId>,
    ) -> Result<Option<Self>, uso_queue::Error> {
        let Some(Following { ear, replay, .. }) = watch.follow(Topic::Job(view.id), after).await? else {
            return Ok(None);
        };
        let mut follower = Self {
            queue: queue.clone(),
            job: view.id,
            ear,
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
            match self.ear.next().await {
                Heard::Event(event) => self.hear(event),
                Heard::Missed(_) => {
                    if let Err(error) = self.snapshot().await {
                        // The client comes back and asks for what it missed.
                        tracing::warn!(%error, "an event stream was cut off");
                        return None;
                    }
                }
                Heard::Over => return None,
            }
        }
    }

    /// Whether the client has been told how the job ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over && self.waiting.is_empty()
    }

    fn hear(&mut self, event: Arc<JobEvent>) {
        if event.id > self.told {
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

/// What a client is told of many jobs.
pub(crate) enum ToldOfMany {
    /// What there was up to this event is to be read anew.
    Anew(EventId),
    /// What happened to one of them.
    Event(Arc<JobEvent>),
}

/// One client's view of a batch's or a tenant's jobs.
pub(crate) struct FollowerOfMany {
    ear: Ear,
    waiting: VecDeque<ToldOfMany>,
    told: EventId,
}

impl FollowerOfMany {
    /// Follows from `after` on, or from now. None if the process is about to stop.
    ///
    /// # Errors
    /// If the events cannot be heard.
    pub(crate) async fn new(
        watch: &Arc<Watch>,
        topic: Topic,
        after: Option<EventId>,
    ) -> Result<Option<Self>, uso_queue::Error> {
        let Some(Following { ear, replay, position }) = watch.follow(topic, after).await? else {
            return Ok(None);
        };
        let told = match (&replay, after) {
            // The process that told it before may be ahead of this one.
            (Some(_), Some(after)) => position.max(after),
            _ => position,
        };
        let waiting = match replay {
            Some(replay) => replay.into_iter().map(ToldOfMany::Event).collect(),
            None => VecDeque::from([ToldOfMany::Anew(position)]),
        };
        Ok(Some(Self { ear, waiting, told }))
    }

    /// The next thing to tell; none when the process stops.
    pub(crate) async fn next(&mut self) -> Option<ToldOfMany> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Some(told);
            }
            match self.ear.next().await {
                Heard::Event(event) if event.id > self.told => {
                    self.told = event.id;
                    return Some(ToldOfMany::Event(event));
                }
                // It was told of already.
                Heard::Event(_) => {}
                Heard::Missed(position) => {
                    self.told = position;
                    return Some(ToldOfMany::Anew(position));
                }
                Heard::Over => return None,
            }
        }
    }

    /// Whether nothing more waits to be told just now.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.ear.is_idle()
    }

    /// Whether everything up to this event has been read by this process.
    pub(crate) fn has_heard(&self, event: EventId) -> bool {
        self.ear.position().is_some_and(|position| position >= event)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;
    use uso_local::PrivateRedis;
    use uso_queue::{Config, Defaults, JobSpec, Queue};

    use super::{FollowerOfMany, ToldOfMany};
    use crate::watch::{Topic, Watch};

    #[tokio::test]
    async fn what_a_process_that_was_ahead_has_told_is_not_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let redis = PrivateRedis::start(folder.path(), None).await.unwrap();
        let queue = Queue::connect(Config::new(redis.url())).await.unwrap();
        let spec = JobSpec::parse(&serde_json::json!({}), &Defaults::default()).unwrap();
        let (watch, stop) = (Arc::new(Watch::new(0, Arc::default())), CancellationToken::new());
        let follow = |after: Option<&str>| {
            let after = after.map(|after| after.parse().unwrap());
            FollowerOfMany::new(&watch, Topic::Tenant("default".into()), after)
        };
        let follows = async {
            let mut all = follow(None).await.unwrap().unwrap();
            let mut ahead = follow(Some("99999999999999-0")).await.unwrap().unwrap();
            queue.submit("default", &spec).await.unwrap();
            assert!(matches!(all.next().await, Some(ToldOfMany::Anew(_))));
            assert!(matches!(all.next().await, Some(ToldOfMany::Event(_))));
            let told = tokio::time::timeout(Duration::from_millis(200), ahead.next()).await;
            assert!(told.is_err(), "it was told before");
            stop.cancel();
        };
        tokio::join!(watch.run(&queue, stop.clone()), follows);
    }
}
