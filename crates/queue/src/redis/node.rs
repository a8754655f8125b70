//! One primary: a connection that all callers share, and some that serve one caller at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::ConnectionInfo;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use super::durability::{self, Durability};
use super::open::{open, within};
use super::sentinel::Sentinels;
use crate::Error;

/// Longest wait for what a server says of itself.
const INSPECT: Duration = Duration::from_secs(3);

/// Where a primary is.
pub(super) enum Endpoint {
    Fixed(ConnectionInfo),
    /// Asked anew for each connection: that is how a process follows a fail-over.
    Watched(Sentinels),
}

/// One primary.
pub(crate) struct Node {
    endpoint: Endpoint,
    shared: Mutex<Shared>,
    /// Held by the one caller who connects; holds how the last attempt failed.
    connecting: tokio::sync::Mutex<Option<(Instant, String)>>,
    /// Connections that wait for the next caller who needs one alone.
    idle: Mutex<Vec<MultiplexedConnection>>,
}

#[derive(Default)]
struct Shared {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that whoever finds one broken drops that one and not its successor.
    number: u64,
    durability: Option<Durability>,
}

impl Node {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            shared: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
        }
    }

    /// The shared connection and its number, made if there is none. Callers that come while one of them
    /// tries wait for that attempt, and share its failure.
    pub(super) async fn shared(&self) -> Result<(MultiplexedConnection, u64), Error> {
        let came = Instant::now();
        if let Some(found) = self.current() {
            return Ok(found);
        }
        let mut failed = self.connecting.lock().await;
        if let Some(found) = self.current() {
            return Ok(found);
        }
        if let Some((_, reason)) = failed.as_ref().filter(|(when, _)| *when > came) {
            return Err(Error::Unreachable(reason.clone()));
        }
        match self.connect().await {
            Ok((connection, durability)) => {
                let mut shared = lock(&self.shared);
                shared.number += 1;
                shared.durability = Some(durability);
                shared.connection = Some(connection.clone());
                Ok((connection, shared.number))
            }
            Err(error) => {
                *failed = Some((Instant::now(), error.to_string()));
                Err(error)
            }
        }
    }

    fn current(&self) -> Option<(MultiplexedConnection, u64)> {
        let shared = lock(&self.shared);
        shared.connection.clone().map(|connection| (connection, shared.number))
    }

    /// Forgets all connections of the time of shared connection `number`, because one of them broke or leads
    /// to a server that is no primary any more.
    pub(super) fn forget(&self, number: u64) {
        let mut shared = lock(&self.shared);
        if shared.number == number {
            shared.connection = None;
            lock(&self.idle).clear();
        }
    }

    /// A connection for one caller alone, to be given back with [`Node::put_back`], and its time.
    pub(super) async fn alone(&self) -> Result<(MultiplexedConnection, u64), Error> {
        let number = lock(&self.shared).number;
        let idle = lock(&self.idle).pop();
        match idle {
            Some(connection) => Ok((connection, number)),
            None => Ok((self.connect().await?.0, number)),
        }
    }

    /// A connection that is made now, and its time.
    pub(super) async fn new_one(&self) -> Result<(MultiplexedConnection, u64), Error> {
        let number = lock(&self.shared).number;
        Ok((self.connect().await?.0, number))
    }

    /// Forgets the shared connection, because a new one answers where it is silent.
    pub(super) fn forget_shared(&self) {
        let number = lock(&self.shared).number;
        self.forget(number);
    }

    pub(super) fn put_back(&self, connection: MultiplexedConnection) {
        lock(&self.idle).push(connection);
    }

    /// Connects, and refuses a server that would lose what it accepts. Answers may take any time: whoever
    /// waits for one says how long.
    pub(super) async fn connect(&self) -> Result<(MultiplexedConnection, Durability), Error> {
        let info = match &self.endpoint {
            Endpoint::Fixed(info) => info.clone(),
            Endpoint::Watched(sentinels) => sentinels.primary().await?,
        };
        let address = info.addr().to_string();
        let connection = open(info).await?;
        let durability = within(INSPECT, durability::inspect(&connection, &address)).await?;
        Ok((connection, durability))
    }

    /// Reads the server's settings again.
    pub(super) async fn inspect(&self) -> Result<(), Error> {
        let address = match &self.endpoint {
            Endpoint::Fixed(info) => info.addr().to_string(),
            Endpoint::Watched(_) => "the primary".into(),
        };
        let (connection, _) = self.shared().await?;
        let durability = within(INSPECT, durability::inspect(&connection, &address)).await?;
        let before = lock(&self.shared).durability.replace(durability);
        if before.is_some_and(|before| before != durability) {
            tracing::warn!(address, "durability has changed: {durability}");
        }
        Ok(())
    }

    /// What the server promised when it was last inspected.
    pub(super) fn durability(&self) -> Option<Durability> {
        lock(&self.shared).durability
    }
}

/// Nothing that is done under these locks can leave half a change behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
