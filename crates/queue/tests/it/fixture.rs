//! A Redis of its own for each test, and shorthands.

use std::time::Duration;

use uso_local::PrivateRedis;
use uso_queue::{
    Backoff, Checkpoint, Class, Config, Defaults, EventTail, Failure, JobEvent, JobId, JobSpec, JobView,
    Lease, Output, Queue, Receipt, WorkerId,
};

use crate::rules::Broken;

pub(crate) struct Fixture {
    pub(crate) redis: PrivateRedis,
    pub(crate) queue: Queue,
    pub(crate) worker: WorkerId,
    _folder: tempfile::TempDir,
}

/// How the library tells the time, and where the tests' library finds how far it is ahead.
const AHEAD: &str = "{uso:0}:ahead";
const CLOCK: &str = "return time[1] * 1000 + math.floor(time[2] / 1000)";

impl Fixture {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let redis = PrivateRedis::start(folder.path(), None).await.unwrap();
        let queue = Queue::connect(config(&redis)).await.unwrap();
        queue.migrate().await.unwrap();
        let fixture = Self { redis, queue, worker: WorkerId::new(), _folder: folder };
        if let Some(rule) = Broken::from_environment() {
            fixture.edit_library(&rule.from, &rule.to).await;
        }
        fixture
    }

    /// Another process' view of the same queue.
    pub(crate) async fn another(&self) -> Queue {
        Queue::connect(config(&self.redis)).await.unwrap()
    }

    pub(crate) async fn view(&self, id: &JobId) -> JobView {
        self.queue.view(id).await.unwrap().unwrap()
    }

    pub(crate) async fn submit(&self, spec: &JobSpec) -> uso_queue::JobId {
        let submitted = self.queue.submit("tenant", spec).await.unwrap();
        assert!(submitted.fresh);
        submitted.id
    }

    /// Waits until the queue's own connection works again: the first call after an outage may fail.
    pub(crate) async fn reconnected(&self) {
        let ping = async {
            while self.queue.ping().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ping).await.unwrap();
    }

    pub(crate) async fn claim(&self) -> Option<Lease> {
        self.queue.claim_one(&self.worker).await.unwrap()
    }

    pub(crate) async fn claim_as(&self, worker: &WorkerId) -> Option<Lease> {
        self.queue.claim_one(worker).await.unwrap()
    }

    /// Runs a raw command.
    pub(crate) async fn raw<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.raw_bytes(&words).await
    }

    /// Runs a raw command whose words need not be text.
    pub(crate) async fn raw_bytes<T: redis::FromRedisValue>(&self, words: &[&[u8]]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut connection).await
    }

    /// Makes every lease of a class `age` old.
    pub(crate) async fn age_leases(&self, class: Class, age: Duration) {
        let ready = format!("{{uso:0}}:ready:{}", class.as_str());
        let pending: redis::streams::StreamPendingCountReply =
            self.raw(&["XPENDING", &ready, "workers", "-", "+", "100"]).await.unwrap();
        assert!(!pending.ids.is_empty(), "no lease to age");
        let idle = age.as_millis().to_string();
        for entry in pending.ids {
            let claim =
                ["XCLAIM", &ready, "workers", &entry.consumer, "0", &entry.id, "IDLE", &idle, "JUSTID"];
            self.raw::<redis::Value>(&claim).await.unwrap();
        }
    }

    /// Makes every lease older by `age`.
    pub(crate) async fn age_by(&self, age: Duration) {
        for class in Class::ALL {
            let ready = format!("{{uso:0}}:ready:{}", class.as_str());
            let pending = ["XPENDING", &ready, "workers", "-", "+", "1000"];
            let Ok(pending) = self.raw::<redis::streams::StreamPendingCountReply>(&pending).await else {
                continue;
            };
            for entry in pending.ids {
                let idle = (entry.last_delivered_ms as u128 + age.as_millis()).to_string();
                let claim =
                    ["XCLAIM", &ready, "workers", &entry.consumer, "0", &entry.id, "IDLE", &idle, "JUSTID"];
                self.raw::<redis::Value>(&claim).await.unwrap();
            }
        }
    }

    /// Sets the library's clock `ahead`.
    pub(crate) async fn set_clock(&self, ahead: Duration) {
        self.make_clock_settable().await;
        self.move_clock(ahead).await;
    }

    /// Sets the clock of a library that can be set.
    pub(crate) async fn move_clock(&self, ahead: Duration) {
        let ahead = ahead.as_millis().to_string();
        self.raw::<redis::Value>(&["SET", AHEAD, &ahead]).await.unwrap();
    }

    /// The text of a library that is loaded.
    pub(crate) async fn library(&self, name: &str) -> String {
        let list = ["FUNCTION", "LIST", "LIBRARYNAME", name, "WITHCODE"];
        let loaded: Vec<Vec<redis::Value>> = self.raw(&list).await.unwrap();
        redis::from_redis_value(loaded[0].last().unwrap().clone()).unwrap()
    }

    /// Loads a library whose clock can be set ahead.
    pub(crate) async fn make_clock_settable(&self) {
        let honest = format!("{CLOCK}\n");
        let settable = format!("{CLOCK} + (redis.call('GET', '{AHEAD}') or 0)\n");
        self.edit_library(&honest, &settable).await;
    }

    /// Loads a library in which a text stands for another, unless it does already.
    pub(crate) async fn edit_library(&self, from: &str, to: &str) {
        let library = self.library("uso_1").await;
        if library.contains(from) {
            let library = library.replacen(from, to, 1);
            self.raw::<redis::Value>(&["FUNCTION", "LOAD", "REPLACE", &library]).await.unwrap();
        } else {
            assert!(library.contains(to), "the library has no {from:?}");
        }
    }
}

