//! References that are not what they should be, from servers that are not what they should be.

use std::time::{Duration, Instant};

use uso_store::{Config, Credentials, Error, Store};

use crate::fixture::{Folder, PNG, config, keys, scripted};

#[tokio::test]
async fn another_bucket_is_refused_before_anything_is_sent() {
    let store = Store::connect(config("http://127.0.0.1:9".into())).await.unwrap();
    let error = store.fetch_image("secrets", "a.png").await.unwrap_err();
    assert_eq!(error.to_string(), "references may not come from bucket s3://secrets");
    assert!(matches!(
        store.presign_get("secrets", "a", Duration::from_secs(9)).await,
        Err(Error::NotAllowed { .. })
    ));
}

#[tokio::test]
async fn an_extra_bucket_is_allowed() {
    let extra_buckets = vec!["library".to_owned()];
    let store =
        Store::connect(Config { extra_buckets, ..config("http://127.0.0.1:9".into()) }).await.unwrap();
    assert!(store.allows("library") && store.allows("uso") && !store.allows("secrets"));
}

#[tokio::test]
async fn processes_that_start_at_once_make_the_bucket_once() {
    let folder = Folder::start().await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Store::connect(config(folder.server.endpoint())).await.unwrap();
        starts.spawn(async move { store.ensure_bucket().await });
    }
    for made in starts.join_all().await {
        made.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_no_image_is_named_for_what_it_is() {
    let folder = Folder::start().await;
    let store = folder.store().await;
    store.put("a", "image/png", b"GIF89a............".as_slice().into()).await.unwrap();
    let error = store.fetch_image("uso", "a").await.unwrap_err().to_string();
    assert_eq!(error, "s3://uso/a is not a png, jpeg or webp image: it looks like image/gif");
    for bytes in [b"".as_slice(), b"hello"] {
        store.put("b", "image/png", bytes.into()).await.unwrap();
        let error = store.fetch_image("uso", "b").await.unwrap_err();
        assert!(matches!(error, Error::NotAnImage { found: None, .. }), "{error}");
    }
}

#[tokio::test]
async fn an_announced_size_over_the_limit_is_refused_unread() {
    let folder = Folder::start().await;
    let store = folder.store().await;
    store.put("a.png", "image/png", vec![0; 2000].into()).await.unwrap();
    let small = Config { max_bytes: 1000, ..config(folder.server.endpoint()) };
    let small = Store::connect(small).await.unwrap();
    let error = small.fetch_image("uso", "a.png").await.unwrap_err().to_string();
    assert_eq!(error, "s3://uso/a.png is larger than the limit of 1000 bytes: it has 2000");
}

#[tokio::test]
async fn a_size_that_was_never_announced_is_counted() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let chunk = [b"400\r\n".as_slice(), &[0; 1024], b"\r\n"].concat();
    let store = scripted(head, chunk, Duration::from_secs(60)).await;
    let error = store.fetch_image("uso", "a.png").await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: None, .. }), "{error}");
}

#[tokio::test]
async fn a_transfer_that_stops_halfway_is_not_a_reference() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n".to_owned();
    let store = scripted(head, PNG.to_vec(), Duration::ZERO).await;
    let error = store.fetch_image("uso", "a.png").await.unwrap_err();
    assert!(matches!(error, Error::BrokeOff { .. }), "{error}");
    assert!(error.retryable());
}

#[tokio::test]
async fn a_transfer_that_never_ends_runs_into_the_bound() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n".to_owned();
    let store = scripted(head, PNG.to_vec(), Duration::from_secs(60)).await;
    let begun = Instant::now();
    let error = store.fetch_image("uso", "a.png").await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(error.retryable() && begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn damaged_bytes_are_noticed() {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-amz-meta-sha256: {}\r\n\r\n",
        PNG.len(),
        "0".repeat(64)
    );
    let store = scripted(head, PNG.to_vec(), Duration::ZERO).await;
    let error = store.fetch_image("uso", "a.png").await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }) && error.retryable(), "{error}");
}

#[tokio::test]
async fn a_busy_service_may_be_asked_again() {
    let head = "HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\n\r\n".to_owned();
    let store = scripted(head, Vec::new(), Duration::ZERO).await;
    let error = store.fetch_image("uso", "a.png").await.unwrap_err();
    assert!(error.retryable(), "{error}");
}

#[tokio::test]
async fn a_service_that_is_away_is_named() {
    let store = Store::connect(config("http://127.0.0.1:9".into())).await.unwrap();
    let error = store.fetch_image("uso", "a.png").await.unwrap_err();
    assert_eq!(error.to_string(), "the object store at http://127.0.0.1:9 cannot be reached");
    assert!(error.retryable());
}

#[tokio::test]
async fn a_service_below_a_path_is_asked_below_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 8192];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await.unwrap();
        String::from_utf8_lossy(&request[..read]).lines().next().unwrap().to_owned()
    });
    let store = Store::connect(config(format!("http://{address}/storage/s3\n"))).await.unwrap();
    let link = store.presign_get("uso", "a.png", Duration::from_secs(9)).await.unwrap();
    assert!(link.starts_with(&format!("http://{address}/storage/s3/uso/a.png?")), "{link}");
    assert_eq!(store.public_origin(), format!("http://{address}"));
    let put = tokio::spawn(async move { store.put("a.png", "image/png", PNG.into()).await });
    let line = asked.await.unwrap();
    assert!(line.starts_with("PUT /storage/s3/uso/a.png"), "{line}");
    put.abort();
}

#[tokio::test]
async fn an_address_that_holds_the_bucket_makes_none() {
    let folder = Folder::start().await;
    let said = format!("{}/uso", folder.server.endpoint());
    let error = Store::connect(config(said)).await.err().unwrap();
    assert!(error.to_string().contains("the bucket's name"), "{error}");
    let made = std::fs::read_dir(folder.data.path().join("s3")).unwrap().count();
    assert_eq!(made, 0);
}

#[tokio::test]
async fn endpoints_that_cannot_work_are_refused() {
    for endpoint in ["localhost:9000", "ftp://127.0.0.1", "http://user:secret@127.0.0.1", "not a url"] {
        let error = Store::connect(config(endpoint.into())).await.err().unwrap();
        assert!(matches!(error, Error::BadEndpoint { .. }), "{endpoint}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
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
