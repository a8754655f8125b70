//! Endpoints are told when jobs end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use uso_api::Config;
use uso_queue::Failure;

use crate::fixture::{Fixture, problem, until};

/// One message as it came.
#[derive(Debug, Clone)]
struct Message {
    headers: HeaderMap,
    body: String,
}

/// An endpoint that answers what the test wants.
#[derive(Clone)]
struct Endpoint {
    heard: Arc<Mutex<Vec<Message>>>,
    answer: Arc<Mutex<StatusCode>>,
    url: String,
}

impl Endpoint {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let endpoint = Self { heard: Arc::default(), answer: Arc::new(Mutex::new(StatusCode::OK)), url };
        let router = Router::new().route("/hook", post(hear)).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    fn answer(&self, status: StatusCode) {
        *self.answer.lock().unwrap() = status;
    }

    /// All messages, once there are so many.
    async fn messages(&self, count: usize) -> Vec<Message> {
        let wait = async {
            loop {
                let heard = self.heard.lock().unwrap().clone();
                if heard.len() >= count {
                    return heard;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("no webhook came")
    }
}

async fn hear(State(endpoint): State<Endpoint>, headers: HeaderMap, body: String) -> (StatusCode, HeaderMap) {
    endpoint.heard.lock().unwrap().push(Message { headers, body });
    let (status, mut headers) = (*endpoint.answer.lock().unwrap(), HeaderMap::new());
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert("retry-after", "3600".parse().unwrap());
    }
    (status, headers)
}

impl Message {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Whether one of its signatures was made with a secret.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let (id, time) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        mac.update(format!("{id}.{time}.{}", self.body).as_bytes());
        let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

async fn fixture() -> Fixture {
    Fixture::start_as(Config { private_webhooks: true, ..Config::default() }).await
}

async fn create(fixture: &Fixture, body: &Value) -> Value {
    let answer = fixture.post("/v1/webhooks", body).await;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.json().await.unwrap()
}

/// The deliveries of an endpoint, once `reached` holds for the newest.
async fn delivery(fixture: &Fixture, hook: &str, reached: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let path = format!("/v1/webhooks/{hook}/deliveries");
            let body: Value = fixture.get(&path).await.json().await.unwrap();
            if reached(&body["deliveries"][0]) {
                return body["deliveries"][0].clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the delivery did not get there")
}

#[tokio::test]
async fn the_end_of_a_job_is_told_signed_and_with_links_alone() {
    let fixture = fixture().await;
    let endpoint = Endpoint::start().await;
    let hook = create(&fixture, &json!({ "url": endpoint.url })).await;
    let id = fixture.submit("a cat").await;
    fixture.complete(&fixture.claim().await).await;
    let message = endpoint.messages(1).await.remove(0);
    assert!(message.is_signed_with(hook["secret"].as_str().unwrap()));
    let body: Value = serde_json::from_str(&message.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["id"]), (&json!("job.succeeded"), &json!(id)));
    assert_eq!(body["data"]["links"]["result"], format!("/v1/jobs/{id}/result"));
    assert!(!message.body.contains("X-Amz") && !message.body.contains("s3://"), "{}", message.body);

    let told = delivery(&fixture, hook["id"].as_str().unwrap(), |told| told["ended"] == "delivered").await;
    assert_eq!(
        (&told["job"], &told["attempts"], &told["log"][0]["status"]),
        (&json!(id), &json!(1), &json!(200))
    );
    let list: Value = fixture.get("/v1/webhooks").await.json().await.unwrap();
    assert_eq!(list["webhooks"][0]["id"], hook["id"]);
    assert!(list["webhooks"][0].get("secret").is_none(), "a secret is shown once");
}

#[tokio::test]
async fn a_job_tells_the_address_that_it_names_signed_with_the_tenants_secret() {
    let public_url = Some("https://pictures.example".to_owned());
    let config = Config { model: "toy".into(), private_webhooks: true, public_url, ..Config::default() };
    let fixture = Fixture::start_as(config).await;
    let endpoint = Endpoint::start().await;
    let secret: Value = fixture.get("/v1/webhooks/default/secret").await.json().await.unwrap();
    let answer = fixture.post("/v1/jobs", &json!({ "steps": 2, "webhook": endpoint.url })).await;
    let accepted: Value = answer.json().await.unwrap();
    assert_eq!(accepted["spec"]["webhook"], endpoint.url);
    fixture.complete(&fixture.claim().await).await;
    let body = json!({ "version": "uso/toy", "input": {}, "webhook": endpoint.url });
    let prediction: Value = fixture.post("/v1/predictions", &body).await.json().await.unwrap();
    fixture.complete(&fixture.claim().await).await;

    let messages = endpoint.messages(2).await;
    assert!(messages.iter().all(|message| message.is_signed_with(secret["key"].as_str().unwrap())));
    let told: Vec<Value> =
        messages.iter().map(|message| serde_json::from_str(&message.body).unwrap()).collect();
    let as_job = told.iter().find(|told| told["type"] == "job.succeeded").unwrap();
    let id = accepted["id"].as_str().unwrap();
    assert_eq!(as_job["data"]["links"]["result"], format!("https://pictures.example/v1/jobs/{id}/result"));
    let as_prediction = told.iter().find(|told| told["id"] == prediction["id"]).unwrap();
    assert_eq!(as_prediction["status"], "succeeded");
    let output = as_prediction["output"][0].as_str().unwrap();
    assert!(
        output.starts_with("https://pictures.example/v1/predictions/") && !output.contains('?'),
        "{output}"
    );

    // They are in the log of the endpoint that stands for all such addresses, which is none of the tenant's own.
    let told = delivery(&fixture, "default", |told| told["ended"] == "delivered").await;
    assert_eq!(told["url"], endpoint.url);
    let list: Value = fixture.get("/v1/webhooks").await.json().await.unwrap();
    assert_eq!(list["webhooks"], json!([]));
    let delete = fixture.client.delete(fixture.url("/v1/webhooks/default")).send().await.unwrap();
    problem(delete, 409, "default_webhook").await;
    let rotated: Value = fixture.post("/v1/webhooks/default/rotate", &json!({})).await.json().await.unwrap();
    assert_ne!(rotated["secret"], secret["key"]);
}

#[tokio::test]
async fn a_job_can_name_no_address_inside() {
    let fixture = Fixture::start().await;
    let body = problem(
        fixture.post("/v1/jobs", &json!({ "webhook": "https://127.0.0.1" })).await,
        422,
        "invalid_fields",
    )
    .await;
    assert_eq!(
        (&body["errors"][0]["pointer"], &body["errors"][0]["code"]),
        (&json!("/webhook"), &json!("invalid_url"))
    );
    let batch = json!({ "jobs": [{}, { "webhook": "http://example.com" }] });
    let body = problem(fixture.post("/v1/batches", &batch).await, 422, "invalid_fields").await;
    assert_eq!(body["errors"][0]["pointer"], "/jobs/1/webhook");
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() {
    let fixture = fixture().await;
    let endpoint = Endpoint::start().await;
    create(&fixture, &json!({ "url": endpoint.url, "events": ["job.failed"] })).await;
    fixture.submit("a cat").await;
    fixture.complete(&fixture.claim().await).await;
    let id = fixture.submit("a dog").await;
    let failure =
        Failure { code: "broke".into(), message: "it broke".into(), retryable: false, ..Failure::default() };
    fixture.claim().await.fail(&failure).await.unwrap();
    let messages = endpoint.messages(1).await;
    assert_eq!(messages.len(), 1);
    assert!(messages[0].body.contains(&id) && messages[0].body.contains("job.failed"), "{messages:?}");
}

#[tokio::test]
async fn what_was_not_taken_is_sent_again_under_the_same_id() {
    let fixture = fixture().await;
    let endpoint = Endpoint::start().await;
    let hook = create(&fixture, &json!({ "url": endpoint.url })).await;
    let hook = hook["id"].as_str().unwrap();
    endpoint.answer(StatusCode::INTERNAL_SERVER_ERROR);
    fixture.submit("a cat").await;
    fixture.complete(&fixture.claim().await).await;
    let told = delivery(&fixture, hook, |told| told["attempts"] == 1).await;
    assert_eq!((&told["ended"], &told["log"][0]["status"]), (&Value::Null, &json!(500)));
    assert!(told["due_ms"].as_u64() > told["made_ms"].as_u64());
    endpoint.answer(StatusCode::NO_CONTENT);
    delivery(&fixture, hook, |told| told["ended"] == "delivered").await;
    // And once more when its owner asks for it.
    let path = format!("/v1/webhooks/{hook}/deliveries/{}/replay", told["id"].as_str().unwrap());
    assert_eq!(fixture.post(&path, &json!({})).await.status(), 202);
    let messages = endpoint.messages(3).await;
    let ids: Vec<&str> = messages.iter().map(|message| message.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn an_old_secret_signs_beside_the_new_one() {
    let fixture = fixture().await;
    let endpoint = Endpoint::start().await;
    let hook = create(&fixture, &json!({ "url": endpoint.url })).await;
    let path = format!("/v1/webhooks/{}/rotate", hook["id"].as_str().unwrap());
    let rotated: Value = fixture.post(&path, &json!({})).await.json().await.unwrap();
    assert_ne!(rotated["secret"], hook["secret"]);
    fixture.submit("a cat").await;
    fixture.complete(&fixture.claim().await).await;
    let message = endpoint.messages(1).await.remove(0);
    for secret in [&hook["secret"], &rotated["secret"]] {
        assert!(message.is_signed_with(secret.as_str().unwrap()));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_until_it_is_enabled() {
    let fixture = fixture().await;
    let endpoint = Endpoint::start().await;
    let hook = create(&fixture, &json!({ "url": endpoint.url })).await;
    let id = hook["id"].as_str().unwrap();
    endpoint.answer(StatusCode::GONE);
    fixture.submit("a cat").await;
    fixture.complete(&fixture.claim().await).await;
    delivery(&fixture, id, |told| told["ended"] == "failed").await;
    let disabled = async || {
        let list: Value = fixture.get("/v1/webhooks").await.json().await.unwrap();
        list["webhooks"][0]["disabled"].clone()
    };
    until("the endpoint is disabled", async || !disabled().await.is_null()).await;
    assert!(disabled().await.as_str().unwrap().contains("410"));
    // What ends meanwhile is not told.
    fixture.submit("a dog").await;
    fixture.complete(&fixture.claim().await).await;
    endpoint.answer(StatusCode::OK);
    let enabled = fixture.post(&format!("/v1/webhooks/{id}/enable"), &json!({})).await;
    assert_eq!(enabled.json::<Value>().await.unwrap()["disabled"], Value::Null);
    let last = fixture.submit("a fox").await;
    fixture.complete(&fixture.claim().await).await;
    let messages = endpoint.messages(2).await;
    assert_eq!(messages.len(), 2);
    assert!(messages[1].body.contains(&last));
}

#[tokio::test]
async fn a_webhook_is_its_tenants_own_and_leads_outside() {
    let fixture = Fixture::start().await;
    for bad in [json!({}), json!({ "url": "http://example.com" }), json!({ "url": "https://127.0.0.1" })] {
        let body = problem(fixture.post("/v1/webhooks", &bad).await, 422, "invalid_fields").await;
        assert_eq!(body["errors"][0]["pointer"], "/url");
    }
    let bad = json!({ "url": "https://example.com", "events": ["job.queued"], "secret": "x" });
    let body = problem(fixture.post("/v1/webhooks", &bad).await, 422, "invalid_fields").await;
    let pointers: Vec<&Value> =
        body["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, [&json!("/secret"), &json!("/events/0")]);

    let theirs = fixture.queue.add_webhook("theirs", "https://example.com", &[]).await.unwrap().unwrap().id;
    let list: Value = fixture.get("/v1/webhooks").await.json().await.unwrap();
    assert_eq!(list, json!({ "webhooks": [] }));
    for action in ["rotate", "disable", "enable"] {
        let answer = fixture.post(&format!("/v1/webhooks/{theirs}/{action}"), &json!({})).await;
        problem(answer, 404, "no_such_webhook").await;
    }
    let answer = fixture.get(&format!("/v1/webhooks/{theirs}/deliveries")).await;
    problem(answer, 404, "no_such_webhook").await;
    let delete = |id: &str| fixture.client.delete(fixture.url(&format!("/v1/webhooks/{id}"))).send();
    problem(delete(&theirs).await.unwrap(), 404, "no_such_webhook").await;
    let ours = create(&fixture, &json!({ "url": "https://example.com" })).await;
    assert_eq!(delete(ours["id"].as_str().unwrap()).await.unwrap().status(), 204);
    assert_eq!(fixture.queue.webhooks("theirs").await.unwrap().len(), 1);
}

/// An endpoint that accepts connections and never answers; counts them.
struct BlackHole {
    url: String,
    taken: Arc<Mutex<Vec<tokio::net::TcpStream>>>,
}

impl BlackHole {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let taken: Arc<Mutex<Vec<_>>> = Arc::default();
        let its = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                its.lock().unwrap().push(stream);
            }
        });
        Self { url, taken }
    }

    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

#[tokio::test]
async fn endpoints_that_never_answer_delay_no_others() {
    let fixture = fixture().await;
    let (hole, endpoint) = (BlackHole::start().await, Endpoint::start().await);
    let canceled = [uso_queue::State::Canceled];
    for tenant in ["one", "two", "three"] {
        for _ in 0..3 {
            fixture.queue.add_webhook(tenant, &hole.url, &canceled).await.unwrap().unwrap();
        }
    }
    fixture.queue.add_webhook("default", &endpoint.url, &canceled).await.unwrap().unwrap();
    let spec = uso_queue::JobSpec::parse(&json!({}), &uso_queue::Defaults::default()).unwrap();
    for tenant in ["one", "two", "three"] {
        for job in fixture.queue.submit_all(tenant, &vec![(&spec).into(); 40]).await.unwrap() {
            fixture.queue.cancel(&job.id).await.unwrap();
        }
    }
    until("the endpoints have their share", async || hole.taken() >= 3 * 8).await;
    let jobs = fixture.queue.submit_all("default", &vec![(&spec).into(); 50]).await.unwrap();
    for job in &jobs {
        fixture.queue.cancel(&job.id).await.unwrap();
    }
    endpoint.messages(50).await;
    // None of those that give no answer was over meanwhile, and no more were sent.
    assert_eq!(hole.taken(), 3 * 8);
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_is_left_alone() {
    let fixture = fixture().await;
    let endpoint = Endpoint::start().await;
    let hook = create(&fixture, &json!({ "url": endpoint.url })).await;
    let hook = hook["id"].as_str().unwrap();
    endpoint.answer(StatusCode::TOO_MANY_REQUESTS);
    fixture.submit("a cat").await;
    fixture.complete(&fixture.claim().await).await;
    let told = delivery(&fixture, hook, |told| told["attempts"] == 1).await;
    let hour = 60 * 60 * 1000;
    let (due, at) = (told["due_ms"].as_u64().unwrap(), told["log"][0]["at_ms"].as_u64().unwrap());
    assert!((at + hour..at + hour + 1000).contains(&due), "{told}");
    // Nothing else is sent to it either: that of another is, which ended later.
    let other = Endpoint::start().await;
    fixture.submit("a dog").await;
    create(&fixture, &json!({ "url": other.url })).await;
    fixture.complete(&fixture.claim().await).await;
    other.messages(1).await;
    assert_eq!(endpoint.messages(1).await.len(), 1);
}

#[tokio::test]
async fn a_name_of_this_machine_is_refused_when_it_is_given() {
    let fixture = Fixture::start().await;
    for url in ["https://localhost/hook", "https://LOCALHOST:8443", "https://a.localhost./"] {
        problem(fixture.post("/v1/webhooks", &json!({ "url": url })).await, 422, "invalid_fields").await;
        problem(fixture.post("/v1/jobs", &json!({ "webhook": url })).await, 422, "invalid_fields").await;
    }
}
