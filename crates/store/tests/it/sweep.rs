//! What is old, in a folder whose files the test can make old.

use std::path::Path;
use std::time::{Duration, SystemTime};

use uso_store::Error;

use crate::fixture::{Folder, PNG};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes all files below a folder nine days old.
fn age(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - 9 * DAY).unwrap();
        }
    }
}

#[tokio::test]
async fn old_files_of_long_names_are_swept_too() {
    let folder = Folder::start().await;
    let store = folder.store().await;
    let key = format!("uploads/{}", "k".repeat(500));
    store.put(&key, "image/png", PNG.into()).await.unwrap();
    store.put("uploads/short", "image/png", PNG.into()).await.unwrap();
    age(&folder.data.path().join("s3/uso"));
    assert!(store.keep("uploads/short", DAY).await.unwrap());
    assert_eq!(store.delete_older("uploads/", 8 * DAY).await.unwrap(), 1);
    assert!(matches!(store.get(&key).await, Err(Error::Missing { .. })));
    assert_eq!(store.get("uploads/short").await.unwrap(), PNG);
}
