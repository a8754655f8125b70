//! What a folder does that nobody asks of other services.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use uso_local::FolderServer;

use crate::fixture::{BUCKET, Folder, PNG, client, config, get, put};

/// All files and folders below a folder, but the bucket itself.
fn all(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    found.retain(|name| name != BUCKET);
    found
}

#[tokio::test]
async fn what_is_deleted_leaves_nothing_behind() {
    let folder = Folder::start().await;
    let (client, root) = (folder.client().await, folder.data.path().join("s3"));
    let mut keys: Vec<String> = (1..4).map(|fence| format!("jobs/0-job/{fence}/0.png")).collect();
    keys.extend(["k/".repeat(200), "k".repeat(1000)]);
    for key in &keys {
        put(&client, key, if key.ends_with('/') { b"" } else { PNG }).await;
    }
    put(&client, "a", b"x").await;
    assert_ne!(all(&root), [""; 0]);
    client.delete_object().bucket(BUCKET).key("a").send().await.unwrap();
    let listed = client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    let listed: Vec<_> = listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect();
    assert_eq!(listed.len(), keys.len(), "{listed:?}");
    let keys = listed.iter().map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let keys = Delete::builder().set_objects(Some(keys.collect())).build().unwrap();
    client.delete_objects().bucket(BUCKET).delete(keys).send().await.unwrap();
    let left: Vec<_> = all(&root).into_iter().filter(|name| name != ".long-keys").collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn keys_may_have_as_many_bytes_as_s3_allows() {
    let folder = Folder::start().await;
    let s3 = folder.client().await;
    let long = [
        "k".repeat(1024),
        format!("{}/{}", "ä".repeat(100), "b".repeat(823)),
        format!("a/{}", "long part/".repeat(102)) + "a",
        "n".repeat(170),
    ];
    for key in &long {
        assert!(key.len() <= 1024);
        put(&s3, key, PNG).await;
        let head = s3.head_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert_eq!((head.content_length(), head.content_type()), (Some(PNG.len() as i64), Some("image/png")));
    }
    put(&s3, "k", b"short").await;
    folder.server.stop().await;

    // All of it is still there after a new start, and no key is another's.
    let server = FolderServer::start(config(&folder.data)).await.unwrap();
    let s3 = client(&server);
    assert_eq!(get(&s3, "k").await.unwrap(), b"short");
    for key in &long {
        assert_eq!(get(&s3, key).await.unwrap(), PNG);
        s3.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert_eq!(get(&s3, key).await.unwrap_err().as_deref(), Some("NoSuchKey"));
    }
}

#[tokio::test]
async fn no_bucket_is_made_by_writing_to_it() {
    let folder = Folder::start().await;
    let write = folder.client().await.put_object().bucket("other").key("a").body(PNG.to_vec().into());
    let error = write.send().await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchBucket"), "{error:?}");
    assert!(!folder.data.path().join("s3/other").exists());
}

#[tokio::test]
async fn nobody_gets_in_without_keys() {
    let folder = Folder::start().await;
    put(&folder.client().await, "a.png", PNG).await;
    let url = format!("{}/{BUCKET}/a.png", folder.server.endpoint());
    assert_eq!(reqwest::get(url).await.unwrap().status(), 403);
}

#[tokio::test]
async fn other_users_cannot_look_into_the_folder() {
    let folder = Folder::start().await;
    let mode = std::fs::metadata(folder.data.path().join("s3")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_folder_that_others_could_read_is_closed_to_them() {
    let data = tempfile::tempdir().unwrap();
    let root = data.path().join("s3");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    let server = FolderServer::start(config(&data)).await.unwrap();
    assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    server.stop().await;
}
