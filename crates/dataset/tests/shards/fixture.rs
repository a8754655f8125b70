//! Pictures, outcomes and places for the tests.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;
use uso_dataset::shards::{Index, Row, ShardWriter, Stats};
use uso_dataset::{Outcome, Split, layout};
use uso_local::{FolderConfig, FolderServer, S3Keys};
use uso_queue::{BatchId, Defaults, JobSpec};
use uso_store::{Config, Credentials, Store, hexadecimal_sha256};

/// An S3 server over a folder that is gone after the test, and a store on it.
pub(crate) struct Bucket {
    pub(crate) store: Store,
    pub(crate) data: TempDir,
    _server: FolderServer,
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let keys = S3Keys { access_key: "fleet".into(), secret_key: "not-a-secret".into() };
        let root = data.path().join("s3");
        let server = FolderServer::start(FolderConfig { root, port: None, keys, origins: Vec::new() });
        let server = server.await.unwrap();
        let config = Config {
            endpoint: Some(server.endpoint()),
            credentials: Some(Credentials { access_key: "fleet".into(), secret_key: "not-a-secret".into() }),
            timeout: Duration::from_secs(20),
            ..Config::default()
        };
        let store = Store::connect(config).await.unwrap();
        store.ensure_bucket().await.unwrap();
        Self { store, data, _server: server }
    }

    /// Stages the pictures of these rows and writes their outcomes into a segment; returns the segment's key.
    pub(crate) async fn segment(&self, number: u64, outcomes: &[(Outcome, Vec<u8>)]) -> String {
        let mut lines = String::new();
        for (outcome, picture) in outcomes {
            if let Some(output) = &outcome.output {
                let put = self.store.put(key_of(&output.uri), "image/png", picture.clone().into());
                put.await.unwrap();
                let put = self.store.put(key_of(&output.sidecar), "application/json", "{}".into());
                put.await.unwrap();
            }
            lines += &(serde_json::to_string(outcome).unwrap() + "\n");
        }
        let key = layout::segment(&batch(), number, 1);
        self.store.put(&key, "application/jsonl", lines.into()).await.unwrap();
        key
    }
}

fn key_of(uri: &str) -> &str {
    uri.strip_prefix("s3://uso/").unwrap()
}

pub(crate) fn batch() -> BatchId {
    "0-01900000-0000-7000-8000-0000000000ff".parse().unwrap()
}

/// A picture unlike all others.
pub(crate) fn picture(row: u64) -> Vec<u8> {
    let pixel = |x: u32, y: u32| Rgb([(x * 3) as u8, (y * 5) as u8, (row * 7 + u64::from(x * y)) as u8]);
    let mut file = Cursor::new(Vec::new());
    RgbImage::from_fn(48, 32, pixel).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A job that made `picture`; some have references, LoRAs and metadata.
pub(crate) fn outcome(row: u64, picture: &[u8]) -> Outcome {
    let mut body =
        json!({ "prompt": format!("a cup, number {row}"), "seed": row, "width": 48, "height": 32 });
    if row % 2 == 1 {
        body["content"] = "s3://uso/references/cup.png".into();
        body["styles"] = json!(["s3://uso/references/a.png", "https://example.org/b.png?token=secret"]);
        body["loras"] = json!([{ "name": "ink", "weight": 0.5 }]);
        body["metadata"] = json!({ "subject": format!("cup-{}", row / 4), "n": row });
    }
    let spec = JobSpec::parse(&body, &Defaults::default()).unwrap();
    let job = format!("0-01900000-0000-7000-8000-{row:012x}");
    serde_json::from_value(json!({
        "row": row, "key": format!("cup-{row:04}"), "job": job, "state": "succeeded", "spec": spec,
        "output": {
            "uri": format!("s3://uso/jobs/{job}/1/0.png"), "sidecar": format!("s3://uso/jobs/{job}/1/0.json"),
            "width": 48, "height": 32, "bytes": picture.len(), "sha256": hexadecimal_sha256(picture),
            "content_type": "image/png", "receipt": { "device_ms": 1200, "model": "flux.1-dev + uso" },
        },
        "attempt": 1, "submitted_ms": 1_700_000_000_000_u64 + row, "finished_ms": 1_700_000_009_000_u64 + row,
    }))
    .unwrap()
}

pub(crate) fn outcomes(rows: impl Iterator<Item = u64>) -> Vec<(Outcome, Vec<u8>)> {
    rows.map(|row| (outcome(row, &picture(row)), picture(row))).collect()
}

pub(crate) fn rows(numbers: impl Iterator<Item = u64>, split: Option<&Split>) -> Vec<(Row, Vec<u8>)> {
    numbers.map(|row| (Row::of(&outcome(row, &picture(row)), split).unwrap(), picture(row))).collect()
}

/// Writes a shard into a folder; returns what is in it.
pub(crate) fn write_shard(folder: &Path, number: u32, rows: Vec<(Row, Vec<u8>)>) -> Stats {
    let mut writer = ShardWriter::new(number);
    let mut tar = Vec::new();
    for (row, picture) in rows {
        tar.extend(writer.push(row, &picture).unwrap());
    }
    let written = writer.finish().unwrap();
    tar.extend(&written.last);
    std::fs::create_dir_all(folder.join("_meta")).unwrap();
    std::fs::write(folder.join(&written.stats.file), tar).unwrap();
    std::fs::write(folder.join(&written.stats.row_file), &written.row_file).unwrap();
    let json = serde_json::to_vec(&written.stats).unwrap();
    std::fs::write(folder.join(layout::stats(number)), json).unwrap();
    written.stats
}

pub(crate) fn write_index(folder: &Path, shards: Vec<Stats>) {
    for stats in &shards {
        std::fs::write(folder.join(layout::stats(stats.shard)), serde_json::to_vec(stats).unwrap()).unwrap();
    }
    let index = Index::of(batch(), shards);
    std::fs::write(folder.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
}

/// A data set of two shards with rows 0 to 7.
pub(crate) fn dataset(split: Option<&Split>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let shards = vec![
        write_shard(folder.path(), 0, rows(0..4, split)),
        write_shard(folder.path(), 1, rows(4..8, split)),
    ];
    write_index(folder.path(), shards);
    folder
}

pub(crate) fn json_at(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
