//! Makes a shard of outcomes, up to the last call that lets it appear.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use uso_queue::BatchId;
use uso_store::{MultipartUpload, Part, Store};

use super::commit::{Intent, IntentPart, commit, digest_of};
use super::pictures::{AT_ONCE, Picture, pictures};
use super::place::blocking;
use super::row::Row;
use super::segments::read_segments;
use super::stats::Stats;
use super::writer::{ShardWriter, Written};
use crate::{Error, Outcome, Split, layout};

/// Size of a part in bytes: equal for all but the last, as some services want it.
const PART: usize = 8 << 20;

/// Parts that are uploaded at once: one stream alone fills neither a network nor a server.
const PARTS_AT_ONCE: usize = 4;

/// What a shard is to be made of.
#[derive(Debug, Clone)]
pub struct Shard {
    /// The batch.
    pub batch: BatchId,
    /// The shard's number, from 0.
    pub number: u32,
    /// Keys of the segments with its rows: all that succeeded belong to it.
    pub segments: Vec<String>,
    /// How rows are split for training.
    pub split: Option<Split>,
}

/// A shard of which all is uploaded; only its tar does not appear yet. Note the [`Intent`], then [`complete`](Self::complete)
/// it.
#[derive(Debug)]
pub struct Prepared {
    /// What has to be known to complete it, by another process too.
    pub intent: Intent,
    /// What is in it.
    pub stats: Stats,
    batch: BatchId,
    row_file: Bytes,
}

/// Fetches the pictures of a shard, uploads its tar but for the last call, and writes row file and statistics. The same
/// segments give the same bytes. None if no row succeeded.
///
/// # Errors
/// [`Error::Unreadable`] or [`Error::Damaged`] for a segment or a picture, [`Error::Taken`] if there is another tar with
/// this number, [`Error::Store`]. What was uploaded is aborted as far as possible.
pub async fn prepare(store: &Store, shard: &Shard) -> Result<Option<Prepared>, Error> {
    let outcomes = read_segments(store, &shard.segments).await?;
    if outcomes.is_empty() {
        return Ok(None);
    }
    let key = layout::dataset(&shard.batch) + &layout::shard(shard.number);
    // Of an earlier try whose end nobody noted.
    let existing = digest_of(store, &key).await?;
    let upload = match existing {
        Some(_) => None,
        None => Some(store.begin_upload(&key, "application/x-tar").await?),
    };
    let prepared = fill(store, shard, outcomes, upload.as_ref(), existing.as_deref()).await;
    if prepared.is_err()
        && let Some(upload) = &upload
        && let Err(error) = store.abort_upload(upload).await
    {
        tracing::warn!(%error, key, "an upload in parts could not be aborted: it is swept later");
    }
    let (written, parts) = prepared?;
    let intent = Intent {
        shard: shard.number,
        key,
        upload: upload.map(|upload| upload.id),
        parts: parts.into_iter().map(|part| IntentPart { tag: part.tag, crc32: part.crc32 }).collect(),
        rows: written.stats.rows,
        bytes: written.stats.bytes,
        sha256: written.stats.sha256.clone(),
    };
    Ok(Some(Prepared { intent, stats: written.stats, batch: shard.batch, row_file: written.row_file }))
}

async fn fill(
    store: &Store,
    shard: &Shard,
    outcomes: Vec<Outcome>,
    upload: Option<&MultipartUpload>,
    existing: Option<&str>,
) -> Result<(Written, Vec<Part>), Error> {
    // One part is made while another is uploaded.
    let (sender, receiver) = mpsc::channel(1);
    let made = write_tar(store, shard, outcomes, sender);
    let (written, parts) = tokio::try_join!(made, upload_parts(store, upload, receiver))?;
    if existing.is_some_and(|digest| digest != written.stats.sha256) {
        return Err(Error::Taken { object: layout::dataset(&shard.batch) + &written.stats.file });
    }
    put_beside(store, &shard.batch, &written.stats, &written.row_file).await?;
    Ok((written, parts))
}

