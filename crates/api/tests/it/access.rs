//! Keys and scopes.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use uso_api::{Access, Config};
use uso_queue::KeyScope::{Admin, Read, Submit};

use crate::fixture::{Fixture, problem};

/// Every route that asks for a key, with what each method needs.
const ROUTES: [(&str, &str, &str); 23] = [
    ("POST", "/v1/jobs", "submit"),
    ("GET", "/v1/jobs/x", "read"),
    ("GET", "/v1/jobs/x/events", "read"),
    ("GET", "/v1/jobs/x/preview", "read"),
    ("GET", "/v1/jobs/x/result", "read"),
    ("POST", "/v1/jobs/x/cancel", "submit"),
    ("POST", "/v1/jobs/x/retry", "submit"),
    ("GET", "/v1/jobs", "read"),
    ("DELETE", "/v1/jobs/x", "submit"),
    ("POST", "/v1/batches", "submit"),
    ("GET", "/v1/batches/x", "read"),
    ("GET", "/v1/batches/x/events", "read"),
    ("POST", "/v1/batches/x/cancel", "submit"),
    ("GET", "/v1/events", "read"),
    ("GET", "/v1/capabilities", "read"),
    ("GET", "/v1/queue", "read"),
    ("GET", "/v1/dead", "admin"),
    ("GET", "/v1/workers", "read"),
    ("POST", "/v1/uploads", "submit"),
    ("GET", "/v1/session", ""),
    ("DELETE", "/v1/session", ""),
    ("GET", "/metrics", "admin"),
    ("HEAD", "/v1/workers", "read"),
];

async fn send(fixture: &Fixture, method: &str, path: &str, authorization: Option<&str>) -> Response {
    let request =
        fixture.client.request(method.parse::<Method>().unwrap(), fixture.url(path)).json(&json!({}));
    let request = match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    };
    request.send().await.unwrap()
}

#[tokio::test]
async fn without_a_key_every_route_says_what_is_missing() {
    let fixture = Fixture::with_keys().await;
    for (method, path, _) in ROUTES {
        let answer = send(&fixture, method, path, None).await;
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"uso\"", "{method} {path}");
        if method == "HEAD" {
            assert_eq!(answer.status(), 401);
        } else {
            problem(answer, 401, "no_key").await;
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(send(&fixture, "GET", path, None).await.status(), 200, "{path}");
    }
    problem(send(&fixture, "GET", "/v1/nothing", None).await, 404, "no_such_route").await;
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_not_repeated() {
    let fixture = Fixture::with_keys().await;
    let key = fixture.key("studio", &[Submit, Read]).await;
    let good = format!("bearer {}", key.expose());
    assert_eq!(send(&fixture, "GET", "/v1/workers", Some(&good)).await.status(), 200);
    let other = fixture.key("studio", &[Read]).await.expose();
    let forged = format!("Bearer uso_{}_{}", key.prefix(), other.rsplit_once('_').unwrap().1);
    for bad in ["Bearer", "Bearer x", "Basic dXNlcjpwYXNz", "", &forged, &format!("{good}x")] {
        let answer = send(&fixture, "GET", "/v1/workers", Some(bad)).await;
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"uso\", error=\"invalid_token\"");
        let body = problem(answer, 401, "invalid_key").await;
        assert!(bad.len() < 8 || !body.to_string().contains(bad), "{body}");
    }
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_no_more() {
    let fixture = Fixture::with_keys().await;
    for scope in [Submit, Read, Admin] {
        let key = fixture.key("studio", &[scope]).await.expose();
        for (method, path, needs) in ROUTES {
            let answer = send(&fixture, method, path, Some(&format!("Bearer {key}"))).await;
            let allowed = needs.is_empty() || needs == scope.as_str();
            assert_eq!(answer.status() != 403, allowed, "{method} {path} with {}", scope.as_str());
            if !allowed && method != "HEAD" {
                let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
                assert!(challenge.ends_with(&format!("scope=\"{needs}\"")), "{challenge}");
                problem(answer, 403, "missing_scope").await;
            }
        }
    }
}

#[tokio::test]
async fn a_revoked_key_stops_working_in_every_process_within_seconds() {
    let fixture = Fixture::with_keys().await;
    let key = fixture.key("studio", &[Read]).await;
    let bearer = format!("Bearer {}", key.expose());
    assert_eq!(send(&fixture, "GET", "/v1/workers", Some(&bearer)).await.status(), 200);
    fixture.queue.revoke_key(key.prefix()).await.unwrap();
    let refused = async {
        while send(&fixture, "GET", "/v1/workers", Some(&bearer)).await.status() != 401 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), refused).await.expect("the key still opens");
}

#[tokio::test]
async fn while_everybody_is_let_in_keys_are_not_looked_at() {
    let fixture = Fixture::start().await;
    for authorization in [None, Some("Bearer x")] {
        let answer = send(&fixture, "GET", "/v1/session", authorization).await;
        let body: Value = answer.json().await.unwrap();
        let all = json!(["submit", "read", "admin"]);
        assert_eq!(
            (&body["tenant"], &body["scopes"], &body["auth"]),
            (&json!("default"), &all, &json!("open"))
        );
    }
}

#[tokio::test]
async fn what_is_open_to_this_machine_alone_is_not_reached_by_another_name() {
    let fixture = Fixture::start_as(Config { access: Access::Local, ..Config::default() }).await;
    assert_eq!(fixture.get("/v1/workers").await.status(), 200);
    let ask = |name: &'static str, value: &'static str| {
        fixture.client.get(fixture.url("/v1/workers")).header(name, value).send()
    };
    for (name, value) in [("host", "example.com"), ("x-forwarded-for", "192.0.2.1")] {
        problem(ask(name, value).await.unwrap(), 403, "not_here").await;
    }
    assert_eq!(fixture.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn an_event_stream_ends_when_its_key_is_revoked() {
    let fixture = Fixture::with_keys().await;
    let key = fixture.key("studio", &[Submit, Read]).await;
    let bearer = format!("Bearer {}", key.expose());
    let submitted: Value = send(&fixture, "POST", "/v1/jobs", Some(&bearer)).await.json().await.unwrap();
    let events = format!("/v1/jobs/{}/events", submitted["id"].as_str().unwrap());
    let mut stream = send(&fixture, "GET", &events, Some(&bearer)).await.bytes_stream();
    assert!(stream.next().await.is_some(), "no snapshot");
    // Longer than the process keeps what it has read: a valid key stays valid.
    let quiet = tokio::time::timeout(Duration::from_secs(4), stream.next()).await;
    assert!(quiet.is_err(), "the stream ended by itself");
    fixture.queue.revoke_key(key.prefix()).await.unwrap();
    let end = async { while stream.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(14), end).await.expect("the stream goes on");
}
