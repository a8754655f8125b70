//! Rows on their way to the fleet, a chunk after the other.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::sync::Arc;

use anyhow::ensure;
use serde::Serialize;
use tokio::sync::mpsc::{self, Receiver};
use uso_dataset::Error;
use uso_dataset::rows::{BadRow, CHUNK_ROWS, Digest, Row};
use uso_queue::{FieldError, JobSpec};

use super::bad_rows::BadRows;
use super::input::Input;
use super::local::LocalPictures;
use super::new_rows::NewRows;
use super::uploads::Uploads;
use crate::client::{BadLine, Client, RowId, Sent};

/// Chunks that are read ahead.
pub(super) const AHEAD: usize = 2;
/// Bytes of a request after which it takes no more rows.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// How sending ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The batch has all rows.
    AllThere,
    /// Somebody else has added other rows.
    Differs,
}

/// Adds rows to a batch, in order.
pub(super) struct Sender<'a> {
    pub(super) client: &'a Client,
    pub(super) id: &'a str,
    /// Rows that the batch has.
    pub(super) rows: u64,
    /// Chunks that they lie in.
    chunks: u64,
    /// Rows that somebody else has added meanwhile, and that are the same.
    pub(super) passed: u64,
    pub(super) uploads: Uploads,
    /// Leaves out rows that the fleet does not take, instead of ending.
    pub(super) skips_bad: bool,
    /// Rows that the fleet does not take.
    pub(super) bad: BadRows,
    /// Rows that come next.
    pending: VecDeque<Row>,
}

/// A row as it is sent.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    digest: Digest,
    #[serde(flatten)]
    job: &'a JobSpec,
}

impl<'a> Sender<'a> {
    /// A sender to a batch that has rows in chunks. What is wrong with rows goes to `bad`; unless it `skips_bad` ones,
    /// that ends it.
    pub(super) fn new(client: &'a Client, id: &'a str, skips_bad: bool, bad: BadRows) -> Self {
        let (uploads, pending) = (Uploads::default(), VecDeque::new());
        Self { client, id, rows: 0, chunks: 0, passed: 0, uploads, skips_bad, bad, pending }
    }

    /// Begins with a batch that has so many rows in so many chunks.
    pub(super) fn begin(&mut self, rows: u64, chunks: u64) {
        (self.rows, self.chunks, self.passed) = (rows, chunks, 0);
        self.pending.clear();
    }

    /// Adds the new rows of a manifest.
    pub(super) async fn send(&mut self, input: &Arc<Input>, new: NewRows) -> anyhow::Result<Ended> {
        let (chunks_in, mut chunks) = mpsc::channel(AHEAD);
        let reader = tokio::task::spawn_blocking({
            let input = input.clone();
            move || read(&input, &new, &chunks_in)
        });
        let ended = self.send_chunks(&mut chunks, input.pictures()).await;
        // The reader ends if nobody takes what it reads.
        drop(chunks);
        let read = reader.await?;
        match ended {
            Ok(Ended::AllThere) => read.map(|()| Ended::AllThere),
            other => other,
        }
    }

    async fn send_chunks(
        &mut self,
        chunks: &mut Receiver<Vec<Row>>,
        pictures: &Arc<LocalPictures>,
    ) -> anyhow::Result<Ended> {
        loop {
            self.fill(chunks, CHUNK_ROWS).await;
            if self.pending.is_empty() {
                return Ok(Ended::AllThere);
            }
            let (body, rows) = self.body(pictures).await?;
            let mut tries = 0;
            let sent = async || {
                tries += 1;
                self.client.send_rows(self.id, self.rows, &body).await
            };
            match self.client.patiently(sent).await? {
                Sent::Added { rows: now, fresh } => {
                    let expected = self.rows + rows as u64;
                    ensure!(now == expected, "the batch has {now} rows, {expected} are expected");
                    self.advance(rows);
                    // After a lost answer they are most likely there by the request before.
                    if !fresh && tries == 1 {
                        self.passed += rows as u64;
                    }
                }
                Sent::Bad(lines) => {
                    self.take_out(&lines);
                    ensure!(
                        self.skips_bad,
                        "{}nothing was started; --on-bad skip leaves bad rows out",
                        self.bad
                    );
                }
                Sent::Moved(_) if self.catch_up(chunks).await? => {}
                Sent::Moved(_) => return Ok(Ended::Differs),
            }
        }
    }

    /// Takes rows from the reader until there are so many, or no more.
    async fn fill(&mut self, chunks: &mut Receiver<Vec<Row>>, rows: usize) {
        while self.pending.len() < rows {
            let Some(chunk) = chunks.recv().await else { return };
            self.pending.extend(chunk);
        }
    }

    /// The next rows as a request, and how many they are. Uploads their pictures first.
    async fn body(&mut self, pictures: &Arc<LocalPictures>) -> anyhow::Result<(Vec<u8>, usize)> {
        let next = self.pending.iter().take(CHUNK_ROWS);
        self.uploads.add(self.client, pictures, next).await?;
        let (mut body, mut rows) = (Vec::new(), 0);
        for row in self.pending.iter_mut().take(CHUNK_ROWS) {
            if body.len() > MOST_BYTES {
                break;
            }
            self.uploads.apply(row)?;
            write_line(row, &mut body)?;
            rows += 1;
        }
        Ok((body, rows))
    }

