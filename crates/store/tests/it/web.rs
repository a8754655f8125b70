//! References from the web.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uso_store::{Config, Error, Store, WebError, WebReferences};

use crate::fixture::{PNG, config};

/// Another server: each path has an answer of its own.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 8192];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = text.split_whitespace().nth(1).unwrap_or_default();
                let (head, body, pause) = answer(path);
                let _ = stream
                    .write_all(format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes())
                    .await;
                let _ = stream.write_all(&body).await;
                tokio::time::sleep(pause).await;
            });
        }
    });
    format!("http://{address}")
}

fn answer(path: &str) -> (String, Vec<u8>, Duration) {
    let now = Duration::ZERO;
    let path = path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let to = |place: String| (format!("302 Found\r\nlocation: {place}"), Vec::new(), now);
    match name {
        "picture" => ("200 OK".into(), PNG.to_vec(), now),
        "text" => ("200 OK".into(), b"hello".to_vec(), now),
        "large" => ("200 OK".into(), [PNG, &[0; 2000]].concat(), now),
        "announced" => ("200 OK\r\ncontent-length: 2000".into(), PNG.to_vec(), now),
        "half" => ("200 OK\r\ncontent-length: 100".into(), PNG.to_vec(), now),
        "slow" => ("200 OK\r\ncontent-length: 100".into(), PNG.to_vec(), Duration::from_secs(60)),
        "hops" => match rest.parse::<u32>().unwrap() {
            0 => to("/picture".into()),
            left => to(format!("/hops/{}", left - 1)),
        },
        "nowhere" => ("302 Found".into(), Vec::new(), now),
        "elsewhere" => to(format!("{}/", rest.replace('!', "/"))),
        "status" => (format!("{rest} Word"), Vec::new(), now),
        _ => ("404 Not Found".into(), Vec::new(), now),
    }
}

async fn store(web: WebReferences) -> Store {
    let config = Config {
        web,
        max_bytes: 1000,
        timeout: Duration::from_secs(3),
        ..config("http://127.0.0.1:9".into())
    };
    Store::connect(config).await.unwrap()
}

async fn refused(store: &Store, url: &str) -> WebError {
    match store.fetch_web(url).await {
        Err(Error::Web(error)) => error,
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn a_picture_comes_also_when_it_has_moved() {
    let (server, store) = (server().await, store(WebReferences::Any).await);
    for path in ["/picture", "/picture?size=2", "/hops/0", "/hops/4"] {
        assert_eq!(store.fetch_web(&format!("{server}{path}")).await.unwrap(), PNG, "{path}");
    }
    let error = refused(&store, &format!("{server}/hops/5")).await;
    assert!(matches!(error, WebError::TooManyRedirects { limit: 5, .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_reference_is_named_without_what_may_be_a_secret() {
    let (server, store) = (server().await, store(WebReferences::Any).await);
    let cases = [
        ("/text?token=secret", false, "/text is not a png, jpeg or webp image"),
        ("/large?token=secret", false, "/large is larger than the limit of 1000 bytes"),
        ("/announced?token=secret", false, "/announced is larger than the limit of 1000 bytes"),
        ("/none?token=secret", false, "/none answered with status 404"),
        ("/status/403?token=secret", false, "/status/403 answered with status 403"),
        ("/status/503?token=secret", true, "/status/503 answered with status 503"),
        ("/status/429?token=secret", true, "/status/429 answered with status 429"),
        ("/half?token=secret", true, "/half could not be fetched: the request failed"),
        ("/slow?token=secret", true, "/slow could not be fetched: "),
        ("/nowhere?token=secret", false, "/nowhere answered with status 302"),
    ];
    for (path, retryable, message) in cases {
        let error = Error::from(refused(&store, &format!("{server}{path}")).await);
        assert_eq!(error.retryable(), retryable, "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
    let gone = refused(&store, "http://127.0.0.1:1/a.png").await;
    assert!(matches!(&gone, WebError::Unreachable { reason, .. } if reason == "no connection could be made"));
}

#[tokio::test]
async fn nothing_is_fetched_from_where_it_may_not_and_no_redirect_leads_there() {
    let server = server().await;
    let off = refused(&store(WebReferences::Off).await, "https://example.com/a.png").await;
    assert!(matches!(off, WebError::NotAllowed { .. }), "{off}");

    let public = store(WebReferences::Public).await;
    let port = server.rsplit(':').next().unwrap();
    for url in
        [format!("{server}/picture"), format!("https://127.0.0.1:{port}/picture"), "https://[::1]/".into()]
    {
        let error = refused(&public, &url).await;
        assert!(matches!(error, WebError::NotAllowed { .. }), "{error}");
    }
    // This machine has many names.
    let error = refused(&public, &format!("https://localhost:{port}/picture")).await;
    assert!(error.to_string().ends_with("must be a public address"), "{error}");

    // Each address on the way is looked at like the first.
    let any = store(WebReferences::Any).await;
    for place in ["ftp:!!127.0.0.1", "http:!!user:word@127.0.0.1", "file:!!!etc"] {
        let error = refused(&any, &format!("{server}/elsewhere/{place}")).await;
        assert!(matches!(error, WebError::NotAllowed { .. }), "{place}: {error}");
    }
}
