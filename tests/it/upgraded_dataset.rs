//! A data set that an older version has half made goes on under this one.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::process::{PATIENCE, Process, binary};

const RECORDED: &str = "fixtures/dataset_0_1/data.tar.gz";
const ROWS: u64 = 120;

fn manifest(folder: &Path, prompt: impl Fn(u64) -> String) -> String {
    let row = |row: u64| json!({ "key": format!("fox-{row}"), "prompt": prompt(row), "steps": 2, "width": 64, "height": 64, "seed": row });
    let path = folder.join("rows.jsonl");
    std::fs::write(&path, (0..ROWS).map(|number| row(number).to_string() + "\n").collect::<String>())
        .unwrap();
    path.to_str().unwrap().to_owned()
}

async fn batch(fleet: &Process, words: &[&str]) -> (bool, String) {
    let mut batch = Command::new(binary());
    batch.args(["batch", "--json", "--api", &fleet.address()]).args(words);
    let done = batch.output().await.unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}

async fn until(fleet: &Process, reached: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let page = reqwest::get(format!("{}/v1/batches", fleet.address())).await.unwrap();
            let page: Value = page.json().await.unwrap();
            if reached(&page["batches"][0]) {
                return page["batches"][0].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the data set does not get there")
}

fn is_made(view: &Value) -> bool {
    let (counts, dataset) = (&view["counts"], &view["dataset"]);
    let left = [&counts["queued"], &counts["running"], &dataset["waiting"], &dataset["open_rows"]];
    left.iter().all(|left| **left == json!(0))
        && dataset["next_row"] == dataset["started"]
        && dataset["packed"] == dataset["shards"]
        && dataset["described"] == dataset["packed"]
        && dataset["retrying"].is_null()
}

#[tokio::test]
async fn a_half_made_data_set_of_an_older_version_is_finished_and_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(RECORDED).arg("-C").arg(folder.path());
    assert!(unpack.status().await.unwrap().success());
    let data = folder.path().join("data");
    let up = ["up", "--port", "0", "--data", data.to_str().unwrap(), "--allow-test-engine"];
    let mut fleet =
        Process::start(&[&up[..], &["--engine", "scripted:step=1ms,size=16"]].concat(), &[]).await;
    let view = until(&fleet, is_made).await;
    let failed = view["counts"]["failed"].as_u64().unwrap();
    assert!(failed > 0, "{view}");
    assert_eq!(view["counts"]["succeeded"].as_u64().unwrap() + failed, ROWS, "{view}");

    // The same manifest has nothing new; rows that failed are replaced, and made anew alone.
    let same = manifest(folder.path(), |row| format!("fox {row}"));
    let (ok, said) = batch(&fleet, &["create", &same, "--name", "foxes"]).await;
    assert!(ok && said.contains("\"same\": 120"), "{said}");
    let rows = reqwest::get(format!(
        "{}/v1/batches/{}/rows?state=failed",
        fleet.address(),
        view["id"].as_str().unwrap()
    ));
    let rows: Value = rows.await.unwrap().json().await.unwrap();
    let number = rows["rows"][0]["row"].as_u64().unwrap();
    let job = rows["rows"][0]["job"].as_str().unwrap();
    let job: Value =
        reqwest::get(format!("{}/v1/jobs/{job}", fleet.address())).await.unwrap().json().await.unwrap();
    assert_eq!(job["row"], number, "{job}");
    let changed =
        manifest(folder.path(), |row| format!("{} {row}", if row == number { "cat" } else { "fox" }));
    let (ok, said) = batch(&fleet, &["create", &changed, "--name", "foxes", "--replace"]).await;
    assert!(ok && said.contains("\"replaced\": 1,"), "{said}");
    let view = until(&fleet, |view| is_made(view) && view["counts"]["failed"] == failed - 1).await;
    assert_eq!(view["dataset"]["pass"], 1, "{view}");

    // The others for their reason.
    let (ok, said) = batch(&fleet, &["retry-failed", "foxes", "--reason", "scripted_failure"]).await;
    assert!(ok, "{said}");
    until(&fleet, |view| is_made(view) && view["counts"]["succeeded"] == ROWS).await;
    let pulled = folder.path().join("pulled");
    let pulled = pulled.to_str().unwrap();
    let (ok, said) = batch(&fleet, &["pull", "foxes", pulled]).await;
    assert!(ok, "{said}");
    let (ok, said) = batch(&fleet, &["verify", pulled]).await;
    assert!(ok && said.contains("\"rows\": 120"), "{said}");
    fleet.signal("INT").await;
    assert!(fleet.ended().await);
}
