//! What a folder does that nobody asks of other services.

use std::path::Path;
use std::time::{Duration, SystemTime};

use uso_store::folder::FolderServer;
use uso_store::{Config, Credentials, Error, Store, output_key, output_prefix};

use crate::fixture::{Folder, PNG, config, folder_config, keys};

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
    found.retain(|name| name != "uso");
    found
}

#[tokio::test]
async fn what_is_deleted_leaves_nothing_behind() {
    let folder = Folder::start().await;
    let (store, root) = (folder.store().await, folder.data.path().join("s3"));
    for fence in 1..4 {
        store.put(&output_key(&"0-job", fence, "0.png"), "image/png", PNG.into()).await.unwrap();
    }
    store.put("a", "text/plain", "x".into()).await.unwrap();
    store.put(&"k/".repeat(200), "text/plain", "".into()).await.unwrap();
    store.put(&"k".repeat(1000), "text/plain", "x".into()).await.unwrap();
    assert_ne!(all(&root), [""; 0]);
    store.delete_all(&output_prefix(&"0-job")).await.unwrap();
    store.delete("a").await.unwrap();
    store.delete_all("k").await.unwrap();
    let left: Vec<_> = all(&root).into_iter().filter(|name| name != ".long-keys").collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn keys_may_have_as_many_bytes_as_s3_allows() {
    let folder = Folder::start().await;
    let store = folder.store().await;
    let long = [
        "k".repeat(1024),
        format!("{}/{}", "ä".repeat(100), "b".repeat(823)),
        format!("a/{}", "long part/".repeat(102)) + "a",
        "n".repeat(170),
    ];
    for key in &long {
        assert!(key.len() <= 1024);
        store.put(key, "image/png", PNG.into()).await.unwrap();
        let info = store.inspect(key).await.unwrap();
        assert_eq!((info.bytes, info.media_type.as_deref()), (PNG.len() as u64, Some("image/png")));
    }
    store.put("k", "text/plain", "short".into()).await.unwrap();
    folder.server.stop().await;

    // All of it is still there after a new start, and no key is another's.
    let server = FolderServer::start(folder_config(&folder.data)).await.unwrap();
    let store = Store::connect(config(server.endpoint())).await.unwrap();
    assert_eq!(store.get("k").await.unwrap(), "short");
    for key in &long {
        assert_eq!(store.fetch_image("uso", key).await.unwrap(), PNG);
        store.delete(key).await.unwrap();
        assert!(matches!(store.get(key).await, Err(Error::Missing { .. })));
    }
}

#[tokio::test]
async fn old_files_of_long_names_are_swept_too() {
    let folder = Folder::start().await;
    let store = folder.store().await;
    let key = format!("uploads/{}", "k".repeat(500));
    store.put(&key, "image/png", PNG.into()).await.unwrap();
    store.put("uploads/short", "image/png", PNG.into()).await.unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    let bucket = folder.data.path().join("s3/uso");
    for name in all(&bucket) {
        let path = bucket.join(name);
        if path.is_file() {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - 9 * day).unwrap();
        }
    }
    assert!(store.keep("uploads/short", day).await.unwrap());
    assert_eq!(store.delete_older("uploads/", 8 * day).await.unwrap(), 1);
    assert!(matches!(store.get(&key).await, Err(Error::Missing { .. })));
    assert_eq!(store.get("uploads/short").await.unwrap(), PNG);
}

#[tokio::test]
async fn no_bucket_is_made_by_writing_to_it() {
    let folder = Folder::start().await;
    folder.store().await;
    let other = Config { bucket: "other".into(), ..config(folder.server.endpoint()) };
    let other = Store::connect(other).await.unwrap();
    let error = other.put("a", "text/plain", "x".into()).await.unwrap_err();
    assert!(matches!(error, Error::MissingBucket { .. }), "{error}");
    assert!(!folder.data.path().join("s3/other").exists());
}

#[tokio::test]
async fn a_folder_that_others_could_read_is_closed_to_them() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let root = data.path().join("s3");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    let server = FolderServer::start(folder_config(&data)).await.unwrap();
    assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    server.stop().await;
}

#[tokio::test]
async fn line_ends_behind_keys_do_no_harm() {
    let folder = Folder::start().await;
    let of_keys = |access_key: &str| Credentials { access_key: access_key.into(), ..keys() };
    let connect = async |keys| {
        let config = Config { credentials: Some(keys), ..config(folder.server.endpoint()) };
        Store::connect(config).await
    };
    let store = connect(of_keys("fleet\n")).await.unwrap();
    store.ensure_bucket().await.unwrap();
    for broken in ["fl eet", "fl\neet", "flëet", ""] {
        let error = connect(of_keys(broken)).await.err().unwrap();
        assert!(matches!(error, Error::BadKey { .. }), "{broken:?}: {error}");
    }
}
