//! The API in the shape of Replicate's.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use futures::StreamExt;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Response;
use serde_json::{Value, json};
use sha2::Sha256;
use uso_api::{Access, Config};
use uso_queue::Failure;
use uso_queue::KeyScope::{Read, Submit};

use crate::fixture::{Fixture, problem, until};
use crate::uploads::png;

async fn start() -> Fixture {
    Fixture::start_as(Config { model: "toy".into(), ..Config::default() }).await
}

async fn created(answer: Response) -> Value {
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.json().await.unwrap()
}

async fn predict(fixture: &Fixture, input: &Value) -> Value {
    created(fixture.post("/v1/models/uso/toy/predictions", &json!({ "input": input })).await).await
}

/// Sends parts, each with its name, its file's name and its bytes, as a browser's form does.
pub(crate) async fn send_form(fixture: &Fixture, parts: &[(&str, &str, &[u8])]) -> Response {
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        let head =
            format!("--here\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n");
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(b"--here--\r\n");
    let request = fixture.client.post(fixture.url("/v1/files"));
    request.header("content-type", "multipart/form-data; boundary=here").body(body).send().await.unwrap()
}

#[tokio::test]
async fn the_name_of_a_predictions_picture_has_the_ending_of_its_format() {
    let fixture = start().await;
    let prediction = predict(&fixture, &json!({ "prompt": "a cat", "format": "jpeg", "quality": 50 })).await;
    let id = prediction["id"].as_str().unwrap();
    assert_eq!(prediction["input"]["quality"], 50);
    fixture.complete(&fixture.claim().await).await;
    let done: Value = fixture.get(&format!("/v1/predictions/{id}")).await.json().await.unwrap();
    let path = format!("/v1/predictions/{id}/output/0.jpg");
    assert_eq!(done["output"], json!([fixture.url(&path)]));
    let picture = fixture.get(&path).await;
    assert_eq!(picture.headers()["content-type"], "image/jpeg");
    problem(fixture.get(&path.replace(".jpg", ".png")).await, 404, "no_such_output").await;
}

#[tokio::test]
async fn a_prediction_is_a_job_from_its_beginning_to_its_picture() {
    let fixture = start().await;
    let version: Value = fixture.get("/v1/models/uso/toy").await.json().await.unwrap();
    let version = version["latest_version"]["id"].clone();
    let body = json!({ "version": version, "input": { "prompt": "a cat", "steps": 2 } });
    let prediction = created(fixture.post("/v1/predictions", &body).await).await;
    let (id, at) = (prediction["id"].as_str().unwrap(), fixture.url("/v1/predictions"));
    assert_eq!((&prediction["status"], &prediction["output"]), (&json!("starting"), &Value::Null));
    assert_eq!((&prediction["model"], &prediction["version"]), (&json!("uso/toy"), &version));
    assert_eq!((&prediction["input"]["prompt"], prediction["input"].get("content")), (&json!("a cat"), None));
    let urls = json!({ "get": format!("{at}/{id}"), "cancel": format!("{at}/{id}/cancel"), "stream": format!("{at}/{id}/stream") });
    assert_eq!(prediction["urls"], urls);

    let lease = fixture.claim().await;
    lease.progress(1, 2).await.unwrap();
    let running: Value = fixture.get(&format!("/v1/predictions/{id}")).await.json().await.unwrap();
    assert_eq!(running["status"], "processing");
    assert!(running["logs"].as_str().unwrap().starts_with(" 50%|"), "{running}");
    fixture.complete(&lease).await;
    let done: Value = fixture.get(&format!("/v1/predictions/{id}")).await.json().await.unwrap();
    assert_eq!(
        (&done["status"], &done["output"]),
        (&json!("succeeded"), &json!([format!("{at}/{id}/output/0.png")]))
    );
    assert!(done["metrics"]["predict_time"].as_f64().unwrap() >= 0.0 && done["completed_at"].is_string());

    let picture = fixture.get(&format!("/v1/predictions/{id}/output/0.png")).await;
    assert_eq!(
        (picture.status().as_u16(), &picture.headers()["content-type"]),
        (200, &"image/png".parse().unwrap())
    );
    assert_eq!(picture.bytes().await.unwrap(), b"a picture".as_slice());
    problem(fixture.get(&format!("/v1/predictions/{id}/output/1.png")).await, 404, "no_such_output").await;
    // The same job in our own API.
    let job: Value = fixture.get(&format!("/v1/jobs/{id}")).await.json().await.unwrap();
    assert_eq!(job["state"], "succeeded");

    let list: Value = fixture.get("/v1/predictions").await.json().await.unwrap();
    assert_eq!((&list["results"][0]["id"], &list["next"]), (&json!(id), &Value::Null));
}

