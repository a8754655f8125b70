//! What `uso submit` says while it waits.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use uso_queue::{WorkerId, WorkerReport};

use crate::fleet::Fleet;
use crate::process::{PATIENCE, binary};

#[tokio::test]
async fn a_lora_that_no_worker_has_is_named_while_the_job_waits() {
    let fleet = Fleet::start().await;
    fleet.queue().await.register(&WorkerId::new(), &WorkerReport::default()).await.unwrap();
    let mut submit = Command::new(binary())
        .args(["submit", "--api", &fleet.api.address(), "--prompt", "a cat", "--lora", "nope"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(submit.stderr.take().unwrap());
    let mut line = String::new();
    let read = tokio::time::timeout(PATIENCE, said.read_line(&mut line)).await;
    read.expect("it says nothing").unwrap();
    assert_eq!(line, "uso: your job waits: no running worker has the LoRA nope\n");

    let waiting: Value = fleet.get("/v1/jobs?state=queued").await.json().await.unwrap();
    let job = waiting["jobs"][0]["id"].as_str().unwrap();
    fleet.post(&format!("/v1/jobs/{job}/cancel"), &json!({})).await;
    let mut rest = String::new();
    tokio::time::timeout(PATIENCE, said.read_to_string(&mut rest)).await.expect("it goes on").unwrap();
    assert!(rest.starts_with(&format!("uso: job {job} canceled")), "{rest}");
}
