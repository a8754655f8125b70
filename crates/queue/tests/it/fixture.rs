//! A Redis of its own for each test, and shorthands.

use std::time::Duration;

use uso_queue::private_redis::PrivateRedis;
use uso_queue::{Class, Config, Defaults, EventTail, JobEvent, JobSpec, Lease, Output, Queue, WorkerId};

pub(crate) struct Fixture {
    pub(crate) redis: PrivateRedis,
    pub(crate) queue: Queue,
    pub(crate) worker: WorkerId,
    _folder: tempfile::TempDir,
}

const LIBRARY: &str = include_str!("../../../../migrations/0001_jobs.lua");

impl Fixture {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let redis = PrivateRedis::start(folder.path(), None).await.unwrap();
        let queue = Queue::connect(Config::new(redis.url())).await.unwrap();
        queue.migrate().await.unwrap();
        Self { redis, queue, worker: WorkerId::new(), _folder: folder }
    }

    /// Another process' view of the same queue.
    pub(crate) async fn another(&self) -> Queue {
        Queue::connect(Config::new(self.redis.url())).await.unwrap()
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
        self.queue.claim(&self.worker, &Class::ALL).await.unwrap()
    }

    pub(crate) async fn claim_as(&self, worker: &WorkerId) -> Option<Lease> {
        self.queue.claim(worker, &Class::ALL).await.unwrap()
    }

    /// Runs a raw command.
    pub(crate) async fn raw<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
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

    /// Loads a library whose clock is `ahead`.
    pub(crate) async fn set_clock(&self, ahead: Duration) {
        let clock = "return time[1] * 1000 + math.floor(time[2] / 1000)";
        assert!(LIBRARY.contains(clock));
        let library = LIBRARY.replace(clock, &format!("{clock} + {}", ahead.as_millis()));
        self.raw::<redis::Value>(&["FUNCTION", "LOAD", "REPLACE", &library]).await.unwrap();
    }
}

pub(crate) fn spec(class: Class, priority: i32) -> JobSpec {
    let body = serde_json::json!({ "prompt": "a cat", "class": class, "priority": priority, "seed": 7 });
    JobSpec::parse(&body, &Defaults::default()).unwrap()
}

pub(crate) fn bulk() -> JobSpec {
    spec(Class::Bulk, 0)
}

pub(crate) fn output(name: &str) -> Output {
    Output {
        uri: format!("s3://bucket/{name}.png"),
        sidecar: format!("s3://bucket/{name}.json"),
        width: 64,
        height: 64,
        bytes: 10,
        sha256: "00".into(),
        content_type: "image/png".into(),
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
