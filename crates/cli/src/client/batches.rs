//! Data sets over the API. Every call here is safe to repeat.

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use uso_dataset::rows::Digest;

use super::{BadLine, Client, Refused};

/// What became of rows that were sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The batch has so many rows now. Unless these are `fresh`, they were there before.
    Added { rows: u64, fresh: bool },
    /// Nothing was added: the batch has so many rows, not those that were expected.
    Moved(u64),
    /// Nothing was added: the fleet does not take some of the rows.
    Bad(Vec<BadLine>),
}

/// What became of rows that were to be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// All but these, each a key and why it stays.
    Done(Vec<(String, String)>),
    /// Nothing was replaced: the fleet does not take some of the rows.
    Bad(Vec<BadLine>),
}

/// A row that the batch has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct RowId {
    pub(crate) key: String,
    pub(crate) digest: Digest,
}

impl Client {
    /// Adds rows, a line of JSON each, behind the first `from` rows of a batch.
    pub(crate) async fn send_rows(&self, id: &str, from: u64, rows: &[u8]) -> anyhow::Result<Sent> {
        let path = format!("/v1/batches/{id}/rows?from={from}");
        let request = self.request(Method::PUT, &path).header("content-type", "application/x-ndjson");
        let answer = self.accepted(request.body(rows.to_vec()).send().await).await;
        match answer {
            Ok(answer) => {
                let answer: Value = answer.json().await?;
                // Versions before do not say so.
                let fresh = answer["fresh"] != false;
                Ok(Sent::Added { rows: rows_of(&answer["rows"])?, fresh })
            }
            Err(error) => match error.downcast_ref::<Refused>() {
                Some(refused) if refused.is(StatusCode::CONFLICT, "rows_moved") => {
                    Ok(Sent::Moved(rows_of(refused.field("rows"))?))
                }
                Some(refused) => match refused.bad_lines() {
                    Some(bad) => Ok(Sent::Bad(bad)),
                    None => Err(error),
                },
                None => Err(error),
            },
        }
    }

    /// Has rows of a chunk ask for something else: a line of JSON each.
    pub(crate) async fn replace_rows(&self, id: &str, chunk: u64, rows: &[u8]) -> anyhow::Result<Replaced> {
        let path = format!("/v1/batches/{id}/chunks/{chunk}");
        let request = self.request(Method::PUT, &path).header("content-type", "application/x-ndjson");
        let answer = match self.accepted(request.body(rows.to_vec()).send().await).await {
            Ok(answer) => answer.json::<Value>().await?,
            Err(error) => match error.downcast_ref::<Refused>().and_then(Refused::bad_lines) {
                Some(bad) => return Ok(Replaced::Bad(bad)),
                None => return Err(error),
            },
        };
        let word = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let kept = answer["kept"].as_array().context("the API's answer has no kept rows")?.iter();
        Ok(Replaced::Done(kept.map(|row| (word(row, "key"), word(row, "message"))).collect()))
    }

    /// Drops the rows behind the first `from` ones, none of which is started.
    pub(crate) async fn discard_rows(&self, id: &str, from: u64) -> anyhow::Result<()> {
        let path = format!("/v1/batches/{id}/rows?from={from}");
        let answer = self.request(Method::DELETE, &path).send().await;
        self.accepted(answer).await.map(drop)
    }

    /// Lets the first rows of a batch be queued.
    pub(crate) async fn start_batch(&self, id: &str, rows: u64) -> anyhow::Result<()> {
        self.post(&format!("/v1/batches/{id}/start"), &json!({ "rows": rows })).await.map(drop)
    }

    /// The rows of a chunk of a batch, or none behind the last.
    pub(crate) async fn chunk(&self, id: &str, number: u64) -> anyhow::Result<Option<Vec<RowId>>> {
        let answer = self.request(Method::GET, &format!("/v1/batches/{id}/chunks/{number}")).send().await;
        let text = match self.accepted(answer).await {
            Ok(answer) => answer.bytes().await?,
            Err(error) => match error.downcast_ref::<Refused>() {
                Some(refused) if refused.is(StatusCode::NOT_FOUND, "") => return Ok(None),
                _ => return Err(error),
            },
        };
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let rows: Result<_, _> = lines.map(serde_json::from_slice).collect();
        rows.map(Some).with_context(|| format!("chunk {number} of batch {id} is not understood"))
    }

    /// Calls `each` with all items that the API lists under `name`, page by page, until it returns true.
    pub(crate) async fn each_listed(
        &self,
        path: &str,
        name: &str,
        mut each: impl FnMut(Value) -> bool,
    ) -> anyhow::Result<()> {
        let mut cursor: Option<String> = None;
        loop {
            let query = cursor.as_ref().map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
            let mut page = self.get(&format!("{path}{query}")).await?;
            let Some(items) = page[name].as_array_mut() else {
                bail!("the API's answer has no {name}");
            };
            if std::mem::take(items).into_iter().any(&mut each) {
                return Ok(());
            }
            match page["next"].as_str() {
                Some(next) if cursor.as_deref() != Some(next) => cursor = Some(next.to_owned()),
                _ => return Ok(()),
            }
        }
    }
}

fn rows_of(value: &Value) -> anyhow::Result<u64> {
    value.as_u64().context("the API's answer has no number of rows")
}
