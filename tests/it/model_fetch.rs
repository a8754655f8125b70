//! Weights come from a hub whole and right, or not at all.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::hub::{Answer, Ask, COMMIT, Hub, sha256};
use crate::process::{PATIENCE, binary};

const BIG: &str = "acme/model/weights/big.safetensors";
const SMALL: &str = "acme/model/config.json";
const SECRET: &str = "hf_secret";
const MIB: usize = 1 << 20;

fn big() -> Vec<u8> {
    (0..3 * MIB).map(|index| (index % 251) as u8).collect()
}

fn sound(_: &Ask, answer: Answer) -> Answer {
    answer
}

/// A folder to fetch into, and a list of the hub's two files.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.list(json!([
            { "repo": "acme/model", "path": "config.json", "to": "small/config.json" },
            { "repo": "acme/model", "path": "weights/big.safetensors", "to": "big.safetensors" },
        ]));
        folder
    }

    fn list(&self, files: serde_json::Value) {
        std::fs::write(self.0.path().join("list.json"), files.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("model").join(name)
    }

    /// `uso model fetch` of the built-in list, without what this machine knows of hubs.
    fn command(&self, endpoint: &str) -> Command {
        let mut command = Command::new(binary());
        let path = |name: &str| self.0.path().join(name);
        command.args(["model", "fetch", "--endpoint", endpoint]).arg(path("model"));
        command.env("HF_HOME", path("home")).env_remove("HF_TOKEN").env_remove("HF_TOKEN_PATH");
        command.kill_on_drop(true);
        command
    }

    fn fetch(&self, hub: &Hub) -> Command {
        let mut command = self.command(&hub.endpoint);
        command.arg("--manifest").arg(self.0.path().join("list.json"));
        command
    }

    /// What it says when it refuses; nothing is left in the large file's place, nor of it where `kept` is false.
    async fn refuses(&self, hub: &Hub, kept: bool) -> String {
        let output = run(&mut self.fetch(hub)).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!self.path("big.safetensors").exists());
        assert_eq!(self.path("big.safetensors.part").exists(), kept);
        String::from_utf8(output.stderr).unwrap()
    }
}

async fn run(command: &mut Command) -> Output {
    tokio::time::timeout(PATIENCE, command.output()).await.expect("does not end").unwrap()
}

async fn succeeds(command: &mut Command) -> String {
    let output = run(command).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn files_come_whole_and_the_token_stays_with_the_hub() {
    let big = big();
    let renamed = |ask: &Ask, answer: Answer| match ask.file.strip_prefix("acme/old/") {
        Some(path) => {
            Answer::of(307).with("location", format!("/acme/model/resolve/{}/{path}", ask.revision))
        }
        None => answer,
    };
    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big)], renamed).await;
    let folder = Folder::new();
    folder.list(json!([
        { "repo": "acme/old", "path": "config.json", "to": "small/config.json" },
        { "repo": "acme/old", "path": "weights/big.safetensors", "to": "big.safetensors" },
    ]));
    let output = run(folder.fetch(&hub).env("HF_TOKEN", SECRET).env("USO_LOG", "trace")).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(folder.path("small/config.json")).unwrap(), b"{}");
    assert_eq!(std::fs::read(folder.path("big.safetensors")).unwrap(), big);
    assert!(!folder.path("big.safetensors.part").exists());
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(said.contains(&sha256(&big)) && !said.contains(SECRET), "{said}");

    let seen = hub.seen();
    assert!(seen.iter().any(|ask| ask.of_storage));
    for ask in &seen {
        let token = (!ask.of_storage).then(|| format!("Bearer {SECRET}"));
        assert_eq!(ask.authorization, token, "{ask:?}");
        let revision = if ask.method == "HEAD" { "main" } else { COMMIT };
        assert_eq!(ask.revision, revision, "{ask:?}");
    }
}

#[tokio::test]
async fn what_is_there_is_not_fetched_again_unless_it_is_damaged() {
    let big = big();
    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big)], sound).await;
    let folder = Folder::new();
    succeeds(&mut folder.fetch(&hub)).await;
    hub.seen();
    for (argument, gets) in [(None, 0), (Some("--verify"), 0)] {
        let said = succeeds(folder.fetch(&hub).args(argument)).await;
        assert!(
            said.starts_with("small/config.json: already there\nbig.safetensors: already there\n"),
            "{said}"
        );
        assert_eq!(hub.seen().iter().filter(|ask| ask.method == "GET").count(), gets);
    }

    let mut damaged = big.clone();
    damaged[MIB] ^= 1;
    std::fs::write(folder.path("big.safetensors"), &damaged).unwrap();
    succeeds(&mut folder.fetch(&hub)).await;
    assert_eq!(std::fs::read(folder.path("big.safetensors")).unwrap(), damaged, "only --verify reads it all");
    let said = succeeds(folder.fetch(&hub).arg("--verify")).await;
    assert!(said.contains("small/config.json: already there\nbig.safetensors: fetched 3.15 MB"), "{said}");
    assert_eq!(std::fs::read(folder.path("big.safetensors")).unwrap(), big);

    // With its size in the list, a file that is there needs no hub.
    let size = big.len();
    folder.list(json!([{ "repo": "acme/model", "path": "x", "to": "big.safetensors", "bytes": size }]));
    hub.seen();
    succeeds(&mut folder.fetch(&hub)).await;
    assert_eq!(hub.seen(), []);
}

