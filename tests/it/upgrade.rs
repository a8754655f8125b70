//! A data folder of an older version goes on under this one.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::process::{PATIENCE, Process, binary};

const RECORDED: &str = "fixtures/data_0_1";

/// Steps that the half-sampled job has behind it in its newest checkpoint.
const RECORDED_STEPS: u64 = 12;

struct Upgraded {
    fleet: Process,
    ids: Value,
    client: reqwest::Client,
}

impl Upgraded {
    async fn start(folder: &Path) -> Self {
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(format!("{RECORDED}/data.tar")).arg("-C").arg(folder);
        assert!(unpack.status().await.unwrap().success());
        let ids = std::fs::read(format!("{RECORDED}/ids.json")).unwrap();
        let data = folder.join("data");
        let up = ["up", "--port", "0", "--data", data.to_str().unwrap(), "--allow-test-engine"];
        let engine = ["--engine", "scripted:step=10ms"];
        let fleet = Process::start(&[&up[..], &engine].concat(), &[]).await;
        Self { fleet, ids: serde_json::from_slice(&ids).unwrap(), client: reqwest::Client::new() }
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(self.url(path)).send().await.unwrap().json().await.unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.fleet.address())
    }

    fn named(&self, name: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match &self.ids[name] {
            Value::Array(ids) => ids.iter().map(text).collect(),
            id => vec![text(id)],
        }
    }

    /// What a job has ended as.
    async fn ended(&self, id: &str) -> Value {
        let ends = async {
            loop {
                let view = self.get(&format!("jobs/{id}")).await;
                if view["finished_ms"].is_u64() {
                    return view;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ends).await.expect("it does not end")
    }

    async fn submit_again(&self, key: &str, body: &Value) -> (u16, Value) {
        let path = if body.get("jobs").is_some() { "batches" } else { "jobs" };
        let asked = self.client.post(self.url(path)).header("idempotency-key", key).json(body);
        let answer = asked.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

fn job(prompt: &str, seed: usize, steps: u32) -> Value {
    json!({ "prompt": prompt, "seed": seed, "steps": steps, "width": 64, "height": 64 })
}

fn bulk(prompt: &str, seed: usize, steps: u32) -> Value {
    let mut job = job(prompt, seed, steps);
    job["class"] = "bulk".into();
    job
}

#[tokio::test]
async fn what_an_older_version_left_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut upgraded = Upgraded::start(folder.path()).await;
    for id in upgraded.named("finished") {
        let result = upgraded.client.get(upgraded.url(&format!("jobs/{id}/result"))).send().await.unwrap();
        assert_eq!(result.status(), 200, "{id}");
    }
    let half = upgraded.ended(&upgraded.named("half")[0]).await;
    assert_eq!((&half["state"], &half["attempt"]), (&"succeeded".into(), &1.into()), "{half}");
    assert_eq!(half["output"]["receipt"]["resumed_from"], RECORDED_STEPS, "{half}");
    for id in upgraded.named("queued") {
        assert_eq!(upgraded.ended(&id).await["state"], "succeeded");
    }
    let batch = format!("batches/{}", upgraded.named("batch")[0]);
    let done = async {
        while upgraded.get(&batch).await["counts"]["succeeded"] != 5 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("the batch does not end");
    let webhooks = upgraded.get("webhooks").await;
    assert!(webhooks.to_string().contains("http://127.0.0.1:9/hook"), "{webhooks}");
    upgraded.fleet.signal("INT").await;
    assert!(upgraded.fleet.ended().await);
}

#[tokio::test]
async fn keys_of_an_older_version_still_name_their_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let upgraded = Upgraded::start(folder.path()).await;
    let mut asked = vec![("half".to_owned(), bulk("half-sampled", 7, 60), upgraded.named("half")[0].clone())];
    for (i, id) in upgraded.named("finished").into_iter().enumerate() {
        asked.push((format!("finished-{i}"), job(&format!("finished {i}"), i, 3), id));
    }
    for (i, id) in upgraded.named("queued").into_iter().enumerate() {
        asked.push((format!("queued-{i}"), bulk(&format!("queued {i}"), i, 3), id));
    }
    let rows: Vec<Value> = (0..5).map(|i| bulk(&format!("row {i}"), i, 2)).collect();
    let batch = json!({ "jobs": rows, "metadata": { "name": "rows" } });
    asked.push(("batch".into(), batch, upgraded.named("batch")[0].clone()));
    for (key, body, id) in asked {
        let (status, answer) = upgraded.submit_again(&key, &body).await;
        assert!((200..300).contains(&status), "{key}: {status} {answer}");
        assert_eq!(answer["id"], id, "{key} made another job: {answer}");
    }
}

#[tokio::test]
async fn api_keys_of_an_older_version_are_still_there() {
    let folder = tempfile::tempdir().unwrap();
    let upgraded = Upgraded::start(folder.path()).await;
    let redis = upgraded_redis(folder.path());
    let listed = Command::new(binary()).args(["keys", "list", "--redis", &redis]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("alice"), "{listed:?}");
    drop(upgraded);
}

/// Where the private Redis of a data folder listens.
fn upgraded_redis(folder: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(folder.join("data/redis").join(name)).unwrap();
    format!("redis://:{}@127.0.0.1:{}", read("password").trim(), read("port").trim())
}
