//! `uso queue dead`.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use uso_queue::{DeadLetter, LetterId};

use super::Operator;
use super::print::{Table, age, bytes, or_none, time};
use crate::args::DeadCommand;
use crate::commands::save;

impl Operator {
    pub(super) async fn dead(&self, command: DeadCommand) -> anyhow::Result<()> {
        match command {
            DeadCommand::List { limit } => self.letters(limit).await,
            DeadCommand::Show { id, raw } => self.letter(&id.parse()?, raw.as_deref()).await,
            DeadCommand::Retry { id } => self.retry_letter(&id.parse()?).await,
            DeadCommand::Drop { id } => self.drop_letter(&id.parse()?).await,
        }
    }

    async fn letters(&self, limit: usize) -> anyhow::Result<()> {
        let mut letters = self.queue.dead_letters(limit).await?;
        letters.truncate(limit);
        let now_ms = self.queue.now_ms().await?;
        let mut table = Table::new(&["letter", "reason", "job", "bytes", "age"]);
        for letter in &letters {
            let (job, size) = (or_none(letter.job), letter.raw.len().to_string());
            let age = age(now_ms, letter.id.at_ms());
            table.row([letter.id.to_string(), letter.reason.clone(), job, size, age]);
        }
        let text = if letters.is_empty() { "no dead letters".into() } else { table.to_string() };
        self.answer(&letters.iter().map(document).collect::<Vec<_>>(), &text)
    }

    async fn letter(&self, id: &LetterId, raw: Option<&Path>) -> anyhow::Result<()> {
        let letter = self.queue.dead_letter(id).await?.with_context(|| no_such_letter(id))?;
        if let Some(file) = raw {
            save(file, &letter.raw)?;
        }
        let mut table = Table::bare();
        table.row(["letter", &letter.id.to_string()]);
        table.row(["reason", &letter.reason]);
        table.row(["job", &or_none(letter.job)]);
        table.row(["since", &time(letter.id.at_ms())]);
        table.row(["bytes", &letter.raw.len().to_string()]);
        let mut document = document(&letter);
        document["raw_hex"] = hex::encode(&letter.raw).into();
        self.answer(&document, &format!("{table}\n{}", bytes(&letter.raw)))
    }

    async fn retry_letter(&self, id: &LetterId) -> anyhow::Result<()> {
        let retried = self.queue.retry_dead_letter(id).await?.with_context(|| no_such_letter(id))?;
        self.retried(&format!("dead letter {id}"), retried)
    }

    async fn drop_letter(&self, id: &LetterId) -> anyhow::Result<()> {
        if !self.queue.drop_dead_letter(id).await? {
            bail!(no_such_letter(id));
        }
        self.answer(
            &json!({ "id": id.to_string(), "dropped": true }),
            &format!("dead letter {id} is dropped"),
        )
    }
}

fn document(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id.to_string(),
        "reason": letter.reason,
        "job": letter.job,
        "at_ms": letter.id.at_ms(),
        "bytes": letter.raw.len(),
    })
}

fn no_such_letter(id: &LetterId) -> String {
    format!("there is no dead letter {id}")
}
