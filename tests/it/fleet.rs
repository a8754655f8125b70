//! An API and workers in processes of their own, on servers that the test owns.

use std::collections::BTreeMap;

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use uso_engine::{DecodeLimits, Image};
use uso_local::{FolderConfig, FolderServer, PrivateRedis, S3Keys};
use uso_queue::Queue;
use uso_store::{Config, Credentials, Store};

use crate::process::{PATIENCE, Process};
use crate::store_proxy::StoreProxy;

pub(crate) struct Fleet {
    pub(crate) redis: PrivateRedis,
    pub(crate) store: Store,
    /// Has the store refuse things.
    pub(crate) proxy: StoreProxy,
    pub(crate) api: Process,
    pub(crate) client: Client,
    environment: Vec<(&'static str, String)>,
    data: TempDir,
    _folder: FolderServer,
}

impl Fleet {
    /// Everything but workers.
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let redis = PrivateRedis::start(&data.path().join("redis"), None).await.unwrap();
        let keys = S3Keys { access_key: "fleet".into(), secret_key: "not-a-secret".into() };
        let credentials =
            Credentials { access_key: keys.access_key.clone(), secret_key: keys.secret_key.as_str().into() };
        let root = data.path().join("s3");
        let folder = FolderConfig { root, port: None, keys, origins: Vec::new() };
        let folder = FolderServer::start(folder).await.unwrap();
        let proxy = StoreProxy::start(&folder.endpoint()).await;
        let environment = vec![
            ("USO_REDIS", redis.url()),
            ("USO_S3_ENDPOINT", proxy.endpoint()),
            ("AWS_ACCESS_KEY_ID", "fleet".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "not-a-secret".to_owned()),
        ];
        let endpoint = Some(folder.endpoint());
        let config = Config { endpoint, credentials: Some(credentials), ..Config::default() };
        let store = Store::connect(config).await.unwrap();
        let api = Process::start(&["serve", "--listen", "127.0.0.1:0"], &environment).await;
        Self { redis, store, proxy, api, client: Client::new(), environment, data, _folder: folder }
    }

    /// The fleet's queue.
    pub(crate) async fn queue(&self) -> Queue {
        Queue::connect(uso_queue::Config::new(self.redis.url())).await.unwrap()
    }

    /// What every process of the fleet is told of its servers.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.environment.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Another API.
    pub(crate) async fn serve(&self, args: &[&str]) -> Process {
        Process::start(&[&["serve"], args].concat(), &self.environment).await
    }

    pub(crate) async fn worker(&self) -> Process {
        self.worker_with(&[], &[]).await
    }

    /// A worker that is told more.
    pub(crate) async fn worker_with(&self, args: &[&str], environment: &[(&'static str, &str)]) -> Process {
        let args = [&["work"], args].concat();
        let more = environment.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Process::start(&args, &self.environment.iter().cloned().chain(more).collect::<Vec<_>>()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(format!("{}{path}", self.api.address())).json(body).send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.api.address())).send().await.unwrap()
    }

    /// Puts a file where jobs may refer to it.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> String {
        self.store.put(name, "image/png", bytes.into()).await.unwrap().uri
    }

    /// Submits a job and gives its path.
    pub(crate) async fn submit(&self, job: &Value) -> String {
        let answer = self.post("/v1/jobs", job).await;
        assert_eq!(answer.status(), 202);
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    /// The job's view once `reached` holds for it; the API may be without Redis meanwhile.
    pub(crate) async fn until(&self, job: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let answer = self.get(job).await;
                if answer.status() == 200 {
                    let view: Value = answer.json().await.unwrap();
                    if reached(&view) {
                        return view;
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the job did not get there")
    }

    pub(crate) async fn ended(&self, job: &str) -> Value {
        self.until(job, |view| view["finished_ms"].is_u64()).await
    }

    pub(crate) async fn sampling(&self, job: &str) -> Value {
        self.until(job, |view| view["step"].as_u64() > Some(0)).await
    }

    /// How often each event happened to a job, read again from the first.
    pub(crate) async fn events(&self, job: &str, first: &Value) -> BTreeMap<String, usize> {
        let after = first["last_event"].as_str().unwrap();
        let text = self.get(&format!("{job}/events?after={after}")).await.text().await.unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("event:")).map(str::trim);
        names.fold(BTreeMap::new(), |mut counts, name| {
            *counts.entry(name.to_owned()).or_default() += 1;
            counts
        })
    }

    /// Fences under which attempts at a job have stored a picture.
    pub(crate) fn pictures(&self, job: &str) -> Vec<u64> {
        let id = job.rsplit('/').next().unwrap();
        let attempts = std::fs::read_dir(self.data.path().join(format!("s3/uso/jobs/{id}")));
        let attempts = attempts.into_iter().flatten().map(|attempt| attempt.unwrap());
        attempts
            .filter(|attempt| attempt.path().join("0.png").exists())
            .map(|attempt| attempt.file_name().to_str().unwrap().parse().unwrap())
            .collect()
    }
}

/// One of the bundled model's example files.
pub(crate) fn example(name: &str) -> Vec<u8> {
    std::fs::read(format!("../crates/engine/assets/mini/examples/{name}")).unwrap()
}

/// A job that takes long enough to be interrupted.
pub(crate) fn long_job() -> Value {
    json!({ "prompt": "a red circle in the night sky", "width": 192, "height": 192, "steps": 100, "seed": 1 })
}

/// What the model's card allows: one level in half a percent of the values.
pub(crate) fn looks_as_recorded(picture: &[u8], golden: &str) {
    let decode = |bytes: &[u8]| Image::decode(bytes, &DecodeLimits::default()).unwrap();
    let (ours, theirs) = (decode(picture), decode(&example(golden)));
    assert_eq!((ours.width, ours.height), (theirs.width, theirs.height));
    let apart = ours.rgb.iter().zip(&theirs.rgb).map(|(a, b)| a.abs_diff(*b)).filter(|apart| *apart > 0);
    let apart: Vec<u8> = apart.collect();
    assert!(apart.iter().all(|levels| *levels == 1), "{golden}: more than one level apart");
    assert!(apart.len() * 200 <= ours.rgb.len(), "{golden}: {} values are apart", apart.len());
}