#[tokio::test]
async fn a_fetch_that_was_killed_or_stopped_goes_on_where_it_was() {
    let gets = AtomicUsize::new(0);
    let big = big();
    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big)], move |ask, mut answer| {
        if ask.of_storage && gets.fetch_add(1, Ordering::Relaxed) < 2 {
            (answer.cut, answer.stalls) = (Some(MIB), true);
        }
        answer
    })
    .await;
    let folder = Folder::new();
    for (signal, code, reached) in [("KILL", None, MIB), ("INT", Some(1), 2 * MIB)] {
        let fetch = folder.fetch(&hub).stderr(Stdio::piped()).spawn().unwrap();
        until_it_has(&folder.path("big.safetensors.part"), reached).await;
        let id = fetch.id().unwrap().to_string();
        Command::new("kill").args([&format!("-{signal}"), &id]).status().await.unwrap();
        let output = tokio::time::timeout(PATIENCE, fetch.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), code, "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.contains("run the same command to resume"), signal == "INT", "{said}");
    }
    succeeds(&mut folder.fetch(&hub)).await;
    assert_eq!(std::fs::read(folder.path("big.safetensors")).unwrap(), big);
    let asked: Vec<_> = hub.seen().iter().filter(|ask| ask.of_storage).map(|ask| ask.from).collect();
    assert_eq!(asked, [None, Some(MIB), Some(2 * MIB)]);
}

async fn until_it_has(path: &Path, bytes: usize) {
    let grown = async {
        while std::fs::metadata(path).map_or(0, |file| file.len()) < bytes as u64 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, grown).await.expect("the file does not grow");
}

#[tokio::test]
async fn a_busy_hub_and_a_lost_connection_are_tried_again() {
    let asked = AtomicUsize::new(0);
    let big = big();
    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big)], move |ask, mut answer| {
        match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Answer::of(503),
            _ if ask.of_storage && ask.from.is_none() => {
                answer.cut = Some(MIB);
                answer
            }
            // A storage that knows no parts, once.
            _ if ask.of_storage && ask.from == Some(MIB) => {
                answer.status = 200;
                answer.body = self::big();
                answer.headers.retain(|(name, _)| *name != "content-range");
                answer.cut = Some(2 * MIB);
                answer
            }
            _ => answer,
        }
    })
    .await;
    let folder = Folder::new();
    succeeds(&mut folder.fetch(&hub)).await;
    assert_eq!(std::fs::read(folder.path("big.safetensors")).unwrap(), self::big());
    let asked: Vec<_> = hub.seen().iter().filter(|ask| ask.of_storage).map(|ask| ask.from).collect();
    assert_eq!(asked, [None, Some(MIB), Some(2 * MIB)]);
}

#[tokio::test]
async fn wrong_bytes_are_refused_with_what_came_and_what_is_expected() {
    let big = big();
    let damaged = |ask: &Ask, mut answer: Answer| {
        if ask.of_storage {
            answer.body[MIB] ^= 1;
        }
        answer
    };
    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big)], damaged).await;
    let mut came = big.clone();
    came[MIB] ^= 1;
    let folder = Folder::new();
    let said = folder.refuses(&hub, false).await;
    let expected = format!(
        "big.safetensors: the file has sha256 {}, sha256 {} is expected",
        sha256(&came),
        sha256(&big)
    );
    assert!(said.contains(&expected), "{said}");
    assert!(folder.path("small/config.json").exists(), "what came before is kept");

    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big)], |ask, mut answer| {
        if ask.method == "GET" && ask.file == SMALL {
            answer.body = b"[]".to_vec();
        }
        answer
    })
    .await;
    let said = Folder::new().refuses(&hub, false).await;
    assert!(said.contains("small/config.json: the file has git blob"), "{said}");
}

#[tokio::test]
async fn wrong_sizes_are_refused() {
    let big = big();
    let longer = |ask: &Ask, mut answer: Answer| {
        if ask.of_storage {
            answer.body.push(0);
        }
        answer
    };
    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big)], longer).await;
    let said = Folder::new().refuses(&hub, false).await;
    let (came, expected) = (big.len() + 1, big.len());
    assert!(
        said.contains(&format!("big.safetensors: the server offers {came} bytes, {expected} are expected")),
        "{said}"
    );

    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big)], sound).await;
    let folder = Folder::new();
    folder.list(json!([
        { "repo": "acme/model", "path": "weights/big.safetensors", "to": "big.safetensors", "bytes": 7 },
    ]));
    let said = folder.refuses(&hub, false).await;
    assert!(said.contains(&format!("has {expected} bytes at {}/, not 7", hub.endpoint)), "{said}");

    let digest = sha256(b"another");
    folder.list(json!([
        { "repo": "acme/model", "path": "weights/big.safetensors", "to": "big.safetensors", "sha256": digest },
    ]));
    let said = folder.refuses(&hub, false).await;
    assert!(said.contains(&format!("sha256 {digest} is expected")), "{said}");
}

