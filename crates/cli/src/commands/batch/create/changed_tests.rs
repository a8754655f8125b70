//! Rows that ask for something else, and manifests that change meanwhile.

use serde_json::{Value, json};

use super::tests::{Kept, api, create, look, manifest, prompts};

#[tokio::test]
async fn changed_rows_are_replaced_chunk_by_chunk_and_those_that_stay_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    let made = || json!({ "prompt": "made", "key": "made-1" });
    create(&address, &manifest(folder.path(), prompts(2500).chain([made()])), &[]).await.unwrap();
    let cat = |number: u64| json!({ "prompt": "a cat", "key": format!("fox-{number}") });
    // In another order, and with a row more.
    let mut rows: Vec<Value> = prompts(2501).collect();
    for number in [5, 6, 1700] {
        rows[number] = cat(number as u64);
    }
    rows.reverse();
    let replaced = manifest(folder.path(), rows.into_iter().chain([made()]));
    create(&address, &replaced, &["--replace"]).await.unwrap();
    let cats = |kept: &Kept| {
        let rows = kept.chunks.iter().flatten().filter(|row| row.job.prompt == "a cat");
        rows.map(|row| row.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(look(&kept, cats), ["fox-5", "fox-6", "fox-1700"]);
    assert_eq!(look(&kept, |kept| (kept.rows(), kept.started, kept.replacements)), (2502, 2502, 2));
    create(&address, &replaced, &["--replace"]).await.unwrap();
    assert_eq!(look(&kept, |kept| kept.replacements), 2, "nothing has changed since");

    let other = json!({ "prompt": "another", "key": "made-1" });
    let rows = prompts(2502).chain([other]);
    let changed = manifest(folder.path(), rows);
    let refused = create(&address, &changed, &["--replace"]).await.unwrap_err().to_string();
    assert!(refused.starts_with("1 rows could not be replaced"), "{refused}");
    create(&address, &changed, &["--replace", "--on-bad", "skip"]).await.unwrap();
    assert_eq!(look(&kept, |kept| (kept.rows(), kept.started)), (2503, 2503));
}

#[tokio::test]
async fn of_a_manifest_that_changes_meanwhile_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    create(&address, &manifest(folder.path(), prompts(10)), &[]).await.unwrap();
    let path = manifest(folder.path(), prompts(30_000));
    let mut text = std::fs::read_to_string(&path).unwrap();
    let last = text.rfind("fox 29999").unwrap();
    text.replace_range(last..last + 3, "cat");
    kept.lock().unwrap().changes = Some((path.clone(), text));
    let refused = create(&address, &path, &[]).await.unwrap_err().to_string();
    assert!(refused.contains("foxes.jsonl") && refused.contains("changed while it was read"), "{refused}");
    assert_eq!(look(&kept, |kept| (kept.rows(), kept.started, kept.discards)), (10, 10, 1));
    create(&address, &path, &[]).await.unwrap();
    assert_eq!(look(&kept, |kept| (kept.rows(), kept.started)), (30_000, 30_000));
}
