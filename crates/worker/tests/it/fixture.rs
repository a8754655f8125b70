//! Servers, a worker and the bundled model's examples.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uso_engine::device::{DType, Device};
use uso_engine::{ModelFiles, Script, Scripted, Uso};
use uso_local::{FolderConfig, FolderServer, PrivateRedis, S3Keys};
use uso_queue::{Defaults, JobId, JobSpec, JobView, Queue, Window};
use uso_store::{Config, Credentials, Store, WebReferences};
use uso_worker::{Condition, DeviceThread, Error, Metrics, Settings, Sharing, Worker};

use crate::store_proxy::StoreProxy;

pub(crate) struct Fixture {
    pub(crate) redis: PrivateRedis,
    pub(crate) queue: Queue,
    pub(crate) store: Store,
    /// Has the store refuse things.
    pub(crate) proxy: StoreProxy,
    folder: Option<FolderServer>,
    folder_config: FolderConfig,
    pub(crate) registry: Registry,
    metrics: Metrics,
    /// How workers work.
    pub(crate) settings: Settings,
    pub(crate) data: TempDir,
}

/// A worker that runs in this process.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) hurry: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let redis = PrivateRedis::start(&data.path().join("redis"), None).await.unwrap();
        let queue = Queue::connect(uso_queue::Config::new(redis.url())).await.unwrap();
        queue.migrate().await.unwrap();
        let keys = S3Keys { access_key: "fleet".into(), secret_key: "not-a-secret".into() };
        let credentials =
            Credentials { access_key: keys.access_key.clone(), secret_key: keys.secret_key.as_str().into() };
        let mut folder_config =
            FolderConfig { root: data.path().join("s3"), port: None, keys, origins: Vec::new() };
        let folder = FolderServer::start(folder_config.clone()).await.unwrap();
        folder_config.port = folder.endpoint().rsplit(':').next().and_then(|port| port.parse().ok());
        let proxy = StoreProxy::start(&folder.endpoint()).await;
        let config = Config {
            endpoint: Some(proxy.endpoint()),
            extra_buckets: vec!["library".into()],
            credentials: Some(credentials),
            timeout: Duration::from_secs(5),
            web: WebReferences::Any,
            ..Config::default()
        };
        let store = Store::connect(config).await.unwrap();
        store.ensure_bucket().await.unwrap();
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        Self {
            redis,
            queue,
            store,
            proxy,
            folder: Some(folder),
            folder_config,
            registry,
            metrics,
            settings: Settings::default(),
            data,
        }
    }

    pub(crate) async fn worker(&self) -> Running {
        let load = || Uso::load(&ModelFiles::Bundled, &Device::Cpu, DType::F32);
        self.run(DeviceThread::start(load, Sharing::default(), Condition::default()).await.unwrap())
    }

    /// Takes the object store away.
    pub(crate) async fn stop_store(&mut self) {
        self.folder.take().unwrap().stop().await;
    }

    /// Where it listens, or listened.
    pub(crate) fn store_port(&self) -> u16 {
        self.folder_config.port.unwrap()
    }

    /// Brings it back where it was.
    pub(crate) async fn start_store(&mut self) {
        self.folder = Some(FolderServer::start(self.folder_config.clone()).await.unwrap());
    }

    /// A worker without a model, at a set pace.
    pub(crate) async fn scripted(&self, script: &str) -> Running {
        self.scripted_sharing(script, Sharing::default()).await
    }

    pub(crate) async fn scripted_sharing(&self, script: &str, sharing: Sharing) -> Running {
        let script: Script = script.parse().unwrap();
        let load = move || Ok(Scripted::new(script.clone()));
        self.run(DeviceThread::start(load, sharing, Condition::default()).await.unwrap())
    }

    pub(crate) fn run(&self, device: DeviceThread) -> Running {
        let (queue, store, metrics) = (self.queue.clone(), self.store.clone(), self.metrics.clone());
        let worker = Worker::new(queue, store, device, metrics, self.settings.clone());
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        Running { task: tokio::spawn(worker.run(stop.clone(), hurry.clone())), stop, hurry }
    }

    /// Puts one of the model's example pictures and gives its source.
    pub(crate) async fn example(&self, name: &str) -> String {
        let bytes = std::fs::read(format!("../engine/assets/mini/examples/{name}")).unwrap();
        self.store.put(&format!("references/{name}"), "image/png", bytes.into()).await.unwrap().uri
    }

    pub(crate) async fn submit(&self, body: &Value) -> JobId {
        self.submit_as("tenant", body).await
    }

    pub(crate) async fn submit_as(&self, tenant: &str, body: &Value) -> JobId {
        let defaults = Defaults { width: 64, height: 64, content_size: 64, ..Defaults::default() };
        let spec = JobSpec::parse(body, &Defaults { max_step_cache: 1.0, ..defaults });
        self.queue.submit(tenant, &spec.unwrap()).await.unwrap().id
    }

    /// Opens or closes the nightly window of bulk work.
    pub(crate) async fn open_window(&self, open: bool) {
        let hours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600;
        let hour = |later| format!("{:02}:00", (hours + later) % 24).parse().unwrap();
        let later = Window { opens: hour(8), closes: hour(9), zone: "UTC".into(), fill: false };
        self.queue.set_window((!open).then_some(&later)).await.unwrap();
    }

    pub(crate) async fn view(&self, job: &JobId) -> JobView {
        self.queue.view(job).await.unwrap().unwrap()
    }

    /// Waits until `reached` holds for the job; Redis may be away meanwhile.
    pub(crate) async fn until(&self, job: &JobId, reached: impl Fn(&JobView) -> bool) -> JobView {
        let wait = async {
            loop {
                match self.queue.view(job).await {
                    Ok(Some(view)) if reached(&view) => return view,
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(120), wait).await.expect("the job did not get there")
    }

    pub(crate) async fn ended(&self, job: &JobId) -> JobView {
        self.until(job, |view| view.state.is_terminal()).await
    }

    /// An object as it lies on the disk behind the S3 server.
    pub(crate) fn object(&self, uri: &str) -> Vec<u8> {
        std::fs::read(self.data.path().join("s3").join(uri.strip_prefix("s3://").unwrap())).unwrap()
    }

    /// Pictures that attempts at a job have stored.
    pub(crate) fn pictures(&self, job: &JobId) -> usize {
        let folder = self.data.path().join(format!("s3/uso/jobs/{job}"));
        let attempts = std::fs::read_dir(folder).map_or_else(|_| Vec::new(), |all| all.collect());
        attempts.into_iter().filter(|attempt| attempt.as_ref().unwrap().path().join("0.png").exists()).count()
    }
}

/// A job that takes long enough to be interrupted.
pub(crate) fn long_job() -> Value {
    json!({ "prompt": "a red circle in the night sky", "width": 128, "height": 128, "steps": 100, "seed": 1 })
}
