//! What every S3 server must do for us, run against each make that we can start.

use std::time::Duration;

use uso_store::{Config, Credentials, Error, PictureKind, Store, checkpoint_key, output_key, upload_key};
use uuid::Uuid;

use crate::fixture::{Folder, PNG, config};

const MINUTE: Duration = Duration::from_secs(60);

/// The whole suite against the service at `endpoint`, which knows the fixture's keys.
pub(crate) async fn conforms(endpoint: String) {
    let store = Store::connect(config(endpoint.clone())).await.unwrap();
    assert!(matches!(store.ping().await, Err(Error::Missing { .. } | Error::MissingBucket { .. })));
    store.ensure_bucket().await.unwrap();
    store.ensure_bucket().await.unwrap();
    store.ping().await.unwrap();

    what_was_put_comes_back(&store).await;
    what_was_deleted_is_gone(&store).await;
    links_work_for_anybody(&store).await;
    a_prefix_is_deleted(&store).await;
    what_is_old_is_deleted(&store).await;
    what_is_kept_is_young_and_the_same(&store).await;
    a_probe_tells_that_it_can_be_written_and_read(&store).await;
    crate::large::conforms(&store).await;
    missing_things_are_named(&store).await;
    other_keys_are_denied(endpoint).await;
}

async fn what_was_put_comes_back(store: &Store) {
    let key = output_key(&"0-job", 7, "ä 1+2%.png");
    let stored = store.put(&key, "image/png", PNG.into()).await.unwrap();
    assert_eq!(store.new_object(&key, "image/png", PNG.into()).stored(), &stored);
    assert_eq!(stored.uri, "s3://uso/jobs/0-job/7/ä 1+2%.png");
    assert_eq!(stored.bytes, PNG.len() as u64);
    assert_eq!(stored.sha256.len(), 64);
    assert_eq!(store.fetch_image("uso", &key).await.unwrap(), PNG);
    // Large enough for several chunks.
    let large: Vec<u8> = PNG.iter().copied().chain((0..3_000_000_u32).map(|i| i as u8)).collect();
    store.put("large.png", "image/png", large.clone().into()).await.unwrap();
    assert!(store.fetch_image("uso", "large.png").await.unwrap() == large);
}

async fn what_was_deleted_is_gone(store: &Store) {
    let key = checkpoint_key(&"0-job", 7, 3);
    store.put(&key, "application/octet-stream", "half a picture".into()).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), "half a picture");
    store.delete(&key).await.unwrap();
    assert!(matches!(store.get(&key).await, Err(Error::Missing { .. })));
    store.delete(&key).await.unwrap();
}

async fn links_work_for_anybody(store: &Store) {
    let key = upload_key("tenant", &Uuid::new_v4());
    let client = reqwest::Client::new();
    let put = store.presign_put(&key, PictureKind::Png.media_type(), PNG.len() as u64, MINUTE).await.unwrap();
    let signed = put.url.split('&').find(|part| part.starts_with("X-Amz-SignedHeaders=")).unwrap();
    for header in ["content-length", "content-type"] {
        assert!(signed.contains(header), "{signed}");
    }
    // Another kind or another length than was agreed on is refused, by the service itself.
    let longer = [PNG, b"!"].concat();
    for (kind, body) in [("text/html", PNG), ("image/png", &longer), ("image/png", &PNG[1..])] {
        let answer =
            client.put(&put.url).header("content-type", kind).body(body.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{kind}, {} bytes", body.len());
    }
    let answer = client.put(&put.url).header("content-type", "image/png").body(PNG).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    assert_eq!(store.fetch_image("uso", &key).await.unwrap(), PNG);
    an_upload_is_inspected_and_pinned(store, &key).await;

    let get = store.presign_get("uso", &key, MINUTE).await.unwrap();
    let answer = client.get(&get).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.bytes().await.unwrap(), PNG);

    // A link is good for one object and one method.
    let other = get.replace(&key, "large.png");
    assert!(client.get(other).send().await.unwrap().status().is_client_error());
    assert!(client.put(get).body("x").send().await.unwrap().status().is_client_error());
}

async fn an_upload_is_inspected_and_pinned(store: &Store, key: &str) {
    let info = store.inspect(key).await.unwrap();
    assert_eq!((info.bytes, info.kind, info.size), (PNG.len() as u64, Some(PictureKind::Png), None));
    assert_eq!(info.media_type.as_deref(), Some("image/png"));
    assert_eq!(store.fetch_upload(key, Some(&info.tag)).await.unwrap(), PNG);
    assert_eq!(store.fetch_upload(key, None).await.unwrap(), PNG);

    let large: Vec<u8> = PNG.iter().copied().chain((0..1_000_000_u32).map(|i| i as u8)).collect();
    store.put(key, "image/png", large.clone().into()).await.unwrap();
    assert!(matches!(store.fetch_upload(key, Some(&info.tag)).await, Err(Error::Changed { .. })));
    let changed = store.inspect(key).await.unwrap();
    assert_eq!(changed.bytes, large.len() as u64, "the whole size, though only a part was read");
    assert_ne!(changed.tag, info.tag);
    store.put(key, "image/png", PNG.into()).await.unwrap();
    assert_eq!(store.inspect(key).await.unwrap().tag, info.tag, "the same content has the same tag");
}

