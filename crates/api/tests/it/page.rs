//! The web page.

use crate::fixture::{Fixture, problem};

#[tokio::test]
async fn the_page_and_its_parts_are_served_with_what_protects_them() {
    let fixture = Fixture::start().await;
    let index = fixture.get("/").await;
    assert_eq!(index.status(), 200);
    let headers = index.headers().clone();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    let store = fixture.store.public_origin();
    assert!(store.starts_with("http://127.0.0.1:"), "{store}");
    let policy = format!(
        "default-src 'self'; img-src 'self' data: blob: {store}; connect-src 'self' {store}; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    );
    assert_eq!(headers["content-security-policy"], policy.as_str());
    assert!(index.text().await.unwrap().contains("<title>uso-fleet</title>"));

    let style = fixture.get("/page/shared/base.css").await;
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    let tag = style.headers()["etag"].clone();
    assert_ne!(tag, headers["etag"]);
    let ask = |known: String| {
        fixture.client.get(fixture.url("/page/shared/base.css")).header("if-none-match", known).send()
    };
    let known = ask(format!("\"x\", W/{}", tag.to_str().unwrap())).await.unwrap();
    assert_eq!((known.status().as_u16(), &known.headers()["etag"]), (304, &tag));
    assert!(known.text().await.unwrap().is_empty());
    assert_eq!(ask("\"x\"".into()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn nothing_but_the_page_is_served() {
    let fixture = Fixture::start().await;
    for path in ["/page/none.js", "/page/..%2FCargo.toml", "/page/%2Fetc%2Fpasswd", "/page/", "/index.html"] {
        problem(fixture.get(path).await, 404, "no_such_route").await;
    }
}
