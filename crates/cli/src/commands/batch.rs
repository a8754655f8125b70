//! `uso batch`: overnight data sets, over the API.

mod control;
mod create;
mod list;
mod progress;
mod pull;
mod span;
mod state;
mod verify;
mod watch;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use serde_json::Value;
use uso_queue::BatchId;

use super::{print, say};
use crate::args::{BatchArgs, BatchCommand};
use crate::causes::told;
use crate::client::Client;

/// The API, and whether answers are JSON.
struct Batches {
    client: Client,
    json: bool,
}

pub(crate) async fn run(args: BatchArgs) -> anyhow::Result<()> {
    // Names and errors may quote text that others have written.
    operate(args).await.map_err(|error| anyhow!(print::safe_lines(&told(&error))))
}

async fn operate(args: BatchArgs) -> anyhow::Result<()> {
    let batches = Batches { client: Client::new(&args.api, args.api_key)?, json: args.json };
    match args.command {
        BatchCommand::Create(args) => batches.create(*args).await,
        BatchCommand::List => batches.list().await,
        BatchCommand::Show(which) => batches.show(&which.batch).await,
        BatchCommand::Watch(which) => batches.watch(&which.batch).await,
        BatchCommand::Pause(which) => batches.control(&which.batch, "pause").await,
        BatchCommand::Resume(which) => batches.control(&which.batch, "resume").await,
        BatchCommand::Cancel(which) => batches.control(&which.batch, "cancel").await,
        BatchCommand::RetryFailed(args) => batches.retry_failed(&args).await,
        BatchCommand::Budget(args) => batches.budget(args).await,
        BatchCommand::Verify(args) => verify::verify(*args, batches.json).await,
        BatchCommand::Export(args) => verify::export(&args, batches.json).await,
        BatchCommand::Pull(args) => batches.pull(&args).await,
    }
}

impl Batches {
    /// Prints the document as JSON, or the text, which must be safe for a terminal.
    fn answer(&self, document: &impl Serialize, text: &str) -> anyhow::Result<()> {
        if self.json { say(&print::json(document)?) } else { say(text.trim_end()) }
    }

    /// The id of a data set, given by id or by name.
    async fn id(&self, text: &str) -> anyhow::Result<String> {
        if text.parse::<BatchId>().is_ok() {
            return Ok(text.to_owned());
        }
        let mut found = None;
        let look = |batch: Value| {
            if batch["dataset"]["name"] == text {
                found = batch["id"].as_str().map(str::to_owned);
            }
            found.is_some()
        };
        self.client.each_listed("/v1/batches", "batches", look).await?;
        found.with_context(|| format!("there is no data set {text}; `uso batch list` shows them"))
    }

    /// Everything that the API tells about a batch.
    async fn view(&self, id: &str) -> anyhow::Result<Value> {
        self.client.get(&format!("/v1/batches/{id}")).await
    }
}
