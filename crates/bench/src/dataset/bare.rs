//! The S3 requests that rows take, and nothing else: through the same client, as many at once, to the same server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use uso_store::{MultipartUpload, Part, Store};

/// Pictures that a worker stores at once, pictures that are fetched at once for a shard, bytes of a part, rows of a
/// segment: as in the product.
const LEAVING: usize = 8;
pub(super) const FETCHED: usize = 16;
const PART: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;
const SEGMENT: usize = 500;

/// Bytes of a sidecar, of an outcome in a segment, and of a row in a row file, about.
const SIDECAR: usize = 2048;
const OUTCOME: usize = 1600;
const ROW: usize = 200;

const BINARY: &str = "application/octet-stream";

/// What is stored.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) rows: u64,
    /// Bytes of a picture.
    pub(super) bytes: u64,
    /// Bytes of its thumbnail.
    pub(super) thumbnail: u64,
    /// Rows of a shard.
    pub(super) shard: usize,
}

/// Does the requests; gives the seconds that it took. Each store is one worker's.
pub(super) async fn run(stores: &[Store], load: Load) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let (sender, receiver) = mpsc::unbounded_channel();
    let next = Arc::new(AtomicU64::new(0));
    let picture = noise(load.bytes as usize);
    let mut makers = JoinSet::new();
    for store in stores.iter().flat_map(|store| std::iter::repeat_n(store, LEAVING)) {
        makers.spawn(make(store.clone(), Arc::clone(&next), load, picture.clone(), sender.clone()));
    }
    drop(sender);
    pack_all(stores, load.shard, receiver).await?;
    while let Some(made) = makers.join_next().await {
        made??;
    }
    Ok(begun.elapsed().as_secs_f64())
}

pub(super) fn noise(bytes: usize) -> Bytes {
    std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect::<Vec<_>>().into()
}

/// Keys of a row's picture, sidecar and thumbnail.
fn keys(row: u64) -> [String; 3] {
    ["png", "json", "webp"].map(|ending| format!("bare/{row:08}/1/0.{ending}"))
}

/// A worker: picture, sidecar and thumbnail, at the same time.
async fn make(
    store: Store,
    next: Arc<AtomicU64>,
    load: Load,
    picture: Bytes,
    made: mpsc::UnboundedSender<u64>,
) -> anyhow::Result<()> {
    let (sidecar, thumbnail) = (noise(SIDECAR), noise(load.thumbnail as usize));
    loop {
        let row = next.fetch_add(1, Ordering::Relaxed);
        if row >= load.rows {
            return Ok(());
        }
        let [picture_key, sidecar_key, thumbnail_key] = keys(row);
        tokio::try_join!(
            store.put(&picture_key, "image/png", picture.clone()),
            store.put(&sidecar_key, "application/json", sidecar.clone()),
            store.put(&thumbnail_key, "image/webp", thumbnail.clone()),
        )?;
        made.send(row).context("nobody packs")?;
    }
}

/// Segments and shards, as rows come.
async fn pack_all(
    stores: &[Store],
    shard: usize,
    mut made: mpsc::UnboundedReceiver<u64>,
) -> anyhow::Result<()> {
    let store = stores.first().context("no store")?;
    let at_once = Arc::new(Semaphore::new(stores.len()));
    let (mut packs, mut rows, mut number) = (JoinSet::new(), Vec::new(), 0);
    loop {
        let row = made.recv().await;
        rows.extend(row);
        let is_full = rows.len() >= shard || (row.is_none() && !rows.is_empty());
        if is_full || (!rows.is_empty() && rows.len().is_multiple_of(SEGMENT)) {
            let outcomes = (rows.len() - 1) % SEGMENT + 1;
            let key = segment(number, (rows.len() - 1) / SEGMENT);
            store.put(&key, BINARY, noise(outcomes * OUTCOME)).await?;
        }
        if is_full {
            let (store, at_once, rows) = (store.clone(), Arc::clone(&at_once), std::mem::take(&mut rows));
            packs.spawn(async move {
                let _permit = at_once.acquire().await?;
                pack(&store, number, &rows).await
            });
            number += 1;
        }
        if row.is_none() {
            break;
        }
    }
    while let Some(packed) = packs.join_next().await {
        packed??;
    }
    Ok(())
}

fn segment(shard: usize, number: usize) -> String {
    format!("bare/segments/{shard}-{number}")
}

/// One shard: pictures are fetched and uploaded in parts, then deleted with their sidecars.
async fn pack(store: &Store, number: usize, rows: &[u64]) -> anyhow::Result<()> {
    let segments = 0..rows.len().div_ceil(SEGMENT);
    for part in segments.clone() {
        store.get(&segment(number, part)).await?;
    }
    let upload = store.begin_upload(&format!("bare/{number:05}.tar"), "application/x-tar").await?;
    let (sender, receiver) = mpsc::channel(1);
    let ((), parts) =
        tokio::try_join!(fetch_all(store, rows, sender), upload_parts(store, &upload, receiver))?;
    store.complete_upload(&upload, &parts).await?;
    // Row file and statistics are written before and after the tar appears.
    for _ in 0..2 {
        store.put(&format!("bare/_meta/{number}.parquet"), BINARY, noise(rows.len() * ROW)).await?;
        store.put(&format!("bare/_meta/{number}.json"), BINARY, noise(SIDECAR)).await?;
    }
    for part in segments {
        store.get(&segment(number, part)).await?;
    }
    let keys: Vec<String> = rows.iter().flat_map(|row| keys(*row)[..2].to_vec()).collect();
    Ok(store.delete_many(&keys).await?)
}

async fn fetch_all(store: &Store, rows: &[u64], parts: mpsc::Sender<Bytes>) -> anyhow::Result<()> {
    let fetched = futures::stream::iter(rows.to_vec()).map(|row| {
        let store = store.clone();
        let fetched = AbortOnDropHandle::new(tokio::spawn(async move { store.get(&keys(row)[0]).await }));
        async move { anyhow::Ok(fetched.await??) }
    });
    let mut fetched = std::pin::pin!(fetched.buffered(FETCHED));
    let mut tar = BytesMut::new();
    while let Some(picture) = fetched.try_next().await? {
        tar.extend_from_slice(&picture);
        while tar.len() >= PART {
            parts.send(tar.split_to(PART).freeze()).await?;
        }
    }
    Ok(parts.send(tar.freeze()).await?)
}

async fn upload_parts(
    store: &Store,
    upload: &MultipartUpload,
    receiver: mpsc::Receiver<Bytes>,
) -> anyhow::Result<Vec<Part>> {
    let parts = futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|bytes| (bytes, receiver))
    });
    let uploaded = parts.zip(futures::stream::iter(1..)).map(|(bytes, number)| {
        let (store, upload) = (store.clone(), upload.clone());
        let uploaded =
            AbortOnDropHandle::new(tokio::spawn(
                async move { store.upload_part(&upload, number, bytes).await },
            ));
        async move { anyhow::Ok(uploaded.await??) }
    });
    uploaded.buffered(PARTS_AT_ONCE).try_collect().await
}
