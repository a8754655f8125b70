//! A fleet that is measured: a Redis, an S3 service, a queue, and workers in this process or in others.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uso_engine::{Engine, Observed, Observer, Script, Scripted};
use uso_queue::{Config, Defaults, JobId, JobSpec, JobView, Queue};
use uso_store::Store;
use uso_worker::{Clock, Condition, DeviceThread, Metrics, Settings, Sharing, Worker};

use crate::cores::Cores;
use crate::servers::{self, RedisServer, S3Server};
use crate::steps::StepLog;

/// Whose jobs an open API takes all to be.
pub(crate) const TENANT: &str = "default";

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);

/// Servers and a queue.
pub(crate) struct Fleet {
    pub(crate) redis: RedisServer,
    pub(crate) queue: Queue,
    s3: S3Server,
    seeds: AtomicU64,
}

/// A worker in this process.
pub(crate) struct Running {
    /// Its steps.
    pub(crate) log: StepLog,
    /// What its device counts.
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<Clock>,
    stop: CancellationToken,
    hurry: CancellationToken,
    task: JoinHandle<Result<(), uso_worker::Error>>,
}

impl Fleet {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let redis = RedisServer::start(Cores::unpinned()).await?;
        let queue = connect(&redis.url()).await?;
        let s3 = S3Server::start().await?;
        let fleet = Self { redis, queue, s3, seeds: AtomicU64::new(1) };
        fleet.store(&fleet.endpoint()).await?.ensure_bucket().await?;
        Ok(fleet)
    }

    /// Where its S3 server is.
    pub(crate) fn endpoint(&self) -> String {
        self.s3.endpoint()
    }

    pub(crate) async fn store(&self, endpoint: &str) -> anyhow::Result<Store> {
        servers::store(endpoint).await
    }

    /// Submits a job with a seed of its own, which it gives too.
    pub(crate) async fn submit(&self, class: &str, steps: u32, more: Value) -> anyhow::Result<(JobId, u64)> {
        let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
        let id = self.queue.submit(TENANT, &spec(class, steps, seed, more)?).await?.id;
        Ok((id, seed))
    }

    pub(crate) async fn worker(&self, store: Store, script: &str) -> anyhow::Result<Running> {
        worker(self.queue.clone(), store, script, Settings::default()).await
    }

    /// The job once it has ended.
    pub(crate) async fn ended(&self, job: &JobId) -> anyhow::Result<JobView> {
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

    /// Runs `uso` on the fleet's servers; gives what it says once it is ready.
    pub(crate) async fn run(&self, args: &[&str]) -> anyhow::Result<(Child, String)> {
        let mut child = Command::new(uso()?)
            .args(args)
            .env("USO_REDIS", self.redis.url())
            .env("USO_S3_ENDPOINT", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", servers::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", servers::SECRET_KEY)
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

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.s3.stop().await;
        self.redis.stop().await
    }
}

impl Running {
    /// Waits for the first step after so many.
    pub(crate) async fn steps(&self, after: usize) -> anyhow::Result<()> {
        let wait = async {
            while self.log.len() <= after {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.context("no step is done")
    }

    /// Ends it; jobs that it has begun go back to the queue.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.hurry.cancel();
        self.task.await.context("the worker's task ended early")??;
        Ok(())
    }
}

pub(crate) fn spec(class: &str, steps: u32, seed: u64, more: Value) -> anyhow::Result<JobSpec> {
    let mut body = json!({ "prompt": "a red star", "class": class, "steps": steps, "seed": seed });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    JobSpec::parse(&body, &Defaults::default()).map_err(|errors| anyhow::anyhow!("{errors:?}"))
}

/// A queue with its functions, as any process of the fleet opens it.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Queue> {
    let queue = Queue::connect(Config::new(url)).await?;
    queue.migrate().await?;
    Ok(queue)
}

/// The `uso` that was built along with this program.
fn uso() -> anyhow::Result<PathBuf> {
    let uso = std::env::current_exe().context("where is this program?")?.with_file_name("uso");
    anyhow::ensure!(uso.is_file(), "there is no {}: build the whole workspace", uso.display());
    Ok(uso)
}

/// Starts a worker with an engine that follows `script`.
pub(crate) async fn worker(
    queue: Queue,
    store: Store,
    script: &str,
    settings: Settings,
) -> anyhow::Result<Running> {
    let log = StepLog::default();
    worker_watched(queue, store, script, settings, log.clone(), log).await
}

/// The same, with somebody else who watches; `log` is empty then.
pub(crate) async fn worker_watched<O>(
    queue: Queue,
    store: Store,
    script: &str,
    settings: Settings,
    observer: O,
    log: StepLog,
) -> anyhow::Result<Running>
where
    O: Observer + Clone + Send + 'static,
{
    let script: Script = script.parse()?;
    let load = move || Ok(Observed::new(Scripted::new(script.clone()), observer.clone()));
    let device = DeviceThread::start(load, Sharing::default(), Condition::default()).await?;
    run_on(device, queue, store, settings, log)
}

/// Starts a worker with the engine that `load` gives, whose steps are in `log`.
pub(crate) async fn worker_of<E: Engine>(
    queue: Queue,
    store: Store,
    load: impl Fn() -> Result<E, uso_engine::Error> + Send + 'static,
    log: StepLog,
) -> anyhow::Result<Running> {
    let device = DeviceThread::start(load, Sharing::default(), Condition::default()).await?;
    run_on(device, queue, store, Settings::default(), log)
}

fn run_on(
    device: DeviceThread,
    queue: Queue,
    store: Store,
    settings: Settings,
    log: StepLog,
) -> anyhow::Result<Running> {
    let (clock, registry) = (Arc::clone(device.clock()), Registry::new());
    let metrics = Metrics::new(&registry)?;
    metrics.observe(&device)?;
    let worker = Worker::new(queue, store, device, metrics, settings);
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let task = tokio::spawn(worker.run(stop.clone(), hurry.clone()));
    Ok(Running { log, registry, clock, stop, hurry, task })
}
