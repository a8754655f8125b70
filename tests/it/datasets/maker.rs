//! Makes data sets: their rows go in, and they are waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use uso_dataset::rows::{Checker, Chunk, Options, RawRow, Row};
use uso_dataset::run::ChunkEntry;
use uso_dataset::shards::{Expected, Known, Place, find_orphans, verify};
use uso_dataset::{Settings, layout};
use uso_queue::{BatchCounts, BatchId, Budget, DatasetView, Defaults, NewDataset, Queue};
use uso_store::hexadecimal_sha256;

use crate::fleet::Fleet;
use crate::process::{PATIENCE, Process};

/// Rows of a chunk.
const CHUNK: usize = 50;

pub(crate) struct Maker {
    pub(crate) fleet: Fleet,
    pub(crate) queue: Queue,
    pub(crate) workers: Vec<Process>,
}

/// Rows of one step; the broken ones have a reference that is not there.
pub(crate) fn rows(count: u64, is_broken: impl Fn(u64) -> bool) -> Vec<Row> {
    let mut checker = Checker::new(Defaults::default(), Options::default());
    let row = |number: u64| {
        let mut row = json!({ "prompt": format!("star {number}"), "steps": 1, "width": 64, "height": 64 });
        if is_broken(number) {
            row["content"] = "s3://uso/references/missing.png".into();
        }
        let Value::Object(fields) = row else { panic!() };
        checker.check(RawRow { line: number + 1, fields, labels: Map::new() }).unwrap()
    };
    (0..count).map(row).collect()
}

impl Maker {
    pub(crate) async fn start() -> Self {
        let fleet = Fleet::start().await;
        let queue = fleet.queue().await;
        Self { fleet, queue, workers: Vec::new() }
    }

    pub(crate) async fn add_worker(&mut self, engine: &str) {
        self.workers.push(self.worker(engine).await);
    }

    async fn worker(&self, engine: &str) -> Process {
        let log = std::env::var("USO_CHAOS_LOG").unwrap_or_else(|_| "off".into());
        self.fleet.worker_with(&["--allow-test-engine", "--engine", engine], &[("USO_LOG", &log)]).await
    }

    /// Kills a worker; another takes its place.
    pub(crate) async fn kill(&mut self, number: usize, engine: &str) {
        self.workers[number].kill().await;
        self.workers[number] = self.worker(engine).await;
    }

    pub(crate) async fn restart_redis(&mut self, away: Duration) {
        self.fleet.redis.kill().await.unwrap();
        tokio::time::sleep(away).await;
        self.fleet.redis.restart().await.unwrap();
    }

    pub(crate) async fn create(&self, name: &str, shard_rows: u32, rows: &[Row]) -> BatchId {
        let settings = Settings { shard_rows, ..Settings::default() };
        let settings = serde_json::to_string(&settings).unwrap();
        let (metadata, budget) = (Value::Null, Budget::default());
        let new = NewDataset { name, settings: &settings, metadata: &metadata, budget };
        let batch = self.queue.create_dataset("default", &new).await.unwrap().id;
        for (number, part) in (0..).zip(rows.chunks(CHUNK)) {
            let text = Chunk::from(part.to_vec()).write().unwrap();
            let entry = ChunkEntry { rows: part.len() as u64, sha256: hexadecimal_sha256(&text) };
            let key = layout::chunk(&batch, number, &entry.sha256);
            self.fleet.store.put(&key, "application/x-ndjson", text.into()).await.unwrap();
            let before = number * CHUNK as u64;
            let entry_text = serde_json::to_string(&entry).unwrap();
            let after = before + entry.rows;
            // Somebody else may have been first, and further on.
            let rows = self.queue.extend_dataset(&batch, before, after, &entry_text).await.unwrap();
            assert!(rows.unwrap() >= after);
        }
        self.queue.start_dataset(&batch, rows.len() as u64).await.unwrap();
        batch
    }

    /// Two callers make the same data set at once: there is one.
    pub(crate) async fn create_twice(&self, name: &str, shard_rows: u32, rows: &[Row]) -> BatchId {
        let (one, two) =
            tokio::join!(self.create(name, shard_rows, rows), self.create(name, shard_rows, rows));
        assert_eq!(one, two);
        assert_eq!(self.queue.dataset(&one).await.unwrap().unwrap().rows, rows.len() as u64);
        one
    }

