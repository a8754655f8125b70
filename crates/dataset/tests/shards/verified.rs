//! Each kind of damage is found, and nothing else.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use uso_dataset::layout;
use uso_dataset::shards::{Expected, Finding, Place, Row, Stats, verify, write_row_file};

use crate::fixture::{dataset, json_at, rows, write_index, write_shard};

async fn findings(folder: &Path) -> Vec<Finding> {
    let expected = Expected::Rows((0..8).collect());
    verify(&Place::Folder(folder.to_owned()), &expected, |_| {}).await.unwrap()
}

/// What is said of a data set in which something was planted.
async fn planted(plant: impl FnOnce(&Path)) -> Vec<String> {
    let folder = dataset(None);
    plant(folder.path());
    findings(folder.path()).await.iter().map(ToString::to_string).collect()
}

fn stats(folder: &Path, shard: u32) -> Stats {
    serde_json::from_value(json_at(&folder.join(layout::stats(shard)))).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn nothing_is_found_where_nothing_is_wrong() {
    let folder: TempDir = dataset(None);
    assert_eq!(findings(folder.path()).await, []);
}

#[tokio::test]
async fn a_flipped_bit_is_found() {
    // In the first picture, behind its header.
    assert_eq!(
        planted(|folder| flip(&folder.join("00000.tar"), 512 + 60)).await,
        ["00000.tar: the picture of cup-0000 is damaged: its sha256 is not the recorded one"]
    );
    // Behind the end of the tar, where no row is.
    let end = |folder: &Path| std::fs::metadata(folder.join("00001.tar")).unwrap().len() as usize - 1;
    assert_eq!(
        planted(|folder| flip(&folder.join("00001.tar"), end(folder))).await,
        ["00001.tar is damaged: its sha256 is not the recorded one"]
    );
    // In a header.
    let found = planted(|folder| flip(&folder.join("00001.tar"), 100)).await;
    assert!(matches!(&found[..], [one] if one.starts_with("00001.tar cannot be read: ")), "{found:?}");
    // In the row file.
    assert_eq!(
        planted(|folder| flip(&folder.join("_meta/00001.parquet"), 200)).await,
        ["_meta/00001.parquet is damaged: its sha256 is not the recorded one"]
    );
}

#[tokio::test]
async fn a_double_is_found() {
    let again = |folder: &Path| {
        let mut second = rows(4..8, None);
        second.push(rows(2..3, None).remove(0));
        write_index(folder, vec![stats(folder, 0), write_shard(folder, 1, second)]);
    };
    assert_eq!(planted(again).await, ["row 2 (cup-0002) is there twice: in 00000.tar and in 00001.tar"]);
    // The same key under another number.
    let folder = dataset(None);
    let mut second = rows(4..8, None);
    second[3].0.key = second[0].0.key.clone();
    write_index(folder.path(), vec![stats(folder.path(), 0), write_shard(folder.path(), 1, second)]);
    let found: Vec<_> = findings(folder.path()).await.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["row 7 (cup-0004) is there twice: in 00001.tar"]);
}

#[tokio::test]
async fn gaps_and_rows_too_many_are_found() {
    let shorter = |folder: &Path| {
        write_index(folder, vec![stats(folder, 0), write_shard(folder, 1, rows(4..6, None))]);
    };
    assert_eq!(planted(shorter).await, ["rows 6 to 7 are missing"]);
    let longer = |folder: &Path| {
        write_index(folder, vec![stats(folder, 0), write_shard(folder, 1, rows(4..9, None))]);
    };
    assert_eq!(planted(longer).await, ["row 8 is there, but it should not be"]);
}

