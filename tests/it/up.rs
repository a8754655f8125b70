//! Everything in one process, as on a single machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use uso_local::PrivateRedis;
use uso_queue::{Config, Defaults, JobSpec, Queue};

use crate::fleet::{example, looks_as_recorded};
use crate::process::{PATIENCE, Process, binary};

async fn up(data: &Path) -> Process {
    up_with(data, &[]).await
}

async fn up_with(data: &Path, environment: &[(&str, String)]) -> Process {
    Process::start(&["up", "--port", "0", "--data", data.to_str().unwrap()], environment).await
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
    let ended = async {
        loop {
            let view: Value = reqwest::get(&job).await.unwrap().json().await.unwrap();
            if view["finished_ms"].is_u64() {
                return view;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let view = tokio::time::timeout(PATIENCE, ended).await.expect("the job does not end");
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
    let password = std::fs::read_to_string(folder.path().join("redis/password")).unwrap();
    redis.write_all(format!("AUTH {password}\r\nSHUTDOWN\r\n").as_bytes()).await.unwrap();
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
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let _up = up(&data).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("s3-keys.json")), 0o600);
    assert_eq!(mode(&data.join("redis/password")), 0o600);
    assert_eq!(mode(&data.join("redis")), 0o700);
}

#[tokio::test]
async fn the_private_redis_lets_nobody_in_without_its_password_and_an_old_folder_is_taken_along() {
    let folder = tempfile::tempdir().unwrap();
    let redis = folder.path().join("redis");
    // As a version before left it: open to others, and without a password.
    let old = PrivateRedis::start(&redis, None).await.unwrap();
    std::fs::set_permissions(&redis, std::fs::Permissions::from_mode(0o755)).unwrap();
    let queue = Queue::connect(Config::new(old.url())).await.unwrap();
    queue.migrate().await.unwrap();
    let spec = JobSpec::parse(&serde_json::json!({ "steps": 2 }), &Defaults::default()).unwrap();
    let job = queue.submit("default", &spec).await.unwrap().id;
    old.stop().await.unwrap();

    let up = up(folder.path()).await;
    let view = format!("{}/v1/jobs/{job}", up.address());
    assert_eq!(reqwest::get(view).await.unwrap().status(), 200, "the old folder's job is gone");
    assert_eq!(std::fs::metadata(&redis).unwrap().permissions().mode() & 0o777, 0o700);
    let port = std::fs::read_to_string(redis.join("port")).unwrap();
    let refused = Queue::connect(Config::new(format!("redis://127.0.0.1:{port}"))).await.err().unwrap();
    assert!(refused.to_string().to_uppercase().contains("AUTH"), "{refused}");
}

/// A `redis-server` that runs once, and then says that the disk is full.
const FULL: &str = "#!/bin/sh
case \"$1\" in --version) exec REAL --version ;; esac
if [ -e FOLDER/full ]; then
  echo '1:M 01 Jan 2026 00:00:00.000 # Error writing to the AOF file: No space left on device' >> redis.log
  echo '1:M 01 Jan 2026 00:00:00.001 # Redis is now ready to exit, bye bye...' >> redis.log
  exit 1
fi
touch FOLDER/full
exec REAL \"$@\"
";

#[tokio::test]
async fn a_redis_that_keeps_ending_is_given_up_by_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut places = std::env::split_paths(&path).map(|place| place.join("redis-server"));
    let real = places.find(|place| place.is_file()).unwrap();
    let script = FULL.replace("REAL", real.to_str().unwrap());
    let script = script.replace("FOLDER", folder.path().to_str().unwrap());
    std::fs::write(folder.path().join("redis-server"), script).unwrap();
    std::fs::set_permissions(folder.path().join("redis-server"), std::fs::Permissions::from_mode(0o755))
        .unwrap();

    let data = folder.path().join("data");
    let path = format!("{}:{path}", folder.path().display());
    let mut up = Command::new(binary())
        .args(["up", "--port", "0", "--data", data.to_str().unwrap()])
        .env("PATH", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().unwrap().contains("ready"));
    let url = format!(
        "redis://:{}@127.0.0.1:{}",
        std::fs::read_to_string(data.join("redis/password")).unwrap(),
        std::fs::read_to_string(data.join("redis/port")).unwrap()
    );
    let mut connection = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let _: Result<redis::Value, _> = redis::cmd("SHUTDOWN").query_async(&mut connection).await;
    let output = tokio::time::timeout(PATIENCE, up.wait_with_output()).await.expect("it goes on").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains("ended 8 times in a row") && last.contains("the disk is full"), "{said}");
}

#[tokio::test]
async fn variables_are_read_as_they_are_meant() {
    let folder = tempfile::tempdir().unwrap();
    // Empty ones are not set; each of these would otherwise refuse the start.
    let mut environment: Vec<(&str, String)> = [
        "USO_REDIS",
        "USO_REDIS_CA",
        "USO_SHARDS",
        "USO_DURABILITY",
        "USO_S3_ENDPOINT",
        "USO_S3_PUBLIC_ENDPOINT",
        "USO_S3_BUCKET",
        "USO_S3_REGION",
        "USO_S3_REFERENCE_BUCKETS",
        "USO_WEB_REFERENCES",
        "USO_MODEL",
        "USO_DEVICE",
        "USO_DTYPE",
        "USO_TIER",
        "USO_T5",
        "USO_STREAM",
        "USO_VRAM",
        "USO_VRAM_RESERVE",
        "USO_LORAS",
        "USO_VERIFY",
        "USO_ENGINE",
        "USO_ALLOW_TEST_ENGINE",
        "USO_LORA_FOLDER",
        "USO_AUTH",
        "USO_ALLOW_PRIVATE_WEBHOOKS",
        "USO_PUBLIC_URL",
        "USO_CORS_ORIGINS",
        "USO_MAX_STEP_CACHE",
        "USO_LOG_FORMAT",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_PROFILE",
    ]
    .map(|name| (name, String::new()))
    .into();
    environment.push(("USO_LOG", " warn\n".into()));
    let up = up_with(&folder.path().join("data"), &environment).await;
    assert_eq!(reqwest::get(format!("{}/readyz", up.address())).await.unwrap().status(), 200);
}
