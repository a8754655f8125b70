//! How an idle worker learns of work without asking all the time.

use std::time::Duration;

use redis::aio::MultiplexedConnection;

use crate::{Error, Queue};

/// Wake-ups for one worker, over a connection of its own.
///
/// Each new job puts one token into a list, and Redis gives a token to the one worker that has waited
/// longest. A token says only "look": one may be lost with a connection, so a worker looks about
/// every second without any.
pub struct Wakeups {
    queue: Queue,
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
        let keys = self.shards().map(|shard| self.key(shard, list)).collect();
        Wakeups { queue: self.clone(), keys, connection: None }
    }
}

impl Wakeups {
    /// Returns when there may be work, at the latest after `longest`, also while Redis is away.
    pub async fn wait(&mut self, longest: Duration) {
        let deadline = tokio::time::Instant::now() + longest;
        if let Err(error) = self.token(longest).await {
            tracing::debug!(%error, "no wake-ups for now");
            self.connection = None;
            tokio::time::sleep_until(deadline).await;
        }
    }

    async fn token(&mut self, longest: Duration) -> Result<(), Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.queue.waiting_connection().await?),
        };
        let mut take = redis::cmd("BLPOP");
        take.arg(&self.keys).arg(longest.as_secs_f64());
        let answer = take.query_async::<redis::Value>(connection);
        match tokio::time::timeout(longest + Duration::from_secs(1), answer).await {
            Ok(answer) => answer.map(|_| ()).map_err(Error::from),
            Err(_) => Err(Error::Unreachable("no wake-up and no time-out".into())),
        }
    }
}
