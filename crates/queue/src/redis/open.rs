//! How one connection is made, within a time.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo};
use tokio::task::JoinSet;

use crate::Error;

/// Longest wait for a connection to be made: a producer must fail fast while Redis is away.
pub(super) const CONNECT: Duration = Duration::from_secs(1);

/// A plain connection without any time-out on its answers.
pub(super) async fn open(info: ConnectionInfo) -> Result<MultiplexedConnection, Error> {
    let client = Client::open(info)?;
    let settings =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
    let connecting = async { Ok(client.get_multiplexed_async_connection_with_config(&settings).await?) };
    // Also bounds the look-up of a name and the greeting.
    within(CONNECT, connecting).await
}

/// Gives an answer that takes longer than `limit` up.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Unreachable(format!("no answer within {} ms", limit.as_millis()))),
    }
}

/// The first good answer of several, asked all at once: some may be gone without a word.
pub(super) async fn first<T: Send + 'static>(
    asked: impl Iterator<Item = impl Future<Output = Result<T, Error>> + Send + 'static>,
) -> Result<T, Error> {
    let mut answers: JoinSet<_> = asked.collect();
    let mut refusal = None;
    while let Some(answer) = answers.join_next().await {
        match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => refusal = Some(error),
            // A panic, which has been reported where it happened.
            Err(_) => {}
        }
    }
    Err(refusal.unwrap_or_else(|| Error::Unreachable("nobody is there to ask".into())))
}
