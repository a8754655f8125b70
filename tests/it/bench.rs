//! The benchmark measures and writes what it found; how fast anything is, is not judged here.

use serde_json::Value;
use tokio::process::Command;

use crate::process::{PATIENCE, binary};

#[tokio::test]
async fn a_benchmark_of_the_queue_writes_each_figure_beside_its_goal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.json");
    let run = Command::new(binary())
        .args(["bench", "queue", "--quick", "--json", file.to_str().unwrap()])
        // Nothing is there: the figures that need it say so.
        .args(["--peers", folder.path().to_str().unwrap()])
        .args(
            ["enqueue-one", "drain", "pickup", "longest-call", "shares"].map(|only| format!("--only={only}")),
        )
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(PATIENCE, run).await.expect("does not end").unwrap();
    assert!(run.status.success(), "{run:?}");

    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let mut parts: Vec<&String> = report.as_object().unwrap().keys().collect();
    parts.sort();
    assert_eq!(parts, ["bench", "machine", "rows"]);
    assert_eq!(report["bench"], "queue");
    assert!(report["machine"]["redis"].as_str().unwrap().contains("v=7"), "{report}");
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8, "{report}");
    let table = String::from_utf8(run.stdout).unwrap();
    for row in rows {
        let against_a_peer = row["figure"].as_str().unwrap().ends_with("against BullMQ");
        assert_eq!(row["value"].is_null(), against_a_peer, "{row}");
        assert!(!against_a_peer || row["met"] == false, "{row}");
        assert!(row["met"].is_boolean() && row["unit"].is_string() && row["goal"].is_string(), "{row}");
        assert_eq!(row.as_object().unwrap().len(), 5, "{row}");
        assert!(table.contains(row["figure"].as_str().unwrap()), "{table}");
    }
}
