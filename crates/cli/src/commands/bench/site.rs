//! Servers and workers to measure.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use prometheus::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uso_engine::{Script, Scripted};
use uso_local::{FolderConfig, FolderServer, S3Keys};
use uso_queue::{Config, Defaults, JobId, JobSpec, JobView, Queue};
use uso_store::{Credentials, Store};
use uso_worker::{Clock, Condition, DeviceThread, Metrics, Settings, Sharing, Worker};

use super::cores::Cores;
use super::observed::{Log, Observed};
use super::server::Server;

const ACCESS_KEY: &str = "bench";
/// Whose jobs an open API takes all to be.
pub(super) const TENANT: &str = "default";
const SECRET_KEY: &str = "not-a-secret";

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);

/// A Redis, an S3 folder and a queue.
pub(super) struct Site {
    pub(super) server: Server,
    pub(super) queue: Queue,
    folder: FolderServer,
    seeds: AtomicU64,
    _data: TempDir,
}

/// A worker in this process.
pub(super) struct Running {
    /// Its steps.
    pub(super) log: Log,
    pub(super) clock: Arc<Clock>,
    stop: CancellationToken,
    hurry: CancellationToken,
    task: JoinHandle<Result<(), uso_worker::Error>>,
}

impl Site {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let server = Server::start(Cores::unpinned()).await?;
        let queue = connect(&server.url()).await?;
        let data = tempfile::tempdir().context("cannot make a folder for S3")?;
        let folder = FolderServer::start(FolderConfig {
            root: data.path().join("s3"),
            port: None,
            keys: S3Keys { access_key: ACCESS_KEY.into(), secret_key: SECRET_KEY.into() },
            origins: Vec::new(),
        })
        .await?;
        let site = Self { server, queue, folder, seeds: AtomicU64::new(1), _data: data };
        site.store(&site.endpoint()).await?.ensure_bucket().await?;
        Ok(site)
    }

    /// Where its S3 server is.
    pub(super) fn endpoint(&self) -> String {
        self.folder.endpoint()
    }

    pub(super) async fn store(&self, endpoint: &str) -> anyhow::Result<Store> {
        store(endpoint).await
    }

    /// Submits a job with a seed of its own, which it gives too.
    pub(super) async fn submit(&self, class: &str, steps: u32, more: Value) -> anyhow::Result<(JobId, u64)> {
        let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
        let id = self.queue.submit(TENANT, &spec(class, steps, seed, more)?).await?.id;
        Ok((id, seed))
    }

    pub(super) async fn worker(&self, store: Store, script: &str) -> anyhow::Result<Running> {
        worker(self.queue.clone(), store, script, Settings::default()).await
    }

    /// The job once it has ended.
    pub(super) async fn ended(&self, job: &JobId) -> anyhow::Result<JobView> {
        let wait = async {
            loop {
                match self.queue.view(job).await? {
                    Some(view) if view.state.is_terminal() => return anyhow::Ok(view),
                    Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    None => anyhow::bail!("a job is gone"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.context("a job does not end")?
    }

    /// Runs this program on the site's servers, in a process of its own; gives what it says once it is ready.
    pub(super) async fn run(&self, args: &[&str]) -> anyhow::Result<(Child, String)> {
        let mut child = Command::new(std::env::current_exe().context("where is this program?")?)
            .args(args)
            .env("USO_REDIS", self.server.url())
            .env("USO_S3_ENDPOINT", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("USO_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a process")?;
        let said = child.stdout.take().context("a process has no stdout")?;
        let mut lines = BufReader::new(said).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let ready = ready.context("a process is not ready")??.context("a process ended at once")?;
        Ok((child, ready))
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.folder.stop().await;
        self.server.stop().await
    }
}

impl Running {
    /// Waits for the first step after so many.
    pub(super) async fn steps(&self, after: usize) -> anyhow::Result<()> {
        let wait = async {
            while self.log.len() <= after {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.context("no step is done")
    }

    /// Ends it; what is half-drawn goes back.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.hurry.cancel();
        self.task.await.context("the worker's task ended early")??;
        Ok(())
    }
}

pub(super) fn spec(class: &str, steps: u32, seed: u64, more: Value) -> anyhow::Result<JobSpec> {
    let mut body = json!({ "prompt": "a red star", "class": class, "steps": steps, "seed": seed });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    JobSpec::parse(&body, &Defaults::default()).map_err(|errors| anyhow::anyhow!("{errors:?}"))
}

pub(super) async fn connect(url: &str) -> anyhow::Result<Queue> {
    let queue = Queue::connect(Config::new(url)).await?;
    queue.migrate().await?;
    Ok(queue)
}

fn credentials() -> Credentials {
    Credentials { access_key: ACCESS_KEY.into(), secret_key: SECRET_KEY.into() }
}

pub(super) async fn store(endpoint: &str) -> anyhow::Result<Store> {
    let (endpoint, credentials) = (Some(endpoint.to_owned()), Some(credentials()));
    Ok(Store::connect(uso_store::Config { endpoint, credentials, ..uso_store::Config::default() }).await?)
}

/// Starts a worker with an engine that follows `script`.
pub(super) async fn worker(
    queue: Queue,
    store: Store,
    script: &str,
    settings: Settings,
) -> anyhow::Result<Running> {
    let script: Script = script.parse()?;
    let log = Log::default();
    let its_log = log.clone();
    let load = move || Ok(Observed { engine: Scripted::new(script.clone()), log: its_log.clone() });
    let device = DeviceThread::start(load, Sharing::default(), Condition::default()).await?;
    let clock = Arc::clone(device.clock());
    let worker = Worker::new(queue, store, device, Metrics::new(&Registry::new())?, settings);
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let task = tokio::spawn(worker.run(stop.clone(), hurry.clone()));
    Ok(Running { log, clock, stop, hurry, task })
}
