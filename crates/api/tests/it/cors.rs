//! Pages of others.

use reqwest::Method;
use serde_json::json;
use uso_api::{Access, Config};

use crate::fixture::{Fixture, problem};

const PAGE: &str = "https://studio.example";

#[tokio::test]
async fn a_page_that_is_named_may_ask_and_read_and_another_may_not() {
    let config = Config { access: Access::Keys, cors_origins: vec![PAGE.into()], ..Config::default() };
    let fixture = Fixture::start_as(config).await;
    let before = async |origin: &str, wants: &str| {
        let request =
            fixture.client.request(Method::OPTIONS, fixture.url("/v1/jobs")).header("origin", origin);
        let request = request.header("access-control-request-method", wants);
        let answer = request.header("access-control-request-headers", "authorization,content-type").send();
        answer.await.unwrap()
    };
    let allowed = before(PAGE, "POST").await;
    assert_eq!(allowed.headers()["access-control-allow-origin"], PAGE);
    let methods = allowed.headers()["access-control-allow-methods"].to_str().unwrap();
    assert!(methods.contains("POST") && methods.contains("DELETE"), "{methods}");
    let headers = allowed.headers()["access-control-allow-headers"].to_str().unwrap();
    for name in ["authorization", "content-type", "idempotency-key", "prefer", "last-event-id"] {
        assert!(headers.contains(name), "{headers}");
    }
    assert!(
        !allowed.headers().contains_key("access-control-allow-credentials"),
        "cookies are for our own page"
    );

    // A refusal is there to be read.
    let send = async |origin: &str| {
        let request = fixture.client.post(fixture.url("/v1/jobs")).header("origin", origin);
        request.json(&json!({})).send().await.unwrap()
    };
    let refused = send(PAGE).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["access-control-allow-origin"]),
        (401, &PAGE.parse().unwrap())
    );
    let exposed = refused.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("location") && exposed.contains("retry-after"), "{exposed}");

    for other in ["https://studio.example.evil", "http://studio.example", "null"] {
        assert!(
            !before(other, "POST").await.headers().contains_key("access-control-allow-origin"),
            "{other}"
        );
        assert!(!send(other).await.headers().contains_key("access-control-allow-origin"), "{other}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_where_no_key_is_needed() {
    let fixture = Fixture::start_as(Config { cors_origins: vec![PAGE.into()], ..Config::default() }).await;
    // What a browser lets any page send without asking first.
    let send = async |origin: &str, path: &str| {
        fixture.client.post(fixture.url(path)).header("origin", origin).send().await.unwrap()
    };
    for path in
        ["/v1/files", "/v1/webhooks/default/rotate", "/v1/jobs/0-0198a0b0-0000-7000-8000-000000000000/cancel"]
    {
        problem(send("https://evil.example", path).await, 403, "foreign_page").await;
        problem(send("null", path).await, 403, "foreign_page").await;
    }
    let own = format!("http://{}", fixture.address());
    for origin in [PAGE, own.as_str()] {
        assert_eq!(send(origin, "/v1/webhooks/default/rotate").await.status(), 200, "{origin}");
    }
}
