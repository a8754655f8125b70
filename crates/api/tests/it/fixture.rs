//! The API on a free port, with its servers.

use std::time::Duration;

use prometheus::Registry;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uso_api::{Access, Api, Config, Example, Examples, QUEUE_TIMEOUT};
use uso_local::{FolderConfig, FolderServer, PrivateRedis, S3Keys};
use uso_queue::{
    ApiKey, Backoff, KeyScope, Lease, NewKey, Output, PromptTokens, Queue, Receipt, TokenCount, WorkerId,
};
use uso_store::{Credentials, Store};

pub(crate) struct Fixture {
    pub(crate) redis: PrivateRedis,
    pub(crate) queue: Queue,
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
    config: Config,
    base: String,
    worker: WorkerId,
    _folder: FolderServer,
    pub(crate) data: TempDir,
}

impl Fixture {
    /// An API that needs no key.
    pub(crate) async fn start() -> Self {
        Self::start_as(Config::default()).await
    }

    /// An API that asks for keys.
    pub(crate) async fn with_keys() -> Self {
        Self::start_as(Config { access: Access::Keys, ..Config::default() }).await
    }

    pub(crate) async fn start_as(config: Config) -> Self {
        let data = tempfile::tempdir().unwrap();
        let redis = PrivateRedis::start(&data.path().join("redis"), None).await.unwrap();
        // No pauses between attempts, so that nothing has to be waited for.
        let backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
        let settings = uso_queue::Config::new(redis.url());
        let settings = uso_queue::Config { timeout: QUEUE_TIMEOUT, backoff, ..settings };
        let queue = Queue::connect(settings).await.unwrap();
        queue.migrate().await.unwrap();
        let (folder, store) = s3(&data).await;

        let (base, stop, task) = serve(&queue, &store, &config).await;
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let worker = WorkerId::new();
        Self { redis, queue, store, client, stop, task, config, base, worker, _folder: folder, data }
    }

