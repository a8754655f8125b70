//! A browser logs in.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use uso_queue::KeyScope::{Read, Submit};

use crate::fixture::{Fixture, problem};

/// The cookies that a browser has after it logged in.
struct Browser<'a> {
    fixture: &'a Fixture,
    session: String,
    csrf: String,
}

impl<'a> Browser<'a> {
    async fn log_in(fixture: &'a Fixture, key: &str) -> Self {
        let answer = fixture.post("/v1/session", &json!({ "key": key })).await;
        assert_eq!(answer.status(), 204);
        let session = value(&cookie(&answer, "uso_session"));
        let csrf = value(&cookie(&answer, "uso_csrf"));
        Self { fixture, session, csrf }
    }

    /// A request as the browser sends it: with its cookies, whichever page sent it.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let cookies = format!("uso_csrf={}; uso_session={}", self.csrf, self.session);
        self.fixture.client.request(method, self.fixture.url(path)).header("cookie", cookies)
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }
}

/// The whole of a cookie that an answer sets.
fn cookie(answer: &Response, name: &str) -> String {
    let mut all = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    all.find(|text| text.starts_with(&format!("{name}="))).unwrap().to_owned()
}

fn value(cookie: &str) -> String {
    cookie.split(';').next().unwrap().split_once('=').unwrap().1.to_owned()
}

#[tokio::test]
async fn a_session_is_as_good_as_its_key_and_out_of_reach_of_scripts() {
    let fixture = Fixture::with_keys().await;
    let key = fixture.key("studio", &[Submit, Read]).await.expose();
    let login = |proto: &'static str| {
        let request = fixture.client.post(fixture.url("/v1/session")).header("x-forwarded-proto", proto);
        request.json(&json!({ "key": key })).send()
    };
    let plain = login("http").await.unwrap();
    let session = cookie(&plain, "uso_session");
    assert!(session.ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"), "{session}");
    assert!(!session.contains(&key), "the key itself is not to be kept by a browser");
    let csrf = cookie(&plain, "uso_csrf");
    assert!(csrf.ends_with("; SameSite=Strict; Path=/; Max-Age=43200"), "{csrf}");
    assert!(!csrf.contains("HttpOnly") && value(&csrf) != value(&session));
    let secure = login("https").await.unwrap();
    for name in ["uso_session", "uso_csrf"] {
        assert!(cookie(&secure, name).ends_with("; Secure"));
    }

    let browser = Browser::log_in(&fixture, &key).await;
    let body: Value = browser.get("/v1/session").await.json().await.unwrap();
    let expected = json!(
        { "tenant": "studio", "scopes": ["submit", "read"], "auth": "keys", "session": true }
    );
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_changes_something_must_come_from_a_page_that_can_read_the_cookie() {
    let fixture = Fixture::with_keys().await;
    let key = fixture.key("studio", &[Submit, Read]).await.expose();
    let (browser, other) = (Browser::log_in(&fixture, &key).await, Browser::log_in(&fixture, &key).await);
    let submit = || browser.request(Method::POST, "/v1/jobs").json(&json!({}));
    problem(submit().send().await.unwrap(), 403, "csrf").await;
    for wrong in ["", "x", &other.csrf, &browser.session] {
        problem(submit().header("x-csrf-token", wrong).send().await.unwrap(), 403, "csrf").await;
    }
    let answer = submit().header("x-csrf-token", &browser.csrf).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let view = fixture.claim().await;
    assert_eq!(view.tenant, "studio");
    // A key of its own in the header needs no such proof: no browser sends one by itself.
    let both = submit().bearer_auth(&key).send().await.unwrap();
    assert_eq!(both.status(), 202);
}

#[tokio::test]
async fn a_session_ends_when_the_browser_says_so() {
    let fixture = Fixture::with_keys().await;
    let key = fixture.key("studio", &[Read]).await.expose();
    let browser = Browser::log_in(&fixture, &key).await;
    assert_eq!(browser.get("/v1/workers").await.status(), 200);
    let close = || browser.request(Method::DELETE, "/v1/session");
    problem(close().send().await.unwrap(), 403, "csrf").await;
    let closed = close().header("x-csrf-token", &browser.csrf).send().await.unwrap();
    assert_eq!(closed.status(), 204);
    assert!(cookie(&closed, "uso_session").ends_with("Max-Age=0"));
    let body = problem(browser.get("/v1/workers").await, 401, "session_over").await;
    assert!(!body.to_string().contains(&browser.session));
}

#[tokio::test]
async fn a_session_ends_with_the_key_that_opened_it() {
    let fixture = Fixture::with_keys().await;
    let key = fixture.key("studio", &[Read]).await;
    let browser = Browser::log_in(&fixture, &key.expose()).await;
    assert_eq!(browser.get("/v1/workers").await.status(), 200);
    fixture.queue.revoke_key(key.prefix()).await.unwrap();
    let over = async {
        while browser.get("/v1/workers").await.status() != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(15), over).await.expect("the session goes on");
}

#[tokio::test]
async fn what_opens_nothing_opens_no_session() {
    let fixture = Fixture::with_keys().await;
    let key = fixture.key("studio", &[Read]).await;
    fixture.queue.revoke_key(key.prefix()).await.unwrap();
    for bad in ["x", &key.expose()] {
        let answer = fixture.post("/v1/session", &json!({ "key": bad })).await;
        assert!(answer.headers().get("set-cookie").is_none());
        problem(answer, 401, "invalid_key").await;
    }
    for (bad, pointer) in [
        (json!({}), "/key"),
        (json!({ "key": 1 }), "/key"),
        (json!({ "key": "x", "a": 1 }), ""),
        (json!([]), ""),
    ] {
        let body = problem(fixture.post("/v1/session", &bad).await, 422, "invalid_fields").await;
        assert_eq!(body["errors"][0]["pointer"], pointer, "{bad}");
    }
    let open = Fixture::start().await;
    problem(open.post("/v1/session", &json!({ "key": "x" })).await, 409, "no_keys_needed").await;
}
