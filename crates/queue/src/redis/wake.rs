//! How an idle worker learns of work without asking all the time.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use crate::{Error, Queue};

/// Wake-ups for one worker, over connections of its own.
///
/// Each new job puts one token into a list, and Redis gives a token to the one worker that has waited
/// longest. A token carries no job: one may be lost with a connection, so a worker also claims about
/// once a second without any.
pub struct Wakeups {
    queue: Queue,
    listeners: Vec<Listener>,
}

/// One blocked command and what it listens to: all shards, or in a cluster one, because keys of different
/// slots cannot be in one command.
struct Listener {
    keys: Vec<String>,
    connection: Option<MultiplexedConnection>,
}

impl Queue {
    /// Wake-ups for an idle worker: one for each new job.
    pub fn wakeups(&self) -> Wakeups {
        self.tokens_in("wake")
    }

    /// Wake-ups for a worker that is busy and has room for an interactive job: one for each that comes
    /// while no worker is idle.
    pub fn urgent_wakeups(&self) -> Wakeups {
        self.tokens_in("urgent")
    }

    fn tokens_in(&self, list: &str) -> Wakeups {
        let keys: Vec<String> = self.shards().map(|shard| self.key(shard, list)).collect();
        let together = if self.0.connection.splits_shards() { 1 } else { keys.len() };
        let listener = |keys: &[String]| Listener { keys: keys.to_vec(), connection: None };
        Wakeups { queue: self.clone(), listeners: keys.chunks(together).map(listener).collect() }
    }
}

impl Wakeups {
    /// Returns when there may be work, at the latest after `longest`, also while Redis is away.
    pub async fn wait(&mut self, longest: Duration) {
        let deadline = tokio::time::Instant::now() + longest;
        let mut waits = JoinSet::new();
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            let (queue, mut listener) = (self.queue.clone(), listener.take());
            waits.spawn(async move {
                let token = listener.token(&queue, longest).await;
                (index, listener, token)
            });
        }
        while let Some(wait) = waits.join_next().await {
            // A panic has been reported where it happened.
            let Ok((index, listener, token)) = wait else { continue };
            match token {
                // The other waits end with their connections, or they would take tokens from other workers.
                Ok(woken) => {
                    self.listeners[index] = listener;
                    if woken {
                        return;
                    }
                }
                Err(error) => tracing::debug!(%error, "no wake-ups for now"),
            }
        }
        tokio::time::sleep_until(deadline).await;
    }
}

impl Listener {
    /// The listener with its connection; what stays behind has none.
    fn take(&mut self) -> Self {
        Self { keys: self.keys.clone(), connection: self.connection.take() }
    }

    /// Whether there was a token.
    async fn token(&mut self, queue: &Queue, longest: Duration) -> Result<bool, Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(queue.0.connection.waiting(&self.keys[0]).await?),
        };
        let mut take = redis::cmd("BLPOP");
        take.arg(&self.keys).arg(longest.as_secs_f64());
        let answer = take.query_async::<redis::Value>(connection);
        match tokio::time::timeout(longest + Duration::from_secs(1), answer).await {
            Ok(answer) => Ok(answer? != redis::Value::Nil),
            Err(_) => Err(Error::Unreachable("no wake-up and no time-out".into())),
        }
    }
}