    /// The same with other settings.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.restart_api().await;
    }

    /// Ends the API process and starts another.
    pub(crate) async fn restart_api(&mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap().unwrap();
        (self.base, self.stop, self.task) = serve(&self.queue, &self.store, &self.config).await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(self.url(path)).json(body).send().await.unwrap()
    }

    /// The bucket as it lies on the disk behind the S3 server.
    pub(crate) fn bucket(&self) -> std::path::PathBuf {
        self.data.path().join("s3/uso")
    }

    /// Makes a key.
    pub(crate) async fn key(&self, tenant: &str, scopes: &[KeyScope]) -> ApiKey {
        let new = NewKey { tenant, scopes, ..NewKey::default() };
        self.queue.create_key(&new).await.unwrap().0
    }

    /// Stops the process of Redis, or lets it go on: it is there and says nothing.
    pub(crate) fn signal_redis(&self, signal: &str) {
        let pid = self.redis.pid().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Makes a file of the store as old as one can be that a rule deletes.
    pub(crate) fn age(&self, key: &str) {
        let file = std::fs::File::options().write(true).open(self.data.path().join("s3/uso").join(key));
        file.unwrap()
            .set_modified(std::time::SystemTime::now() - Duration::from_secs(9 * 24 * 3600))
            .unwrap();
    }

    /// Submits a job and gives its id.
    pub(crate) async fn submit(&self, prompt: &str) -> String {
        let answer = self.post("/v1/jobs", &json!({ "prompt": prompt, "steps": 2 })).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let body: Value = answer.json().await.unwrap();
        body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn claim(&self) -> Lease {
        self.queue.claim_one(&self.worker).await.unwrap().unwrap()
    }

    /// Makes the queue forget that a job is watched; gives whether it had known.
    pub(crate) async fn forget_watchers(&self, id: &str) -> bool {
        let uuid = uuid::Uuid::parse_str(id.split_once('-').unwrap().1).unwrap();
        let key = [&b"{uso:0}:watched:"[..], uuid.as_bytes()].concat();
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("DEL").arg(key).query_async(&mut connection).await.unwrap()
    }

    /// Makes the queue take all data sets for finished, as a version before left them.
    pub(crate) async fn take_datasets_for_finished(&self) {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let there: u32 =
            redis::cmd("DEL").arg("{uso:0}:datasets").query_async(&mut connection).await.unwrap();
        assert_eq!(there, 1);
    }

    /// Ends a job with a picture that is really there, and too small for a thumbnail.
    pub(crate) async fn complete(&self, lease: &Lease) {
        self.complete_with(lease, None).await;
    }

    /// Ends a job with a picture and, if there is one, a thumbnail.
    pub(crate) async fn complete_with(&self, lease: &Lease, thumbnail: Option<&'static str>) {
        let key = |name: &str| uso_store::output_key(&lease.id, lease.fence, name);
        let format = lease.spec.format;
        let name = format!("0.{}", format.ending());
        let picture = self.store.put(&key(&name), format.media_type(), "a picture".into()).await.unwrap();
        let thumbnail = match thumbnail {
            Some(bytes) => {
                let key = key("0.thumb.webp");
                Some(self.store.put(&key, "image/webp", bytes.into()).await.unwrap().uri)
            }
            None => None,
        };
        let sidecar = self.store.put(&key("0.json"), "application/json", "{}".into()).await.unwrap();
        let output = Output {
            uri: picture.uri,
            sidecar: sidecar.uri,
            thumbnail,
            width: 64,
            height: 64,
            bytes: picture.bytes,
            sha256: picture.sha256,
            content_type: format.media_type().into(),
            receipt: Receipt {
                steps: 2,
                device_ms: 80,
                worker: "cuda:0".into(),
                prompt_tokens: Some(PromptTokens {
                    t5: TokenCount { tokens: 600, cut: 88 },
                    clip: TokenCount { tokens: 610, cut: 533 },
                }),
                ..Receipt::default()
            },
            scores: None,
        };
        lease.complete(&output).await.unwrap();
    }
}

/// Reaches a state that is a moment away.
pub(crate) async fn until(what: &str, reached: impl AsyncFn() -> bool) {
    let wait = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "never: {what}");
}

pub(crate) async fn serve(
    queue: &Queue,
    store: &Store,
    config: &Config,
) -> (String, CancellationToken, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let api = Api::new(queue.clone(), store.clone(), config.clone(), Registry::new()).unwrap();
    let stop = CancellationToken::new();
    (base, stop.clone(), tokio::spawn(api.serve(listener, stop)))
}

/// Something to begin with.
pub(crate) fn examples() -> Examples {
    let dot = Example {
        title: "A dot".into(),
        prompt: "a dot".into(),
        content: Some("dot.png".into()),
        styles: Vec::new(),
        width: 64,
        height: 64,
        seed: 1,
        steps: 10,
        keep_size: false,
    };
    Examples { sets: vec![dot], pictures: vec![("dot.png".into(), b"dot")] }
}

async fn s3(data: &TempDir) -> (FolderServer, Store) {
    let keys = S3Keys { access_key: "fleet".into(), secret_key: "not-a-secret".into() };
    let credentials =
        Credentials { access_key: keys.access_key.clone(), secret_key: keys.secret_key.as_str().into() };
    let root = data.path().join("s3");
    let config = FolderConfig { root, port: None, keys, origins: Vec::new() };
    let folder = FolderServer::start(config).await.unwrap();
    let config = uso_store::Config {
        endpoint: Some(folder.endpoint()),
        credentials: Some(credentials),
        ..uso_store::Config::default()
    };
    let store = Store::connect(config).await.unwrap();
    store.ensure_bucket().await.unwrap();
    (folder, store)
}

/// Checks that an answer is a problem document with this status and code, and gives it.
pub(crate) async fn problem(answer: Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["code"], code, "{body}");
    body
}
