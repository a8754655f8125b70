//! Makes a small data set in a folder, as it is downloaded, for `ops/test-dataset.sh`: through a store of its own, with
//! nothing generated. Shards beside the first are scored, with columns that are null in the first.
//!
//!     make-dataset FOLDER SHARDS [split]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::json;
use uso_dataset::shards::{
    About, ExportLayout, Hashes, Licence, Place, Row, Scores, Shard, ShardWriter, describe, export, prepare,
};
use uso_dataset::{Outcome, Split, layout};
use uso_local::{FolderConfig, FolderServer, S3Keys};
use uso_queue::{BatchId, Defaults, JobSpec};
use uso_store::{Config, Credentials, Store, hexadecimal_sha256};

/// Rows of a shard.
const ROWS: u64 = 12;

type Done<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Done<()> {
    let usage = "usage: make-dataset FOLDER SHARDS [split]";
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or(usage)?;
    let shards: u32 = words.next().ok_or(usage)?.parse()?;
    let split = words.next().map(|_| Split { by: "key".into(), val: 0.25 });

    let data = tempfile::tempdir()?;
    let keys = S3Keys { access_key: "fleet".into(), secret_key: "not-a-secret".into() };
    let root = data.path().join("s3");
    let server = FolderServer::start(FolderConfig { root, port: None, keys, origins: Vec::new() }).await?;
    let credentials = Credentials { access_key: "fleet".into(), secret_key: "not-a-secret".into() };
    let config =
        Config { endpoint: Some(server.endpoint()), credentials: Some(credentials), ..Config::default() };
    let store = Store::connect(config).await?;
    store.ensure_bucket().await?;

    let batch: BatchId = "0-01900000-0000-7000-8000-0000000000ff".parse()?;
    for number in 0..shards {
        match number {
            0 => pack(&store, &batch, split.clone()).await?,
            _ => write_scored(&store, &batch, number, split.as_ref()).await?,
        }
    }
    let licences = vec![Licence { name: "FLUX.1-dev".into(), licence: None }];
    let about = About { name: "cups".into(), licences, split, ..About::default() };
    describe(&store, &batch, &(0..shards).collect::<BTreeSet<_>>(), &about, &mut Hashes::default()).await?;

    let folder = Path::new(&folder);
    download(&store, &layout::dataset(&batch), &folder.join("shards")).await?;
    for (name, layout) in [("imagefolder", ExportLayout::ImageFolder), ("files", ExportLayout::Files)] {
        let to = folder.join(name);
        if to.exists() {
            std::fs::remove_dir_all(&to)?;
        }
        export(&Place::Folder(folder.join("shards")), &to, layout).await?;
    }
    server.stop().await;
    Ok(())
}

/// Packs a shard as workers do.
async fn pack(store: &Store, batch: &BatchId, split: Option<Split>) -> Done<()> {
    let mut lines = String::new();
    for row in 0..ROWS {
        let picture = picture(row)?;
        let outcome = outcome(row, &picture)?;
        let uri = outcome.output.as_ref().map(|output| output.uri.clone()).unwrap_or_default();
        store.put(uri.trim_start_matches("s3://uso/"), "image/png", picture.into()).await?;
        lines += &(serde_json::to_string(&outcome)? + "\n");
    }
    let segment = layout::segment(batch, 0, 1);
    store.put(&segment, "application/jsonl", lines.into()).await?;
    let shard = Shard { batch: *batch, number: 0, segments: vec![segment], split };
    let prepared = prepare(store, &shard).await?.ok_or("there are rows")?;
    Ok(prepared.complete(store).await?)
}

/// Writes a shard whose rows are scored.
async fn write_scored(store: &Store, batch: &BatchId, number: u32, split: Option<&Split>) -> Done<()> {
    let mut writer = ShardWriter::new(number);
    let mut tar = Vec::new();
    for row in u64::from(number) * ROWS..u64::from(number + 1) * ROWS {
        let picture = picture(row)?;
        let mut scored = Row::of(&outcome(row, &picture)?, split)?;
        scored.scores = Scores { dino: Some(1.0), clip_t: Some(0.25), ..Scores::default() };
        scored.phash = Some(format!("{row:016x}"));
        tar.extend(writer.push(scored, &picture)?);
    }
    let written = writer.finish()?;
    tar.extend(&written.last);
    let prefix = layout::dataset(batch);
    store.put(&format!("{prefix}{}", written.stats.file), "application/x-tar", tar.into()).await?;
    let row_file = format!("{prefix}{}", written.stats.row_file);
    store.put(&row_file, "application/vnd.apache.parquet", written.row_file).await?;
    let stats = serde_json::to_vec(&written.stats)?;
    store.put(&(prefix + &layout::stats(number)), "application/json", stats.into()).await?;
    Ok(())
}

async fn download(store: &Store, prefix: &str, to: &Path) -> Done<()> {
    std::fs::create_dir_all(to.join("_meta"))?;
    for object in store.list(prefix).await? {
        std::fs::write(to.join(&object.key[prefix.len()..]), store.get(&object.key).await?)?;
    }
    Ok(())
}

fn picture(row: u64) -> Done<Vec<u8>> {
    let pixel = |x: u32, y: u32| Rgb([(x * 3) as u8, (y * 5) as u8, (row * 7) as u8]);
    let mut file = Cursor::new(Vec::new());
    RgbImage::from_fn(48, 32, pixel).write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}

/// What became of a row; those of the first shard have neither references nor LoRAs nor metadata.
fn outcome(row: u64, picture: &[u8]) -> Done<Outcome> {
    let mut body =
        json!({ "prompt": format!("a cup, number {row}"), "seed": row, "width": 48, "height": 32 });
    if row >= ROWS {
        body["content"] = "s3://uso/references/cup.png".into();
        body["styles"] = json!(["s3://uso/references/a.png"]);
        body["loras"] = json!([{ "name": "ink", "weight": 1.0 }]);
        body["metadata"] = json!({ "subject": "cup", "n": row });
        body["guidance"] = 3.5.into();
    }
    let spec = JobSpec::parse(&body, &Defaults::default()).map_err(|errors| format!("{errors:?}"))?;
    let job = format!("0-01900000-0000-7000-8000-{row:012x}");
    Ok(serde_json::from_value(json!({
        "row": row, "key": format!("cup-{row:04}"), "job": job, "state": "succeeded", "spec": spec,
        "output": {
            "uri": format!("s3://uso/jobs/{job}/1/0.png"), "sidecar": format!("s3://uso/jobs/{job}/1/0.json"),
            "width": 48, "height": 32, "bytes": picture.len(), "sha256": hexadecimal_sha256(picture),
            "content_type": "image/png", "receipt": { "device_ms": 1200, "model": "flux.1-dev + uso" },
        },
        "attempt": 1, "submitted_ms": 1_700_000_000_000_u64, "finished_ms": 1_700_000_009_000_u64,
    }))?)
}