/// The settings of the tests: no pauses between attempts, so that nothing has to be waited for.
pub(crate) fn config(redis: &PrivateRedis) -> Config {
    let backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
    Config { backoff, ..Config::new(redis.url()) }
}

/// A job's sixteen bytes.
pub(crate) fn bytes(id: &JobId) -> [u8; 16] {
    let text = id.to_string();
    uuid::Uuid::parse_str(text.split_once('-').unwrap().1).unwrap().into_bytes()
}

pub(crate) fn job_key(id: &JobId) -> Vec<u8> {
    [b"{uso:0}:j:", &bytes(id)[..]].concat()
}

pub(crate) fn failure(retryable: bool) -> Failure {
    Failure { code: "broke".into(), message: "it broke".into(), retryable, ..Failure::default() }
}

pub(crate) fn spec(class: Class, priority: i32) -> JobSpec {
    let body = serde_json::json!({ "prompt": "a cat", "class": class, "priority": priority, "seed": 7 });
    JobSpec::parse(&body, &Defaults::default()).unwrap()
}

pub(crate) fn bulk() -> JobSpec {
    spec(Class::Bulk, 0)
}

/// As long as a real one is.
pub(crate) fn checkpoint(step: u32) -> Checkpoint {
    Checkpoint {
        step,
        key: format!("checkpoints/0-0198a0b0-0000-7000-8000-00000000000a/1/{step}"),
        sha256: "00".repeat(32),
        fingerprint: format!(
            "sha256:{}, bf16, 1024x1024, 25 steps, guidance 4.0, {}",
            "11".repeat(32),
            "22".repeat(24)
        ),
        tries: Vec::new(),
    }
}

pub(crate) fn output(name: &str) -> Output {
    Output {
        uri: format!("s3://bucket/{name}.png"),
        sidecar: format!("s3://bucket/{name}.json"),
        thumbnail: None,
        width: 64,
        height: 64,
        bytes: 10,
        sha256: "00".into(),
        content_type: "image/png".into(),
        receipt: Receipt { steps: 2, device_ms: 80, worker: "cuda:0".into(), ..Receipt::default() },
        scores: None,
    }
}

/// Reads a tail until it has given `count` events.
pub(crate) async fn events(tail: &mut EventTail, count: usize) -> Vec<JobEvent> {
    let mut seen = Vec::new();
    let read = async {
        while seen.len() < count {
            seen.extend(tail.next().await.unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
    seen
}
