//! What a browser needs before it lets a page upload.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use reqwest::{Method, header};

use crate::fixture::{BUCKET, Folder, PAGE, PNG};

#[tokio::test]
async fn our_page_may_upload() {
    let folder = Folder::start().await;
    let minute = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let put = folder.client().await.put_object().bucket(BUCKET).key("a.png").content_type("image/png");
    let link = put.presigned(minute).await.unwrap().uri().to_owned();
    let client = reqwest::Client::new();
    let asked = client
        .request(Method::OPTIONS, &link)
        .header(header::ORIGIN, PAGE)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "PUT")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 204);
    assert_eq!(asked.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
    assert_eq!(asked.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS], "content-type");
    assert!(asked.headers()[header::ACCESS_CONTROL_ALLOW_METHODS].to_str().unwrap().contains("PUT"));

    let put = client
        .put(&link)
        .header(header::ORIGIN, PAGE)
        .header(header::CONTENT_TYPE, "image/png")
        .body(PNG)
        .send()
        .await
        .unwrap();
    assert!(put.status().is_success());
    assert_eq!(put.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
}

#[tokio::test]
async fn other_pages_may_not() {
    let folder = Folder::start().await;
    let url = format!("{}/{BUCKET}/a.png", folder.server.endpoint());
    let asked = reqwest::Client::new()
        .request(Method::OPTIONS, url)
        .header(header::ORIGIN, "http://evil.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "PUT")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 403);
    assert!(!asked.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}