#[tokio::test]
async fn a_closed_repository_names_its_licence_page_and_the_variable_of_the_token() {
    for status in [401, 403] {
        let hub = Hub::start(&[], move |_, _| Answer::of(status)).await;
        let folder = Folder::new();
        let page = format!("{}/acme/model", hub.endpoint);
        let said = folder.refuses(&hub, false).await;
        for part in [&page, "HF_TOKEN", "no token was sent", &status.to_string()] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let refused = run(folder.fetch(&hub).env("HF_TOKEN", SECRET)).await;
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("the token was rejected") && !said.contains(SECRET), "{said}");
        assert_eq!(hub.seen().len(), 2, "asking again would not help");
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let hub = Hub::start(&[(SMALL, b"{}")], sound).await;
    let said = Folder::new().refuses(&hub, false).await;
    assert!(said.contains("there is no weights/big.safetensors in acme/model at revision main"), "{said}");
}

#[tokio::test]
async fn a_login_page_is_not_taken_for_a_file() {
    let page = || {
        let mut page = Answer::of(200).with("content-type", "text/html; charset=utf-8");
        page.body = b"<html>who are you?</html>".to_vec();
        page
    };
    let everywhere = Hub::start(&[], move |_, _| page()).await;
    let said = Folder::new().refuses(&everywhere, false).await;
    assert!(said.contains("small/config.json: 127.0.0.1 answered with a web page"), "{said}");

    let elsewhere =
        Hub::start(&[], |_, _| Answer::of(302).with("location", "http://127.0.0.1:9/login")).await;
    let said = Folder::new().refuses(&elsewhere, false).await;
    assert!(said.contains("states no size and hash for it"), "{said}");

    let big = big();
    let at_storage = move |ask: &Ask, answer: Answer| if ask.of_storage { page() } else { answer };
    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big)], at_storage).await;
    let said = Folder::new().refuses(&hub, true).await;
    assert!(said.contains("big.safetensors: 127.0.0.1 answered with a web page"), "{said}");
}

#[tokio::test]
async fn a_disk_that_is_too_small_is_noticed_before() {
    let hub = Hub::start(&[(SMALL, b"{}"), (BIG, &big())], |ask, answer| {
        if ask.file == BIG { answer.with("x-linked-size", u64::MAX) } else { answer }
    })
    .await;
    let folder = Folder::new();
    let said = folder.refuses(&hub, false).await;
    assert!(said.contains("needs 18.45 EB more and the disk has"), "{said}");
    assert!(hub.seen().iter().all(|ask| ask.method == "HEAD"));
}

#[tokio::test]
async fn every_tier_is_listed_without_a_network_and_then_fetched_into_its_places() {
    for (tier, transformer) in [
        ("bf16", "FLUX.1-dev/flux1-dev.safetensors"),
        ("fp8", "FLUX.1-dev/flux1-dev-fp8-e4m3fn.safetensors"),
        ("q8_0", "FLUX.1-dev/flux1-dev-Q8_0.gguf"),
        ("q6_k", "FLUX.1-dev/flux1-dev-Q6_K.gguf"),
        ("q4_k", "FLUX.1-dev/flux1-dev-Q4_K_S.gguf"),
    ] {
        let folder = Folder::new();
        // Nobody listens there.
        let list = succeeds(folder.command("http://127.0.0.1:9").args(["--tier", tier, "--list"])).await;
        let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
        let (total, rows) = rows[1..].split_last().unwrap();
        let known: u64 = rows.iter().filter_map(|row| row[1].parse::<u64>().ok()).sum();
        assert_eq!(total[2..4].concat(), format!("{:.2}GB,", known as f64 / 1e9), "{list}");
        assert!(
            !list.contains("pytorch_model.bin") && rows.iter().any(|row| row[0] == transformer),
            "{list}"
        );
        assert!(!folder.path("").exists());

        let files: Vec<(&str, &[u8])> = rows.iter().map(|row| (row[2], row[0].as_bytes())).collect();
        let hub = Hub::start(&files, sound).await;
        let said = succeeds(folder.command(&hub.endpoint).args(["--tier", tier])).await;
        assert!(said.ends_with(&format!("all {} files are there\n", rows.len())), "{said}");
        for row in rows {
            assert_eq!(std::fs::read(folder.path(row[0])).unwrap(), row[0].as_bytes());
        }
    }
}