#[tokio::test]
async fn who_waits_gets_the_finished_prediction_or_one_that_still_starts() {
    let fixture = start().await;
    let ask = |prefer: &'static str| {
        let request = fixture.client.post(fixture.url("/v1/predictions")).header("prefer", prefer);
        request.json(&json!({ "version": "uso/toy", "input": { "steps": 2 } })).send()
    };
    let works = async {
        let lease = crate::wait::claim(&fixture).await;
        fixture.complete(&lease).await;
    };
    let (answer, ()) = tokio::join!(ask("wait"), works);
    let answer = answer.unwrap();
    assert_eq!(answer.headers()["preference-applied"], "wait=60");
    assert_eq!(created(answer).await["status"], "succeeded");
    // Clients that wait take everything but `starting` for the end.
    let claims =
        async { while fixture.queue.claim_one(&uso_queue::WorkerId::new()).await.unwrap().is_none() {} };
    let (answer, ()) = tokio::join!(ask("wait=1"), claims);
    assert_eq!(created(answer.unwrap()).await["status"], "starting");
}

#[tokio::test]
async fn an_end_without_a_picture_is_told_in_words_that_clients_know() {
    let fixture = start().await;
    let canceled = predict(&fixture, &json!({})).await["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let answer = fixture.post(&format!("/v1/predictions/{canceled}/cancel"), &json!({})).await;
        assert_eq!(answer.json::<Value>().await.unwrap()["status"], "canceled");
    }
    let failed = predict(&fixture, &json!({})).await["id"].as_str().unwrap().to_owned();
    let failure =
        Failure { code: "broke".into(), message: "it broke".into(), retryable: false, ..Failure::default() };
    fixture.claim().await.fail(&failure).await.unwrap();
    let view: Value = fixture.get(&format!("/v1/predictions/{failed}")).await.json().await.unwrap();
    assert_eq!((&view["status"], &view["error"]), (&json!("failed"), &json!("it broke")));
    for (id, events) in [(canceled, "done"), (failed, "error")] {
        let text = fixture.get(&format!("/v1/predictions/{id}/stream")).await.text().await.unwrap();
        assert!(text.contains(&format!("event: {events}")) && text.contains("event: done"), "{text}");
    }
}

#[tokio::test]
async fn a_stream_tells_of_steps_and_ends_with_the_picture() {
    let fixture = start().await;
    let prediction = predict(&fixture, &json!({ "steps": 2 })).await;
    let answer = fixture.client.get(prediction["urls"]["stream"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let lease = fixture.claim().await;
    lease.progress(1, 2).await.unwrap();
    fixture.complete(&lease).await;
    let text: Vec<u8> = answer.bytes_stream().map(|chunk| chunk.unwrap().to_vec()).concat().await;
    let text = String::from_utf8(text).unwrap();
    let lines = |name: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned).collect()
    };
    assert_eq!(lines("event"), ["logs", "output", "done"]);
    assert!(lines("data")[0].starts_with(" 50%|"), "{text}");
    assert!(lines("data").iter().any(|line| line.ends_with("/output/0.png")), "{text}");
    assert_eq!(lines("id").len(), 3, "clients take no event without an id");
}

#[tokio::test]
async fn pictures_come_in_the_body_and_as_files() {
    let fixture = start().await;
    let bytes = png(64, 48);
    let parts = [("metadata", "", b"{}".as_slice()), ("content", "a.png", &bytes)];
    let answer = send_form(&fixture, &parts).await;
    let file = created(answer).await;
    assert_eq!((&file["name"], &file["content_type"]), (&json!("a.png"), &json!("image/png")));
    assert_eq!(file["size"], bytes.len());
    let at = file["urls"]["get"].as_str().unwrap();
    let again: Value = fixture.client.get(at).send().await.unwrap().json().await.unwrap();
    assert_eq!((&again["id"], &again["etag"]), (&file["id"], &file["etag"]));

    let inline = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&bytes));
    let prediction = predict(&fixture, &json!({ "content": at, "styles": [inline] })).await;
    assert_eq!(prediction["input"]["content"], format!("upload:{}", file["id"].as_str().unwrap()));
    let spec = fixture.claim().await.spec;
    for source in spec.content.iter().chain(&spec.styles) {
        let uso_queue::Source::Upload { id, tag: Some(tag) } = source else { panic!("{source}") };
        let key = uso_store::upload_key("default", id);
        assert_eq!(fixture.store.fetch_upload(&key, Some(tag)).await.unwrap(), bytes);
    }
    assert_eq!(fixture.client.delete(at).send().await.unwrap().status(), 204);
    problem(fixture.client.get(at).send().await.unwrap(), 404, "no_such_file").await;
}

