//! A connection in use, and which one a command gets.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;

use super::node::Node;
use crate::Error;

/// Which connection a command goes over.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    Shared,
    /// One that nobody else uses until it is put back.
    Alone,
    /// One that is made for this command.
    New,
}

/// A connection in use.
pub(super) struct Link {
    pub(super) node: Arc<Node>,
    pub(super) connection: MultiplexedConnection,
    lane: Lane,
    /// Of what time it is: connections of one time break together.
    number: u64,
}

impl Link {
    pub(super) async fn open(node: Arc<Node>, lane: Lane) -> Result<Self, Error> {
        let (connection, number) = match lane {
            Lane::Shared => node.shared().await?,
            Lane::Alone => node.alone().await?,
            Lane::New => node.new_one().await?,
        };
        Ok(Self { node, connection, lane, number })
    }

    pub(super) fn put_back(self) {
        if let Lane::Alone = self.lane {
            self.node.put_back(self.connection);
        }
    }

    pub(super) fn give_up(self) {
        self.node.forget(self.number);
    }
}
