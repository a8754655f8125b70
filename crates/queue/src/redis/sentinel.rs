//! Sentinels: who is the primary now.

use redis::ConnectionInfo;

use super::address::at;
use super::open::{CONNECT, first, open, within};
use crate::Error;

/// The sentinels that watch one primary and its replicas.
pub(super) struct Sentinels {
    sentinels: Vec<ConnectionInfo>,
    service: String,
    server: ConnectionInfo,
}

impl Sentinels {
    pub(super) fn new(sentinels: Vec<ConnectionInfo>, service: String, server: ConnectionInfo) -> Self {
        Self { sentinels, service, server }
    }

    /// Whom the first sentinel that answers calls the primary.
    pub(super) async fn primary(&self) -> Result<ConnectionInfo, Error> {
        let ask = |sentinel: &ConnectionInfo| ask(sentinel.clone(), self.service.clone());
        let (host, port) = first(self.sentinels.iter().map(ask)).await?;
        Ok(at(&self.server, &host, port))
    }
}

async fn ask(sentinel: ConnectionInfo, service: String) -> Result<(String, u16), Error> {
    let address = sentinel.addr().to_string();
    let mut connection = open(sentinel).await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&service);
    let answer = async { Ok(ask.query_async::<Option<(String, u16)>>(&mut connection).await?) };
    let unknown = || Error::Unreachable(format!("the sentinel {address} does not know {service}"));
    within(CONNECT, answer).await?.ok_or_else(unknown)
}