#[tokio::test]
async fn a_row_that_differs_is_found() {
    let replaced = |folder: &Path, change: fn(&mut Vec<Row>)| {
        let mut others = rows(4..8, None).into_iter().map(|row| row.0).collect();
        change(&mut others);
        let file = write_row_file(&others).unwrap();
        let row_file_sha256 = uso_store::hexadecimal_sha256(&file);
        std::fs::write(folder.join("_meta/00001.parquet"), file).unwrap();
        write_index(folder, vec![stats(folder, 0), Stats { row_file_sha256, ..stats(folder, 1) }]);
    };
    assert_eq!(
        planted(|folder| replaced(folder, |all| all[1].seed = 99)).await,
        ["_meta/00001.parquet: row cup-0005: its seed is 5 in the tar and 99 here"]
    );
    assert_eq!(
        planted(|folder| replaced(folder, |all| drop(all.pop()))).await,
        ["_meta/00001.parquet: row cup-0007: it is in the tar alone"]
    );
    assert_eq!(
        planted(|folder| replaced(folder, |all| all.push(rows(8..9, None).remove(0).0))).await,
        ["_meta/00001.parquet: row cup-0008: it is in the row file alone"]
    );
    assert_eq!(
        planted(|folder| replaced(folder, |all| all.extend_from_within(..1))).await,
        ["_meta/00001.parquet: row cup-0004: it is there twice"]
    );
}

#[tokio::test]
async fn orphans_and_what_is_missing_are_found() {
    let orphan = |folder: &Path| drop(write_shard(folder, 2, rows(8..9, None)));
    assert_eq!(planted(orphan).await, ["00002.tar is not in the index"]);
    let lonely = |folder: &Path| {
        write_shard(folder, 2, rows(8..9, None));
        std::fs::remove_file(folder.join("00002.tar")).unwrap();
    };
    assert_eq!(planted(lonely).await, ["_meta/00002.parquet is not in the index"]);
    let no_row_file = |folder: &Path| std::fs::remove_file(folder.join("_meta/00000.parquet")).unwrap();
    assert_eq!(planted(no_row_file).await, ["00000.tar has no row file: _meta/00000.parquet is missing"]);
    let no_tar = |folder: &Path| std::fs::remove_file(folder.join("00000.tar")).unwrap();
    assert_eq!(planted(no_tar).await, ["00000.tar is missing: it has 4 rows"]);
    let no_index = |folder: &Path| std::fs::remove_file(folder.join("index.json")).unwrap();
    assert_eq!(planted(no_index).await, ["index.json cannot be read: it is not there"]);
}

#[tokio::test]
async fn an_index_or_statistics_that_say_something_else_are_found() {
    let changed = |folder: &Path, name: &str, change: fn(&mut Value)| {
        let mut text = json_at(&folder.join(name));
        change(&mut text);
        std::fs::write(folder.join(name), text.to_string()).unwrap();
    };
    let sums = ["index.json does not add up: its sums are not those of its shards"];
    assert_eq!(planted(|folder| changed(folder, "index.json", |text| text["rows"] = 9.into())).await, sums);
    let total = |text: &mut Value| text["total"]["device_ms"] = 1.into();
    assert_eq!(planted(|folder| changed(folder, "index.json", total)).await, sums);
    // Numbers that have no sum are found, too.
    let large = |text: &mut Value| {
        for shard in text["shards"].as_array_mut().unwrap() {
            shard["rows"] = u64::MAX.into();
            shard["device_ms"] = u64::MAX.into();
        }
    };
    let found = planted(|folder| changed(folder, "index.json", large)).await;
    assert_eq!(found[0], sums[0]);
    let name = "_meta/00001_stats.json";
    let sha256 = |text: &mut Value| text["sha256"] = "0".into();
    assert_eq!(
        planted(|folder| changed(folder, name, sha256)).await,
        ["_meta/00001_stats.json tells of other files than the index"]
    );
    assert_eq!(
        planted(|folder| std::fs::remove_file(folder.join(name)).unwrap()).await,
        ["_meta/00001_stats.json cannot be read: it is not there"]
    );
}

#[tokio::test]
async fn a_tar_that_ends_early_is_found() {
    let cut = |folder: &Path| {
        let path = folder.join("00001.tar");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let found = planted(cut).await;
    assert!(found.iter().all(|finding| finding.starts_with("00001.tar")) && !found.is_empty(), "{found:?}");
}
