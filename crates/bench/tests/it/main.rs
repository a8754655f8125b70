//! The benchmark measures and writes what it found; how fast anything is, is not judged here.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// Long enough for a loaded machine, short enough to see that something hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs a benchmark; gives its report and what it printed.
async fn run(args: &[&str]) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let run = Command::new(env!("CARGO_BIN_EXE_uso-bench"))
        .args(args)
        .args(["--quick", "--json", file.to_str().unwrap()])
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(PATIENCE, run).await.expect("does not end").unwrap();
    assert!(run.status.success(), "{run:?}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    (report, String::from_utf8(run.stdout).unwrap())
}

/// Checks the form of a report; gives its rows.
fn rows(report: &Value, bench: &str, table: &str) -> Vec<Value> {
    let mut parts: Vec<&String> = report.as_object().unwrap().keys().collect();
    parts.sort();
    assert_eq!(parts, ["bench", "machine", "rows"]);
    assert_eq!(report["bench"], bench);
    let redis = report["machine"]["redis"].as_str();
    assert!(bench == "engine" || redis.unwrap().contains("v=7"), "{report}");
    let rows = report["rows"].as_array().unwrap();
    for row in rows {
        assert!(row["met"].is_boolean() && row["unit"].is_string() && row["goal"].is_string(), "{row}");
        assert_eq!(row.as_object().unwrap().len(), 5, "{row}");
        assert!(table.contains(row["figure"].as_str().unwrap()), "{table}");
    }
    rows.clone()
}

#[tokio::test]
async fn a_benchmark_of_the_queue_writes_each_figure_beside_its_goal() {
    let nothing = tempfile::tempdir().unwrap();
    // No peers are there: the figures that need them say so.
    let mut args = vec!["queue", "--peers", nothing.path().to_str().unwrap()];
    args.extend(
        ["enqueue-one", "drain", "pickup", "longest-call", "shares"].iter().flat_map(|only| ["--only", only]),
    );
    let (report, table) = run(&args).await;
    let rows = rows(&report, "queue", &table);
    assert_eq!(rows.len(), 8, "{report}");
    for row in rows {
        let against_a_peer = row["figure"].as_str().unwrap().ends_with("against BullMQ");
        assert_eq!(row["value"].is_null(), against_a_peer, "{row}");
        assert!(!against_a_peer || row["met"] == false, "{row}");
    }
}

#[tokio::test]
async fn a_benchmark_of_the_api_writes_each_figure_beside_its_goal() {
    let (report, table) = run(&["api"]).await;
    let rows = rows(&report, "api", &table);
    assert_eq!(rows.len(), 11, "{report}");
    for row in &rows {
        // What drives one is not where tests run.
        let needs_a_browser = row["figure"].as_str().unwrap().ends_with("first useful paint");
        assert_eq!(row["value"].is_null(), needs_a_browser, "{row}");
    }
    let connections = rows.iter().find(|row| row["unit"] == "more").unwrap();
    assert_eq!(connections["value"], 0.0, "a stream has a connection of its own to Redis");
}

#[tokio::test]
async fn a_benchmark_of_the_worker_writes_each_figure_beside_its_goal() {
    let (report, table) = run(&["worker"]).await;
    let rows = rows(&report, "worker", &table);
    assert_eq!(rows.len(), 12, "{report}");
    for row in &rows {
        assert!(row["value"].is_number(), "{row}");
    }
    // What does not depend on the machine's speed.
    for (figure, value) in [("repeated after SIGTERM", 0.0), ("identical bytes", 1.0), ("leases lost", 0.0)] {
        let row = rows.iter().find(|row| row["figure"].as_str().unwrap().contains(figure)).unwrap();
        assert_eq!(row["value"], value, "{row}");
    }
}

#[tokio::test]
async fn a_benchmark_of_data_sets_writes_each_figure_beside_its_goal() {
    let (report, table) = run(&["dataset"]).await;
    let rows = rows(&report, "dataset", &table);
    assert_eq!(rows.len(), 11, "{report}");
    for row in &rows {
        // So few rows may be over before anybody looks.
        let may_be_null = row["figure"].as_str().unwrap().starts_with("Redis while");
        assert!(row["value"].is_number() || may_be_null, "{row}");
    }
    let killed = rows.iter().find(|row| row["unit"] == "faults").unwrap();
    assert_eq!(killed["value"], 0.0, "{killed}");
}

#[tokio::test]
async fn a_benchmark_of_the_engine_writes_each_figure_beside_its_goal() {
    let (report, table) = run(&["engine"]).await;
    let rows = rows(&report, "engine", &table);
    assert_eq!(rows.len(), 24, "{report}");
    // Products in eight bits need a kind of processor; PyTorch is of use only at its width; nobody names a build.
    let absent = [
        "T5",
        "transformer of",
        "autoencoder,",
        "SigLIP",
        "job of 25 steps",
        "the same, extrapolated",
        "peak memory of a step",
        "demo picture",
    ];
    for row in &rows {
        let figure = row["figure"].as_str().unwrap();
        let may_be_null = absent.iter().any(|begin| figure.starts_with(begin));
        assert!(row["value"].is_number() || may_be_null, "{row}");
    }
    // What depends on headers alone.
    for figure in [
        "bytes of weights that a step",
        "published layouts that inspect",
        "with the plan that they",
        "style encoder calls",
        "modulation passes",
    ] {
        let row = rows.iter().find(|row| row["figure"].as_str().unwrap().contains(figure)).unwrap();
        assert_eq!(row["met"], true, "{row}");
    }
}

#[tokio::test]
async fn a_check_of_a_device_finds_the_cpu_good() {
    let (report, table) = run(&["device", "--device", "cpu"]).await;
    let rows = report["rows"].as_array().unwrap();
    for check in ["start", "parity", "resume", "tier", "jobs"] {
        assert!(rows.iter().any(|row| row["check"] == check), "{check}: {table}");
    }
    for row in rows {
        assert!(row["measured"].is_number() && row["ok"] != false, "{row}");
        assert!(table.contains(row["what"].as_str().unwrap()), "{table}");
    }
    // Each tier's seconds and memory stand beside what is expected.
    for row in rows.iter().filter(|row| row["check"] == "tier") {
        assert!(row["model"].as_f64().unwrap() > 0.0, "{row}");
    }
}