async fn a_prefix_is_deleted(store: &Store) {
    for key in ["gone/1/a", "gone/1/b", "gone/2/a", "gone-not/a"] {
        store.put(key, "text/plain", "x".into()).await.unwrap();
    }
    store.delete_all("gone/").await.unwrap();
    store.delete_all("gone/").await.unwrap();
    for key in ["gone/1/a", "gone/1/b", "gone/2/a"] {
        assert!(matches!(store.get(key).await, Err(Error::Missing { .. })), "{key}");
    }
    assert_eq!(store.get("gone-not/a").await.unwrap(), "x");
}

async fn what_is_old_is_deleted(store: &Store) {
    for key in ["old/1", "old/2", "older/1"] {
        store.put(key, "text/plain", "x".into()).await.unwrap();
    }
    assert_eq!(store.delete_older("old/", Duration::from_secs(3600)).await.unwrap(), 0);
    // Times are whole seconds.
    let both = async {
        let mut deleted = 0;
        while deleted < 2 {
            deleted += store.delete_older("old/", Duration::ZERO).await.unwrap();
        }
    };
    tokio::time::timeout(MINUTE, both).await.expect("old objects are not deleted");
    assert!(matches!(store.get("old/1").await, Err(Error::Missing { .. })));
    assert_eq!(store.get("older/1").await.unwrap(), "x");
}

async fn what_is_kept_is_young_and_the_same(store: &Store) {
    let key = upload_key("tenant", &Uuid::new_v4());
    store.put(&key, "image/png", PNG.into()).await.unwrap();
    let before = store.inspect(&key).await.unwrap();
    assert!(store.keep(&key, Duration::from_secs(3600)).await.unwrap());
    assert_eq!(store.inspect(&key).await.unwrap(), before, "it was young");
    // Times are whole seconds.
    let renewed = async {
        loop {
            assert!(store.keep(&key, Duration::ZERO).await.unwrap());
            let kept = store.inspect(&key).await.unwrap();
            if kept.written != before.written {
                return kept;
            }
        }
    };
    let kept = tokio::time::timeout(MINUTE, renewed).await.expect("the object is not kept");
    assert!(kept.written > before.written);
    assert_eq!((&kept.tag, &kept.media_type, kept.bytes), (&before.tag, &before.media_type, before.bytes));
    assert_eq!(store.fetch_upload(&key, Some(&before.tag)).await.unwrap(), PNG);
    assert!(!store.keep("uploads/none", Duration::ZERO).await.unwrap());
}

async fn a_probe_tells_that_it_can_be_written_and_read(store: &Store) {
    store.probe_reading().await.unwrap();
    store.probe().await.unwrap();
    store.probe_reading().await.unwrap();
}

async fn missing_things_are_named(store: &Store) {
    let error = store.fetch_image("uso", "no/such.png").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no object s3://uso/no/such.png");
    assert!(!error.retryable());
    assert!(matches!(store.inspect("no/such.png").await, Err(Error::Missing { .. })));
    assert!(matches!(store.fetch_upload("no/such.png", Some("tag")).await, Err(Error::Missing { .. })));
}

async fn other_keys_are_denied(endpoint: String) {
    let credentials = Credentials { access_key: "fleet".into(), secret_key: "wrong-secret".into() };
    let store = Store::connect(Config { credentials: Some(credentials), ..config(endpoint) }).await.unwrap();
    let error = store.fetch_image("uso", "large.png").await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(!format!("{error:?} {store:?}", store = store.config()).contains("wrong-secret"));
}

#[tokio::test]
async fn a_folder_conforms() {
    let folder = Folder::start().await;
    conforms(folder.server.endpoint()).await;
    folder.server.stop().await;
}

#[tokio::test]
async fn a_link_lives_from_a_second_to_a_week() {
    let folder = Folder::start().await;
    let store = folder.store().await;
    for lifetime in [Duration::ZERO, Duration::from_secs(8 * 24 * 60 * 60)] {
        let error = store.presign_put("a", PictureKind::Png.media_type(), 9, lifetime).await.unwrap_err();
        assert!(matches!(error, Error::BadLifetime { .. }), "{error}");
    }
}

#[tokio::test]
async fn links_are_made_for_the_public_address() {
    let public_endpoint = Some("https://pictures.example.org".to_owned());
    let config = Config { public_endpoint, ..config("http://127.0.0.1:9".into()) };
    let store = Store::connect(config).await.unwrap();
    let link = store.presign_get("uso", "a.png", MINUTE).await.unwrap();
    assert!(link.starts_with("https://pictures.example.org/uso/a.png?"), "{link}");
    assert_eq!(store.public_origin(), "https://pictures.example.org");
}

#[tokio::test]
async fn links_to_aws_need_nothing_but_what_was_agreed_on() {
    let config = Config { endpoint: None, region: "eu-west-3".into(), ..config(String::new()) };
    let store = Store::connect(config).await.unwrap();
    let put = store.presign_put("uploads/a", PictureKind::WebP.media_type(), 9, MINUTE).await.unwrap();
    assert!(put.url.starts_with(&format!("{}/uploads/a?", store.public_origin())), "{}", put.url);
    assert!(put.url.contains("X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost&"), "{}", put.url);
    // A checksum of the SDK's own would be that of no bytes at all.
    assert!(!put.url.to_lowercase().contains("checksum"), "{}", put.url);
    assert_eq!(put.headers, [("content-type", "image/webp".into()), ("content-length", "9".into())]);
}
