//! Other layouts.

use std::path::Path;

use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::SerializedFileReader;
use serde_json::{Value, json};
use uso_dataset::shards::{About, ExportLayout, Hashes, Place, Row, Shard, describe, export, prepare};
use uso_dataset::{Error, Split};

use crate::fixture::{Bucket, batch, dataset, json_at, outcomes, picture, rows, write_index, write_shard};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn an_image_folder_has_pictures_and_a_list() {
    let (from, to) = (dataset(None), tempfile::tempdir().unwrap());
    let rows =
        export(&Place::Folder(from.path().to_owned()), to.path(), ExportLayout::ImageFolder).await.unwrap();
    assert_eq!((rows, files(to.path())), (8, 9));
    let list = lines(&to.path().join("metadata.jsonl"));
    assert_eq!((&list[3]["file_name"], &list[3]["row"]), (&json!("cup-0003.png"), &json!(3)));
    assert!(std::fs::read(to.path().join("cup-0003.png")).unwrap() == picture(3));
}

/// The names of files in the list of a folder that says the types of its columns.
fn typed_list(folder: &Path) -> Vec<String> {
    let list = std::fs::File::open(folder.join("metadata.parquet")).unwrap();
    let list = SerializedFileReader::new(list).unwrap();
    let rows = list.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().into_columns().remove(0).1.to_string()).collect()
}

#[tokio::test]
async fn a_long_list_says_the_types_of_its_columns() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let long = |(row, picture)| (Row { prompt: "a".repeat(2 << 20), ..row }, picture);
    let stats = write_shard(from.path(), 0, rows(0..6, None).into_iter().map(long).collect());
    write_index(from.path(), vec![stats]);
    let written = export(&Place::Folder(from.path().to_owned()), to.path(), ExportLayout::ImageFolder).await;
    assert_eq!((written.unwrap(), files(to.path())), (6, 7));
    assert_eq!(typed_list(to.path()), (0..6).map(|row| format!("\"cup-{row:04}.png\"")).collect::<Vec<_>>());
}

#[tokio::test]
async fn pictures_whose_names_are_taken_for_splits_are_in_a_folder_of_one() {
    for (name, folder) in [("fox-test-", "train"), ("val_", "train"), ("contest-", ""), ("fox-trained-", "")]
    {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let named = |(row, picture): (Row, Vec<u8>)| {
            let file = format!("{name}{}.png", row.row);
            (Row { file, ..row }, picture)
        };
        let stats = write_shard(from.path(), 0, rows(0..3, None).into_iter().map(named).collect());
        write_index(from.path(), vec![stats]);
        let place = Place::Folder(from.path().to_owned());
        assert_eq!(export(&place, to.path(), ExportLayout::ImageFolder).await.unwrap(), 3);
        let list = lines(&to.path().join(folder).join("metadata.jsonl"));
        assert_eq!((list.len(), files(&to.path().join(folder))), (3, 4), "{name}");
        assert_eq!(list[1]["file_name"], json!(format!("{name}1.png")));
    }
}

#[tokio::test]
async fn from_the_store_committed_shards_become_files() {
    let (bucket, to) = (Bucket::start().await, tempfile::tempdir().unwrap());
    let mut prepared = Vec::new();
    for number in 0..2 {
        let first = u64::from(number) * 3;
        let segments = vec![bucket.segment(u64::from(number), &outcomes(first..first + 3)).await];
        let shard = Shard { batch: batch(), number, segments, split: None };
        prepared.push(prepare(&bucket.store, &shard).await.unwrap().unwrap());
    }
    // The second shard is not committed.
    prepared[0].complete(&bucket.store).await.unwrap();
    let (about, mut hashes) = (About::default(), Hashes::default());
    describe(&bucket.store, &batch(), &[0].into(), &about, &mut hashes).await.unwrap();
    let place = Place::of_batch(bucket.store.clone(), &batch());
    assert_eq!(export(&place, to.path(), ExportLayout::ImageFolder).await.unwrap(), 3);
    assert_eq!((files(to.path()), lines(&to.path().join("metadata.jsonl")).len()), (4, 3));
    assert!(std::fs::read(to.path().join("cup-0002.png")).unwrap() == picture(2));
}

#[tokio::test]
async fn each_side_of_a_split_is_a_folder() {
    let split = Split { by: "key".into(), val: 0.5 };
    let (from, to) = (dataset(Some(&split)), tempfile::tempdir().unwrap());
    export(&Place::Folder(from.path().to_owned()), to.path(), ExportLayout::ImageFolder).await.unwrap();
    for side in ["train", "validation"] {
        let own = rows(0..8, Some(&split)).into_iter().filter(|row| row.0.split.as_deref() == Some(side));
        let own: Vec<String> = own.map(|row| format!("{:?}", row.0.file)).collect();
        assert_eq!(typed_list(&to.path().join(side)), own);
        assert!(files(&to.path().join(side)) == own.len() + 1 && !own.is_empty());
    }
}

#[tokio::test]
async fn plain_files_have_prompt_and_row_beside_them() {
    let (from, to) = (dataset(None), tempfile::tempdir().unwrap());
    let to = to.path().join("new");
    assert_eq!(export(&Place::Folder(from.path().to_owned()), &to, ExportLayout::Files).await.unwrap(), 8);
    assert_eq!(files(&to), 24);
    assert_eq!(std::fs::read_to_string(to.join("cup-0005.txt")).unwrap(), "a cup, number 5");
    assert_eq!(json_at(&to.join("cup-0005.json")), serde_json::to_value(&rows(5..6, None)[0].0).unwrap());
    let again = export(&Place::Folder(from.path().to_owned()), &to, ExportLayout::Files).await.unwrap_err();
    assert!(matches!(again, Error::File { .. }), "{again}");
}

#[tokio::test]
async fn a_damaged_picture_is_not_exported() {
    let (from, to) = (dataset(None), tempfile::tempdir().unwrap());
    let tar = from.path().join("00000.tar");
    let mut bytes = std::fs::read(&tar).unwrap();
    bytes[512 + 60] ^= 1;
    std::fs::write(tar, bytes).unwrap();
    let error =
        export(&Place::Folder(from.path().to_owned()), to.path(), ExportLayout::Files).await.unwrap_err();
    assert!(error.to_string().starts_with("00000.tar: cup-0000.png is damaged"), "{error}");
}

#[tokio::test]
async fn nothing_outside_the_data_set_is_read() {
    let (from, to) = (dataset(None), tempfile::tempdir().unwrap());
    let index = from.path().join("index.json");
    let other = from.path().with_extension("tar");
    std::fs::copy(from.path().join("00000.tar"), &other).unwrap();
    let mut text = json_at(&index);
    text["shards"][0]["file"] = format!("../{}", other.file_name().unwrap().to_str().unwrap()).into();
    std::fs::write(&index, text.to_string()).unwrap();
    let exported = export(&Place::Folder(from.path().to_owned()), to.path(), ExportLayout::Files).await;
    std::fs::remove_file(&other).unwrap();
    let error = exported.unwrap_err().to_string();
    assert!(error.starts_with("index.json cannot be read: it lists a file with the name \"../"), "{error}");
    assert_eq!(files(to.path()), 0);
}