#[tokio::test]
async fn a_request_that_is_repeated_with_its_picture_and_key_is_the_same_prediction() {
    let fixture = start().await;
    let picture = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png(64, 48)));
    let body = json!({ "version": "uso/toy", "input": { "content": picture } });
    let ask = || {
        let request = fixture.client.post(fixture.url("/v1/predictions")).header("idempotency-key", "k");
        request.json(&body).send()
    };
    let (one, again) = (created(ask().await.unwrap()).await, created(ask().await.unwrap()).await);
    assert_eq!((&one["id"], &one["input"]), (&again["id"], &again["input"]));
}

#[tokio::test]
async fn what_is_wrong_is_named_where_it_stands() {
    let fixture = start().await;
    problem(
        fixture.post("/v1/models/somebody/else/predictions", &json!({ "input": {} })).await,
        404,
        "no_such_model",
    )
    .await;
    let text = format!("data:image/png;base64,{}", BASE64_STANDARD.encode("hello"));
    let cases = [
        (json!({ "input": {} }), vec!["/version"]),
        (json!({ "version": "uso/other", "input": {} }), vec!["/version"]),
        (json!({ "version": "uso/toy" }), vec!["/input"]),
        (
            json!({ "version": "uso/toy", "input": { "steps": 0, "colour": 1 } }),
            vec!["/input/steps", "/input/colour"],
        ),
        (json!({ "version": "uso/toy", "input": { "content": text } }), vec!["/input/content"]),
        (
            json!({ "version": "uso/toy", "input": { "styles": ["data:,x", "s3://other/a"] } }),
            vec!["/input/styles/0"],
        ),
        (json!({ "version": "uso/toy", "input": { "styles": ["s3://other/a"] } }), vec!["/input/styles/0"]),
        (json!({ "version": "uso/toy", "input": {}, "webhook": "http://127.0.0.1" }), vec!["/webhook"]),
        (
            json!({ "version": "uso/toy", "input": {}, "webhook_events_filter": ["end"], "n": 1 }),
            vec!["/n", "/webhook_events_filter/0"],
        ),
    ];
    for (body, pointers) in cases {
        let told = problem(fixture.post("/v1/predictions", &body).await, 422, "invalid_fields").await;
        let found: Vec<&Value> =
            told["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
        assert_eq!(found, pointers, "{told}");
    }
    let send = |bytes: Vec<u8>| {
        let fixture = &fixture;
        async move { send_form(fixture, &[("content", "a", &bytes)]).await }
    };
    problem(send(b"hello".to_vec()).await, 422, "invalid_fields").await;
    problem(send_form(&fixture, &[]).await, 422, "invalid_fields").await;
    problem(send(vec![0; 33 * 1024 * 1024]).await, 413, "body_too_large").await;
    problem(fixture.post("/v1/files", &json!({})).await, 415, "not_a_form").await;
}

#[tokio::test]
async fn links_to_pictures_need_no_key_and_open_nothing_else() {
    let config = Config { model: "toy".into(), access: Access::Keys, ..Config::default() };
    let fixture = Fixture::start_as(config).await;
    let made = fixture.key("ours", &[Submit, Read]).await;
    let key = made.expose();
    let body = json!({ "version": "uso/toy", "input": { "steps": 2 } });
    let post = fixture.client.post(fixture.url("/v1/predictions")).bearer_auth(&key).json(&body);
    let prediction = created(post.send().await.unwrap()).await;
    fixture.complete(&fixture.claim().await).await;
    let id = prediction["id"].as_str().unwrap();
    let view = fixture.client.get(fixture.url(&format!("/v1/predictions/{id}"))).bearer_auth(&key);
    let view: Value = view.send().await.unwrap().json().await.unwrap();

    let link = view["output"][0].as_str().unwrap();
    let get = |url: String| fixture.client.get(url).send();
    assert_eq!(get(link.to_owned()).await.unwrap().bytes().await.unwrap(), b"a picture".as_slice());
    let stream =
        get(view["urls"]["stream"].as_str().unwrap().to_owned()).await.unwrap().text().await.unwrap();
    assert!(stream.contains("event: done"), "{stream}");

    let bare = link.split('?').next().unwrap();
    let (_, query) = link.split_once('?').unwrap();
    let later = query.replace("expires=", "expires=9");
    for other in [
        bare.to_owned(),
        format!("{bare}?{later}"),
        format!("{bare}?expires=1{}", query.split_once('&').map(|(_, rest)| format!("&{rest}")).unwrap()),
        format!("{}?{query}", bare.replace("0.png", "1.png")),
        fixture.url(&format!("/v1/predictions/{id}?{query}")),
        fixture.url(&format!("/v1/jobs/{id}?{query}")),
        fixture.url(&format!("/v1/predictions/{id}/stream?{query}")),
    ] {
        problem(get(other).await.unwrap(), 401, "no_key").await;
    }
    // Those of versions before were signed with a secret that is shown.
    let secret = fixture.queue.default_webhook("ours").await.unwrap().secret;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).unwrap();
    let path = format!("/v1/predictions/{id}/output/0.png");
    mac.update(format!("link\n{path}\n4000000000").as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    let old = fixture.url(&format!("{path}?expires=4000000000&signature={signature}"));
    problem(get(old).await.unwrap(), 401, "old_link").await;
    let forged =
        fixture.url(&format!("{path}?expires=4000000000&key={}&signature={signature}", made.prefix()));
    problem(get(forged).await.unwrap(), 401, "no_key").await;

    // They end with the key that they were made for.
    fixture.queue.rotate_webhook("ours", "default").await.unwrap().unwrap();
    assert_eq!(get(link.to_owned()).await.unwrap().status(), 200);
    fixture.queue.revoke_key(made.prefix()).await.unwrap().unwrap();
    until("the link ends", async || get(link.to_owned()).await.unwrap().status() == 401).await;
}

#[tokio::test]
async fn links_are_valid_for_a_day_at_most_and_only_made_for_callers_who_may_read() {
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    let config =
        Config { model: "toy".into(), access: Access::Keys, link_lifetime: week, ..Config::default() };
    let fixture = Fixture::start_as(config).await;
    let reads = fixture.key("ours", &[Submit, Read]).await.expose();
    let submits = fixture.key("ours", &[Submit]).await.expose();
    let body = json!({ "version": "uso/toy", "input": { "steps": 2 } });
    let ask = async |key: &str| {
        let post = fixture.client.post(fixture.url("/v1/predictions")).bearer_auth(key);
        created(post.header("idempotency-key", "k").json(&body).send().await.unwrap()).await
    };
    let prediction = ask(&submits).await;
    assert!(!prediction["urls"]["stream"].as_str().unwrap().contains('?'), "{prediction}");
    fixture.complete(&fixture.claim().await).await;
    assert_eq!(ask(&submits).await["output"], Value::Null);

    let day_s = 24 * 3600;
    let expires = |url: &str| -> u64 {
        let (_, query) = url.split_once("?expires=").unwrap();
        query.split('&').next().unwrap().parse().unwrap()
    };
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let stream = ask(&reads).await["urls"]["stream"].as_str().unwrap().to_owned();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((since + day_s..=now + day_s).contains(&expires(&stream)), "{stream}");
    // What is found through a link lasts no longer than the link.
    let text = fixture.client.get(&stream).send().await.unwrap().text().await.unwrap();
    let link = text.lines().find_map(|line| line.strip_prefix("data: http")).unwrap();
    assert_eq!(expires(link), expires(&stream));
}

#[tokio::test]
async fn a_large_picture_is_decoded_while_it_comes() {
    let fixture = start().await;
    let bytes = [png(64, 48), vec![7; 2_000_000]].concat();
    let inline = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&bytes));
    let prediction = predict(&fixture, &json!({ "content": inline, "styles": [inline] })).await;
    assert_eq!(prediction["input"]["content"], prediction["input"]["styles"][0]);
    let spec = fixture.claim().await.spec;
    let Some(uso_queue::Source::Upload { id, tag: Some(tag) }) = &spec.content else { panic!("{spec:?}") };
    let key = uso_store::upload_key("default", id);
    assert_eq!(fixture.store.fetch_upload(&key, Some(tag)).await.unwrap(), bytes);
    let broken = inline.replacen("BwcH", "Bw=H", 1);
    let body = json!({ "version": "uso/toy", "input": { "content": broken } });
    let told = problem(fixture.post("/v1/predictions", &body).await, 422, "invalid_fields").await;
    assert_eq!(told["errors"][0]["pointer"], "/input/content");
    // What is no picture is bounded as anywhere else.
    for input in [json!({ "prompt": "x".repeat(2_000_000) }), json!({ "metadata": vec![0; 1_000_000] })] {
        let body = json!({ "version": "uso/toy", "input": input });
        problem(fixture.post("/v1/predictions", &body).await, 413, "body_too_large").await;
    }
}

#[tokio::test]
async fn a_form_that_never_says_what_is_in_it_is_refused() {
    let fixture = start().await;
    let send = |body: Vec<u8>| {
        let request = fixture.client.post(fixture.url("/v1/files"));
        request.header("content-type", "multipart/form-data; boundary=here").body(body).send()
    };
    for begin in ["--here\r\nContent-Disposition: ", "", "--here\r\n"] {
        let body = [begin.as_bytes(), &vec![b'x'; 1_000_000]].concat();
        problem(send(body).await.unwrap(), 400, "invalid_form").await;
    }
    let large = vec![b'x'; 100_000];
    let answer = send_form(&fixture, &[("metadata", "", &large), ("content", "a.png", &png(64, 48))]).await;
    problem(answer, 413, "body_too_large").await;
}