async fn write_tar(
    store: &Store,
    shard: &Shard,
    outcomes: Vec<Outcome>,
    sender: mpsc::Sender<Bytes>,
) -> Result<Written, Error> {
    let mut writer = ShardWriter::new(shard.number);
    // What has come goes into the tar together: it is quicker than going to and fro for each.
    let mut pictures = std::pin::pin!(pictures(store, outcomes).ready_chunks(AT_ONCE));
    while let Some(ready) = pictures.next().await {
        let ready = ready.into_iter().collect::<Result<Vec<_>, _>>()?;
        let split = shard.split.clone();
        let (returned, parts) = blocking(move || {
            let parts = add(&mut writer, ready, split.as_ref());
            (writer, parts)
        })
        .await?;
        writer = returned;
        for part in parts? {
            send(&sender, part).await?;
        }
    }
    let mut written = blocking(move || writer.finish()).await??;
    while !written.last.is_empty() {
        let part = written.last.split_to(PART.min(written.last.len()));
        send(&sender, part).await?;
    }
    Ok(written)
}

/// Adds pictures to a tar; gives the parts that are full then.
fn add(writer: &mut ShardWriter, pictures: Vec<Picture>, split: Option<&Split>) -> Result<Vec<Bytes>, Error> {
    let mut parts = Vec::new();
    for picture in pictures {
        writer.add(Row::of(&picture.outcome, split)?, &picture.bytes, &picture.sha256)?;
        if split.is_some_and(|split| split.is_missing(&picture.outcome.spec.metadata)) {
            writer.count_split_by_key();
        }
        while writer.written() >= PART {
            parts.push(writer.take(PART));
        }
    }
    Ok(parts)
}

async fn send(sender: &mpsc::Sender<Bytes>, part: Bytes) -> Result<(), Error> {
    sender.send(part).await.map_err(|_| Error::Task("the upload of a shard".into()))
}

/// Uploads what comes, several parts at once, or drops it where there is no upload.
async fn upload_parts(
    store: &Store,
    upload: Option<&MultipartUpload>,
    receiver: mpsc::Receiver<Bytes>,
) -> Result<Vec<Part>, Error> {
    let parts = futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|bytes| (bytes, receiver))
    });
    let uploaded = parts.zip(futures::stream::iter(1..)).map(|(bytes, number)| {
        let (store, upload) = (store.clone(), upload.cloned());
        // On a task of its own, which goes on while the next picture is waited for.
        let uploaded = AbortOnDropHandle::new(tokio::spawn(async move {
            match upload {
                Some(upload) => store.upload_part(&upload, number, bytes).await.map(Some),
                None => Ok(None),
            }
        }));
        async move { Ok::<_, Error>(uploaded.await.map_err(|error| Error::Task(error.to_string()))??) }
    });
    let uploaded: Vec<_> = uploaded.buffered(PARTS_AT_ONCE).try_collect().await?;
    Ok(uploaded.into_iter().flatten().collect())
}

/// Writes row file and statistics. Another process that lost its lease may write others over them until the tar appears, so
/// this is done once more after that.
async fn put_beside(store: &Store, batch: &BatchId, stats: &Stats, row_file: &Bytes) -> Result<(), Error> {
    let prefix = layout::dataset(batch);
    let parquet = "application/vnd.apache.parquet";
    store.put(&format!("{prefix}{}", stats.row_file), parquet, row_file.clone()).await?;
    let text = serde_json::to_vec_pretty(stats)
        .map_err(|error| Error::Unreadable { object: "statistics".into(), reason: error.to_string() })?;
    store.put(&(prefix + &layout::stats(stats.shard)), "application/json", text.into()).await?;
    Ok(())
}

impl Prepared {
    /// Lets the tar appear. You can repeat the call.
    ///
    /// # Errors
    /// As [`commit`].
    pub async fn complete(&self, store: &Store) -> Result<(), Error> {
        commit(store, &self.intent).await?;
        put_beside(store, &self.batch, &self.stats, &self.row_file).await
    }
}