    /// Takes rows out that the fleet does not take.
    fn take_out(&mut self, lines: &[BadLine]) {
        let mut faults: BTreeMap<u64, Vec<FieldError>> = BTreeMap::new();
        for BadLine { line, pointer, message } in lines {
            let fault = FieldError { pointer: pointer.clone(), code: "refused", message: message.clone() };
            faults.entry(*line).or_default().push(fault);
        }
        let before = self.bad.count;
        for (taken, (line, faults)) in faults.into_iter().enumerate() {
            let place = line.checked_sub(1 + taken as u64);
            if let Some(row) = place.and_then(|place| self.pending.remove(place as usize)) {
                self.bad.add(BadRow { line: row.line, faults });
            }
        }
        // Lines that were not sent would be asked for again and again.
        self.skips_bad &= self.bad.count > before;
    }

    /// Passes over rows that somebody else has added meanwhile, if they are the next ones here.
    async fn catch_up(&mut self, chunks: &mut Receiver<Vec<Row>>) -> anyhow::Result<bool> {
        let mut any = false;
        loop {
            let number = self.chunks;
            let there = self.client.patiently(async || self.client.chunk(self.id, number).await).await?;
            let Some(there) = there else { return Ok(any) };
            self.fill(chunks, there.len()).await;
            if !are_next(&self.pending, &there) {
                return Ok(false);
            }
            self.advance(there.len());
            self.passed += there.len() as u64;
            any = true;
        }
    }

    /// The batch has a chunk more with the next rows.
    fn advance(&mut self, rows: usize) {
        self.pending.drain(..rows);
        self.rows += rows as u64;
        self.chunks += 1;
    }
}

pub(super) fn write_line(row: &Row, body: &mut Vec<u8>) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *body, &Line { key: &row.key, digest: row.digest, job: &row.job })?;
    body.write_all(b"\n")?;
    Ok(())
}

/// Whether the rows that are there are the next ones.
fn are_next(pending: &VecDeque<Row>, there: &[RowId]) -> bool {
    let same = |(next, there): (&Row, &RowId)| next.key == there.key && next.digest == there.digest;
    pending.len() >= there.len() && pending.iter().zip(there).all(same)
}

/// Reads the new rows of a manifest, and gives them away in chunks. Blocks.
pub(super) fn read(input: &Input, new: &NewRows, chunks: &mpsc::Sender<Vec<Row>>) -> anyhow::Result<()> {
    let (mut chunk, mut number) = (Vec::with_capacity(CHUNK_ROWS), 0);
    let unwanted = || Error::Task("nobody takes the rows".to_owned());
    input.each_row(|row| {
        // Bad rows are left out; if they were to be refused, it does not come to this.
        let Ok(row) = row else { return Ok(()) };
        if new.contains(number) {
            chunk.push(row);
        }
        number += 1;
        if chunk.len() == CHUNK_ROWS {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_ROWS));
            chunks.blocking_send(full).map_err(|_| unwanted())?;
        }
        Ok(())
    })?;
    if !chunk.is_empty() {
        chunks.blocking_send(chunk).map_err(|_| unwanted())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};
    use uso_dataset::rows::{Checker, Options, RawRow};
    use uso_queue::Defaults;

    use super::*;

    fn row(fields: Value) -> Row {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        let raw = RawRow { line: 1, fields, labels: Map::new() };
        Checker::new(Defaults::default(), Options::default()).check(raw).unwrap()
    }

    #[test]
    fn a_row_that_is_sent_is_the_same_row_there() {
        let time = "2100-01-01T00:00:00Z";
        let mut sent = row(json!({
            "prompt": "a", "content": "s3://a/b", "styles": ["s3://a/c"], "metadata": { "subject": "fox" },
            "not_before": time, "webhook": "https://example.com/hook", "steps": 7, "priority": 3,
        }));
        sent.digest = Digest([7; 16]);
        let mut body = Vec::new();
        write_line(&sent, &mut body).unwrap();
        let there = row(serde_json::from_slice(&body).unwrap());
        assert_eq!((&there.key, there.digest, &there.job), (&sent.key, sent.digest, &sent.job));
        assert_eq!(there.group, sent.group);
    }

    #[test]
    fn rows_that_the_fleet_does_not_take_are_named_by_their_lines() {
        let client = Client::new("http://127.0.0.1:9", None).unwrap();
        let mut sender = Sender::new(&client, "0-a", true, BadRows::new("line"));
        sender.pending = (0..4)
            .map(|seed| Row { line: 10 + seed, ..row(json!({ "prompt": "a", "seed": seed })) })
            .collect();
        let bad = |line, message: &str| BadLine { line, pointer: "/content".into(), message: message.into() };
        sender.take_out(&[bad(2, "is missing"), bad(4, "is too large")]);
        assert_eq!(sender.bad.to_string(), "line 11: content: is missing\nline 13: content: is too large\n");
        assert_eq!(sender.pending.iter().map(|row| row.line).collect::<Vec<_>>(), [10, 12]);
        assert!(sender.skips_bad);
        sender.take_out(&[bad(9, "is missing")]);
        assert!(!sender.skips_bad, "it would go on for ever");
    }

    #[test]
    fn only_the_next_rows_are_passed_over() {
        let rows: VecDeque<Row> = (0..4).map(|seed| row(json!({ "prompt": "a", "seed": seed }))).collect();
        let ids = |rows: &[&Row]| -> Vec<RowId> {
            rows.iter().map(|row| RowId { key: row.key.clone(), digest: row.digest }).collect()
        };
        assert!(are_next(&rows, &ids(&[&rows[0], &rows[1]])));
        assert!(are_next(&rows, &ids(&[])));
        assert!(!are_next(&rows, &ids(&[&rows[1], &rows[0]])));
        assert!(!are_next(&rows, &ids(&[&rows[0], &rows[1], &rows[2], &rows[3], &rows[0]])));
        let changed = RowId { digest: Digest([0; 16]), ..ids(&[&rows[0]])[0].clone() };
        assert!(!are_next(&rows, &[changed]));
    }
}
