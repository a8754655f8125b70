//! Everything in one process, as on a single machine.

use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::fleet::{example, looks_as_recorded};
use crate::process::{PATIENCE, Process, binary};

async fn up(data: &Path) -> Process {
    Process::start(&["up", "--port", "0", "--data", data.to_str().unwrap()], &[]).await
}

/// Where the page may fetch pictures from.
async fn policy(up: &Process) -> String {
    let page = reqwest::get(up.address()).await.unwrap();
    page.headers()["content-security-policy"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_command_runs_a_fleet_and_another_gets_a_picture_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = up(&folder.path().join("data")).await;
    let (content, out) = (folder.path().join("star.png"), folder.path().join("out.png"));
    std::fs::write(&content, example("content_star.png")).unwrap();
    let submitted = Command::new(binary())
        .args(["submit", "--api", &up.address(), "--prompt", "the star is at the left on a green field"])
        .args(["--seed", "101", "--content", content.to_str().unwrap(), "--out", out.to_str().unwrap()])
        .output()
        .await
        .unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    looks_as_recorded(&std::fs::read(&out).unwrap(), "golden_1.png");
    up.signal("INT").await;
    assert!(up.ended().await);
}

#[tokio::test]
async fn a_job_and_its_picture_are_still_there_after_a_kill_and_a_new_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut first = up(&data).await;
    let submit = Command::new(binary())
        .args(["submit", "--api", &first.address(), "--prompt", "a red circle", "--steps", "2", "--no-wait"])
        .output();
    let id = String::from_utf8(submit.await.unwrap().stdout).unwrap().trim().to_owned();
    let before = policy(&first).await;
    first.signal("KILL").await;
    assert!(!first.ended().await);

    let second = up(&data).await;
    assert_eq!(policy(&second).await, before, "a page that is open finds the store no more");
    let job = format!("{}/v1/jobs/{id}", second.address());
    let view = loop {
        let view: Value = reqwest::get(&job).await.unwrap().json().await.unwrap();
        if view["finished_ms"].is_u64() {
            break view;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(view["state"], "succeeded", "{view}");
    assert_eq!(reqwest::get(format!("{job}/result")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_private_redis_that_ends_by_itself_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let up = up(folder.path()).await;
    let job = serde_json::json!({ "prompt": "a red circle", "steps": 2 });
    let submit = || reqwest::Client::new().post(format!("{}/v1/jobs", up.address())).json(&job).send();
    let first = submit().await.unwrap();
    assert_eq!(first.status(), 202);

    let port = std::fs::read_to_string(folder.path().join("redis/port")).unwrap();
    let mut redis = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    redis.write_all(b"SHUTDOWN\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = redis.read_to_end(&mut rest).await;

    let again = async {
        while submit().await.unwrap().status() != 202 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("no job is accepted any more");
    let place = format!("{}{}", up.address(), first.headers()["location"].to_str().unwrap());
    assert_eq!(reqwest::get(place).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_data_folder_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let _first = up(folder.path()).await;
    let second = Command::new(binary())
        .args(["up", "--port", "0", "--data", folder.path().to_str().unwrap()])
        .output()
        .await
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another `uso up` uses"), "{second:?}");
}

#[tokio::test]
async fn keys_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let _up = up(&data).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("s3-keys.json")), 0o600);
}
