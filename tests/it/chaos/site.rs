//! The processes and servers that things happen to.

use std::time::Duration;

use tempfile::TempDir;
use uso_local::{FolderConfig, FolderServer, PrivateRedis, S3Keys};
use uso_queue::{Config, Queue, Window};

use super::clients::insist;
use super::plan::Fault;
use crate::link::Link;
use crate::process::{PATIENCE, Process};
use crate::store_proxy::{How, StoreProxy, What};

/// Workers at any moment.
pub(crate) const WORKERS: usize = 4;

pub(crate) const LEASE: Duration = Duration::from_millis(10_500);

/// Of the scripted engines; a job of 100 steps lasts longer than a lease is left unrenewed.
const PACE: &str = "scripted:step=20ms,fail=0.01,panic=0.002";

pub(crate) struct Site {
    pub(crate) queue: Queue,
    pub(crate) api: String,
    pub(crate) data: TempDir,
    redis: PrivateRedis,
    proxy: StoreProxy,
    folder: Option<FolderServer>,
    store: FolderConfig,
    serve: Process,
    /// Each with its own way to Redis.
    workers: Vec<(Process, Link)>,
    environment: Vec<(&'static str, String)>,
    /// Workers started so far.
    started: u64,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let redis = PrivateRedis::start(&data.path().join("redis"), None).await.unwrap();
        let keys = S3Keys { access_key: "fleet".into(), secret_key: "not-a-secret".into() };
        let root = data.path().join("s3");
        let mut store = FolderConfig { root, port: None, keys, origins: Vec::new() };
        let folder = FolderServer::start(store.clone()).await.unwrap();
        store.port = folder.endpoint().rsplit(':').next().unwrap().parse().ok();
        let proxy = StoreProxy::start(&folder.endpoint()).await;
        let environment = vec![
            ("USO_REDIS", redis.url()),
            ("USO_S3_ENDPOINT", proxy.endpoint()),
            ("USO_ALLOW_TEST_ENGINE", "true".into()),
            ("USO_LOG", std::env::var("USO_CHAOS_LOG").unwrap_or_else(|_| "off".into())),
            ("AWS_ACCESS_KEY_ID", "fleet".into()),
            ("AWS_SECRET_ACCESS_KEY", "not-a-secret".into()),
            ("RAYON_NUM_THREADS", "1".into()),
            ("CANDLE_NUM_THREADS", "1".into()),
        ];
        let serve = Process::start(&["serve", "--listen", "127.0.0.1:0"], &environment).await;
        let queue = Queue::connect(Config::new(redis.url())).await.unwrap();
        let (api, folder, workers) = (serve.address(), Some(folder), Vec::new());
        let mut site =
            Self { queue, api, data, redis, proxy, folder, store, serve, workers, environment, started: 0 };
        for _ in 0..WORKERS {
            let worker = site.worker().await;
            site.workers.push(worker);
        }
        site
    }

    async fn worker(&mut self) -> (Process, Link) {
        self.started += 1;
        let engine = format!("{PACE},seed={}", self.started);
        let link = Link::to(&self.redis.url()).await;
        let environment = [&self.environment[..], &[("USO_REDIS", link.url().to_owned())]].concat();
        (Process::start(&["work", "--engine", &engine], &environment).await, link)
    }

    /// Replaces workers that ended by themselves: after two panics in a row they do.
    async fn supervise(&mut self) {
        for number in 0..WORKERS {
            if self.workers[number].0.has_ended() {
                self.workers[number] = self.worker().await;
            }
        }
    }

    /// Has something go wrong, and puts it right again.
    pub(crate) async fn suffer(&mut self, fault: Fault) {
        self.supervise().await;
        match fault {
            Fault::KillWorker { worker } => {
                self.workers[worker].0.kill().await;
                self.workers[worker] = self.worker().await;
            }
            Fault::FreezeWorker { worker, time } => {
                self.workers[worker].0.signal("STOP").await;
                tokio::time::sleep(time).await;
                self.workers[worker].0.signal("CONT").await;
            }
            Fault::SilenceLink { worker, time } => {
                self.workers[worker].1.silence(true);
                tokio::time::sleep(time).await;
                self.workers[worker].1.silence(false);
            }
            Fault::KillRedis { away } => {
                self.redis.kill().await.unwrap();
                tokio::time::sleep(away).await;
                self.redis.restart().await.unwrap();
            }
            Fault::StoreAway { away } => {
                self.folder.take().unwrap().stop().await;
                tokio::time::sleep(away).await;
                self.folder = Some(FolderServer::start(self.store.clone()).await.unwrap());
            }
            Fault::StoreFull { time, status } => {
                self.proxy.refuse(What::Writes, How::Status(status));
                tokio::time::sleep(time).await;
                self.proxy.relent();
            }
            Fault::KillApi => {
                self.serve.kill().await;
                let listen = self.api.trim_start_matches("http://");
                self.serve = Process::start(&["serve", "--listen", listen], &self.environment).await;
            }
            Fault::CloseWindow { time } => {
                let closed = closed();
                insist(|| self.queue.set_window(Some(&closed))).await;
                tokio::time::sleep(time).await;
                insist(|| self.queue.set_window(None)).await;
            }
        }
    }

    /// Waits until no job waits or runs.
    pub(crate) async fn until_at_rest(&self) {
        let rest = async {
            loop {
                let stats = insist(|| self.queue.stats()).await;
                if [stats.interactive, stats.bulk].iter().all(|depth| depth.queued + depth.running == 0) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(3 * PATIENCE, rest).await.expect("jobs are left over");
    }

    /// Ends the workers as an operator would.
    pub(crate) async fn stop_workers(&mut self) {
        self.supervise().await;
        for (worker, _) in &mut self.workers {
            worker.signal("TERM").await;
            assert!(worker.ended().await, "a worker did not end in order");
        }
    }
}

/// A window that is closed now and for some hours to come.
fn closed() -> Window {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let hour = |later: u64| format!("{:02}:00", (now.as_secs() / 3600 + later) % 24).parse().unwrap();
    Window { opens: hour(8), closes: hour(9), zone: "UTC".into(), fill: false }
}
