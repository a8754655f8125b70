//! What measurements stand on: a server, cores, other queues, and how much is measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::process::Command;

use super::payload::Payload;
use super::peers::Peers;
use super::task::{Task, Took};
use crate::client;
use crate::cores::Cores;
use crate::machine::Machine;
use crate::servers::RedisServer;

/// Longest run of one side.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct Setup {
    pub(super) server: RedisServer,
    pub(super) cores: Cores,
    pub(super) sizes: Sizes,
    peers: Peers,
    payload: PathBuf,
    _folder: TempDir,
}

/// How many jobs and rounds make a figure.
pub(super) struct Sizes {
    pub(super) rounds: usize,
    /// Jobs accepted one at a time.
    pub(super) one: usize,
    /// Jobs accepted in bulk.
    pub(super) bulk: usize,
    pub(super) drain: usize,
    pub(super) pickups: usize,
    pub(super) memory: usize,
    pub(super) recoveries: usize,
    /// A long queue, and a short one.
    pub(super) deep: usize,
    pub(super) shallow: usize,
    /// Jobs claimed and settled at either depth.
    pub(super) settled: usize,
    pub(super) batch: usize,
    pub(super) claims: usize,
}

impl Sizes {
    const FULL: Self = Self {
        rounds: 5,
        one: 5_000,
        bulk: 40_000,
        drain: 20_000,
        pickups: 300,
        memory: 100_000,
        recoveries: 3,
        deep: 1_000_000,
        shallow: 1_000,
        settled: 500,
        batch: 100_000,
        claims: 1_000,
    };
    const QUICK: Self = Self {
        rounds: 1,
        one: 100,
        bulk: 2_000,
        drain: 200,
        pickups: 5,
        memory: 1_000,
        recoveries: 1,
        deep: 10_000,
        shallow: 1_000,
        settled: 50,
        batch: 1_000,
        claims: 200,
    };
}

impl Setup {
    /// `peers` is where other job queues were put, if not in the usual place.
    pub(super) async fn new(quick: bool, peers: Option<&Path>) -> anyhow::Result<Self> {
        let cores = Cores::find().await;
        let server = RedisServer::start(cores).await?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let payload = folder.path().join("payload.json");
        std::fs::write(&payload, serde_json::to_vec(&Payload::new()?)?)
            .context("cannot write the payload")?;
        let peers = Peers::find(peers).await;
        let sizes = if quick { Sizes::QUICK } else { Sizes::FULL };
        Ok(Self { server, cores, sizes, peers, payload, _folder: folder })
    }

    pub(super) async fn machine(&self) -> Machine {
        let mut machine = Machine::look(self.cores).await.with_redis().await;
        self.peers.describe(&mut machine);
        machine
    }

    /// Has a task done in a process of its own, on the clients' core.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        server: &RedisServer,
        task: &Task,
    ) -> anyhow::Result<T> {
        client::answer(self.client(server, task)?, PATIENCE).await
    }

    pub(super) fn client(&self, server: &RedisServer, task: &Task) -> anyhow::Result<Command> {
        client::command(self.cores, &["client", &server.url(), &serde_json::to_string(task)?])
    }

    /// How many jobs per second our side got done on the emptied server.
    pub(super) async fn rate(&self, task: &Task) -> anyhow::Result<f64> {
        self.server.empty().await?;
        Ok(self.ask::<Took>(&self.server, task).await?.rate())
    }

    /// The same of BullMQ, or none without it; `words` say what to do.
    pub(super) async fn bullmq_on_empty(&self, words: &[String]) -> anyhow::Result<Option<f64>> {
        self.server.empty().await?;
        Ok(self.bullmq(words).await)
    }

    /// The same of BullMQ with what is there.
    pub(super) async fn bullmq(&self, words: &[String]) -> Option<f64> {
        peer(self.peers.bullmq(self.cores, &self.server.url(), &self.payload, words)?).await
    }

    /// The same of apalis.
    pub(super) async fn apalis_on_empty(&self, words: &[String]) -> anyhow::Result<Option<f64>> {
        self.server.empty().await?;
        match self.peers.apalis(self.cores, &self.server.url(), &self.payload, words) {
            Some(command) => Ok(peer(command).await),
            None => Ok(None),
        }
    }
}

/// A program that is not ours may fail; then there is nothing to compare with.
async fn peer(command: Command) -> Option<f64> {
    match client::answer::<Took>(command, PATIENCE).await {
        Ok(took) => Some(took.rate()),
        Err(error) => {
            tracing::warn!("left out: {error:#}");
            None
        }
    }
}