    pub(crate) async fn until_settled(&self, batch: &BatchId, rows: u64) {
        self.until(batch, |view, _| view.archived + view.waiting >= rows).await;
    }

    /// Waits until nothing is left to do.
    pub(crate) async fn until_made(&self, batch: &BatchId) {
        self.until(batch, |view, counts| {
            counts.queued + counts.running == 0
                && view.cursor >= view.sealed
                && view.waiting == 0
                && view.open_rows == 0
                && view.packed == view.shards
                && view.described == view.packed
        })
        .await;
    }

    async fn until(&self, batch: &BatchId, reached: impl Fn(&DatasetView, &BatchCounts) -> bool) {
        let began = Instant::now();
        loop {
            // In this order: what ends in between waits in the view.
            let now = (self.queue.batch(batch).await, self.queue.dataset(batch).await);
            if let (Ok(Some(of)), Ok(Some(view))) = now {
                if reached(&view, &of.counts) {
                    return;
                }
                assert!(began.elapsed() < 2 * PATIENCE, "it does not get there: {view:?} {:?}", of.counts);
            }
            assert!(began.elapsed() < 3 * PATIENCE, "the queue does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Which worker does a task whose name begins so, if one is found in time.
    pub(crate) async fn holder(&self, task: &str, time: Duration) -> Option<usize> {
        let search = async {
            loop {
                if let Some(found) = self.holder_now(task).await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(time, search).await.ok()
    }

    async fn holder_now(&self, task: &str) -> Option<usize> {
        let client = redis::Client::open(self.fleet.redis.url()).ok()?;
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        // A test has one data set.
        let keys: Vec<Vec<u8>> =
            redis::cmd("KEYS").arg("{uso:*}:tasks:*").query_async(&mut connection).await.ok()?;
        let tasks: Vec<(String, Vec<u8>)> =
            redis::cmd("HGETALL").arg(keys.first()?).query_async(&mut connection).await.ok()?;
        let workers = self.queue.workers().await.ok()?;
        let holder = |lease: &[u8]| {
            let holds = |id: &str| lease.windows(id.len()).any(|part| part == id.as_bytes());
            let (.., report) = workers.iter().find(|(id, ..)| holds(id))?;
            self.workers.iter().position(|worker| worker.id() == Some(report.pid))
        };
        tasks.iter().filter(|(name, _)| name.starts_with(task)).find_map(|(_, lease)| holder(lease))
    }

    /// Every file of the data set with the digest of its bytes.
    pub(crate) async fn files(&self, batch: &BatchId) -> BTreeMap<String, String> {
        let store = &self.fleet.store;
        let mut files = BTreeMap::new();
        for object in store.list(&layout::dataset(batch)).await.unwrap() {
            let bytes = store.get(&object.key).await.unwrap();
            files.insert(object.key, hexadecimal_sha256(&bytes));
        }
        files
    }

    /// Exactly these rows are in its shards, and nothing else lies about.
    pub(crate) async fn is_sound(&self, batch: &BatchId, rows: impl Iterator<Item = u64>) {
        let store = &self.fleet.store;
        let place = Place::of_batch(store.clone(), batch);
        let findings = verify(&place, &Expected::Rows(rows.collect()), |_| {}).await.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        let shards = self.queue.dataset_shards(batch, 0, 1000).await.unwrap();
        assert!(shards.iter().all(|shard| shard.done && shard.committed.is_some() && shard.rows > 0));
        let tars = self.files(batch).await.into_keys().filter(|name| name.ends_with(".tar")).count();
        assert_eq!(tars, shards.len());
        let segments = self.queue.dataset_segments(batch, 0, 1000).await.unwrap();
        let keys = (0..).zip(&segments).map(|(number, one)| layout::segment(batch, number, one.fence));
        let known = Known {
            shards: (0..shards.len() as u32).collect(),
            segments: keys.collect::<BTreeSet<_>>(),
            ..Known::default()
        };
        // What a lost process leaves beside them is swept some day; no file of a shard is among it.
        let orphans = find_orphans(store, batch, &known, Duration::ZERO).await.unwrap();
        let working = layout::working(batch);
        assert!(orphans.objects.iter().all(|key| key.starts_with(&working)), "{orphans:?}");
    }
}
