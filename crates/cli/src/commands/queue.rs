//! `uso queue`, for operators. It talks to Redis alone, because it is needed when the API is down.

mod control;
mod dead;
mod inspect;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use uso_queue::{JobId, Queue};

use super::{print, say};
use crate::args::{QueueArgs, QueueCommand};
use crate::causes::told;

/// The queue, and whether answers are JSON.
struct Operator {
    queue: Queue,
    json: bool,
}

pub(crate) async fn run(args: QueueArgs) -> anyhow::Result<()> {
    // An error may quote text that others have put into the queue.
    operate(args).await.map_err(|error| anyhow!(print::safe(&told(&error))))
}

async fn operate(args: QueueArgs) -> anyhow::Result<()> {
    let url = args.redis.context("no Redis is given: use --redis or set USO_REDIS")?;
    let queue = Queue::connect(args.options.config(&url)).await?;
    let operator = Operator { queue, json: args.json };
    match args.command {
        QueueCommand::Stats => operator.stats().await,
        QueueCommand::List(args) => operator.list(args).await,
        QueueCommand::Show { id } => operator.show(&id).await,
        QueueCommand::Cancel(which) => operator.cancel(which).await,
        QueueCommand::Retry(which) => operator.retry(which).await,
        QueueCommand::Pause(scope) => operator.set_paused(scope, true).await,
        QueueCommand::Resume(scope) => operator.set_paused(scope, false).await,
        QueueCommand::Limits(args) => operator.limits(args).await,
        QueueCommand::Window(args) => operator.window(args).await,
        QueueCommand::Dead(command) => operator.dead(command).await,
        QueueCommand::Audit => operator.audit().await,
        QueueCommand::Workers => operator.workers().await,
    }
}

impl Operator {
    /// Prints the document as JSON, or the text, which must be safe for a terminal.
    fn answer(&self, document: &impl Serialize, text: &str) -> anyhow::Result<()> {
        if self.json { say(&print::json(document)?) } else { say(text.trim_end()) }
    }
}

fn no_such_job(id: &JobId) -> String {
    format!("there is no job {id}, or its record has expired")
}
