//! A cluster: several primaries, each with some of the slots.
//!
//! Why not the client that redis-rs has for clusters? With `retries(0)` it would be safe: it then neither repeats a
//! command whose answer was lost (a repeated claim takes a second job) nor follows `ASK` (while a slot moves, each
//! of two nodes has a part of a shard's keys). But it has one connection to a node, made by itself, and three things
//! here need more:
//! - blocked reads and `WAIT` need a connection that nobody else uses, and `WAIT` that of the write before it;
//! - a renewal whose connection is silent tries a second one;
//! - a node that has become a primary is checked ([`durability`](super::durability)) before anything is sent to it.
//!
//! A shard whose slot is moving is out of reach until it has arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use redis::ConnectionInfo;
use tokio::time::Instant;

use super::address::at;
use super::node::{Endpoint, Node, lock};
use super::open::{CONNECT, first, open, within};
use super::slots::{NodeName, Slots};
use crate::Error;

/// The primaries of a cluster as far as they are known.
pub(super) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    slots: Mutex<Slots>,
    nodes: Mutex<BTreeMap<NodeName, Arc<Node>>>,
    /// Held by the one caller who asks; holds when the map was last read.
    asking: tokio::sync::Mutex<Option<Instant>>,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>) -> Self {
        Self {
            seeds,
            slots: Mutex::default(),
            nodes: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Who has a slot.
    pub(super) async fn primary(&self, slot: u16) -> Result<Arc<Node>, Error> {
        if let Some(node) = self.known_primary(slot) {
            return Ok(node);
        }
        self.refresh().await?;
        let nobody = || Error::Unreachable(format!("no node of the cluster has slot {slot}"));
        self.known_primary(slot).ok_or_else(nobody)
    }

    fn known_primary(&self, slot: u16) -> Option<Arc<Node>> {
        let name = lock(&self.slots).primary(slot)?.clone();
        Some(self.node(name))
    }

    /// All primaries.
    pub(super) async fn primaries(&self) -> Result<Vec<Arc<Node>>, Error> {
        self.refresh().await?;
        let names: BTreeSet<NodeName> = lock(&self.slots).primaries().into_iter().cloned().collect();
        Ok(names.into_iter().map(|name| self.node(name)).collect())
    }

    /// The primaries that have been spoken to.
    pub(super) fn known(&self) -> Vec<Arc<Node>> {
        lock(&self.nodes).values().cloned().collect()
    }

    fn node(&self, name: NodeName) -> Arc<Node> {
        let mut nodes = lock(&self.nodes);
        let new = |name: &NodeName| Arc::new(Node::new(Endpoint::Fixed(at(&self.seeds[0], &name.0, name.1))));
        nodes.entry(name).or_insert_with_key(new).clone()
    }

    /// Takes in what a node says with `MOVED`.
    pub(super) fn note_moved(&self, slot: u16, address: &str, by: &Arc<Node>) {
        let host = lock(&self.nodes)
            .iter()
            .find(|(_, node)| Arc::ptr_eq(node, by))
            .map(|((host, _), _)| host.clone())
            .unwrap_or_default();
        lock(&self.slots).note_moved(slot, address, &host);
    }

    /// Asks all nodes who has what, and believes the first that answers. Callers that come while one of
    /// them asks wait for that answer.
    pub(super) async fn refresh(&self) -> Result<(), Error> {
        let came = Instant::now();
        let mut asked = self.asking.lock().await;
        if asked.is_some_and(|when| when > came) {
            return Ok(());
        }
        let seeds = self.seeds.iter().filter_map(|seed| seed.addr().to_string().rsplit_once(':').map(own));
        let mut names: BTreeSet<NodeName> = seeds.collect();
        names.extend(lock(&self.slots).nodes.iter().cloned());
        let slots =
            first(names.into_iter().map(|(host, port)| ask(at(&self.seeds[0], &host, port), host))).await?;
        let primaries: BTreeSet<NodeName> = slots.primaries().into_iter().cloned().collect();
        lock(&self.nodes).retain(|name, _| primaries.contains(name));
        *lock(&self.slots) = slots;
        *asked = Some(Instant::now());
        Ok(())
    }
}

fn own((host, port): (&str, &str)) -> NodeName {
    (host.to_owned(), port.parse().unwrap_or_default())
}

async fn ask(node: ConnectionInfo, host: String) -> Result<Slots, Error> {
    let mut connection = open(node).await?;
    let mut ask = redis::cmd("CLUSTER");
    ask.arg("SLOTS");
    let answer = async { Ok(ask.query_async::<redis::Value>(&mut connection).await?) };
    let unreadable = || Error::Unreadable("a cluster's map of slots".into());
    let slots = Slots::read(within(CONNECT, answer).await?, &host).ok_or_else(unreadable)?;
    if slots.primaries().is_empty() {
        // It is not, or not any more, part of the cluster.
        return Err(Error::Unreachable(format!("{host} knows no primaries")));
    }
    Ok(slots)
}
