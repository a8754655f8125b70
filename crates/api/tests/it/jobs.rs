//! Submit, look, fetch.

use serde_json::{Value, json};

use crate::fixture::{Fixture, problem};

#[tokio::test]
async fn an_accepted_job_says_where_it_is_and_what_was_filled_in() {
    let fixture = Fixture::start().await;
    let answer = fixture.post("/v1/jobs", &json!({ "prompt": "a cat", "width": 1000 })).await;
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    let id = body["id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/jobs/{id}"));
    assert_eq!(body["links"]["events"], format!("/v1/jobs/{id}/events"));
    assert_eq!(body["spec"]["width"], 992);
    assert_eq!(body["spec"]["steps"], 25);
    assert!(body["spec"]["seed"].is_u64());

    let view: Value = fixture.get(&location).await.json().await.unwrap();
    assert_eq!(view["state"], "queued");
    assert_eq!(view["attempt"], 0);
    assert_eq!(view["spec"], body["spec"]);
    assert_eq!(view["links"], body["links"]);
}

#[tokio::test]
async fn a_finished_job_gives_its_picture_to_anybody_with_the_link() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    fixture.complete(&fixture.claim().await).await;

    let answer = fixture.get(&format!("/v1/jobs/{id}")).await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let view: Value = answer.json().await.unwrap();
    assert_eq!(view["state"], "succeeded");
    let receipt = &view["output"]["receipt"];
    assert_eq!((&receipt["device_ms"], &receipt["worker"]), (&json!(80), &json!("cuda:0")));
    let tokens = json!({ "t5": { "tokens": 600, "cut": 88 }, "clip": { "tokens": 610, "cut": 533 } });
    assert_eq!(receipt["prompt_tokens"], tokens);
    let sidecar = fixture.client.get(view["output"]["sidecar_url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(sidecar.text().await.unwrap(), "{}");

    let answer = fixture.get(&format!("/v1/jobs/{id}/result")).await;
    assert_eq!(answer.status(), 307);
    let picture = fixture.client.get(answer.headers()["location"].to_str().unwrap()).send().await.unwrap();
    assert_eq!(picture.headers()["content-type"], "image/png");
    assert_eq!(picture.text().await.unwrap(), "a picture");
}

#[tokio::test]
async fn a_thumbnail_is_linked_where_there_is_one() {
    let fixture = Fixture::start().await;
    let view = async |thumbnail| {
        let id = fixture.submit("a cat").await;
        fixture.complete_with(&fixture.claim().await, thumbnail).await;
        let view: Value = fixture.get(&format!("/v1/jobs/{id}")).await.json().await.unwrap();
        view["output"].clone()
    };
    let with = view(Some("a thumbnail")).await;
    assert!(with["thumbnail"].as_str().unwrap().ends_with("/0.thumb.webp"), "{with}");
    let url = with["thumbnail_url"].as_str().unwrap();
    let thumbnail = fixture.client.get(url).send().await.unwrap();
    assert_eq!(thumbnail.headers()["content-type"], "image/webp");
    assert_eq!(thumbnail.text().await.unwrap(), "a thumbnail");
    let without = view(None).await;
    assert!(without.get("thumbnail").is_none() && without.get("thumbnail_url").is_none(), "{without}");
    // Lists have the same.
    let listed: Value = fixture.get("/v1/jobs").await.json().await.unwrap();
    let links: Vec<bool> = listed["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["output"]["thumbnail_url"].is_string())
        .collect();
    assert_eq!(links, [false, true]);
}

#[tokio::test]
async fn a_job_may_ask_for_a_format_and_its_quality() {
    let fixture = Fixture::start().await;
    let body = json!({ "prompt": "a cat", "format": "webp", "quality": 70 });
    let accepted: Value = fixture.post("/v1/jobs", &body).await.json().await.unwrap();
    assert_eq!((&accepted["spec"]["format"], &accepted["spec"]["quality"]), (&json!("webp"), &json!(70)));
    fixture.complete(&fixture.claim().await).await;
    let result = fixture.get(&format!("/v1/jobs/{}/result", accepted["id"].as_str().unwrap())).await;
    let url = result.headers()["location"].to_str().unwrap();
    assert!(url.split('?').next().unwrap().ends_with("/0.webp"), "{url}");
    let picture = fixture.client.get(url).send().await.unwrap();
    assert_eq!(picture.headers()["content-type"], "image/webp");

    for body in [json!({ "quality": 70 }), json!({ "format": "png", "quality": 70 })] {
        let refused = problem(fixture.post("/v1/jobs", &body).await, 422, "invalid_fields").await;
        assert_eq!(refused["errors"][0]["pointer"], "/quality");
    }
}

#[tokio::test]
async fn the_newest_preview_is_fetched_as_long_as_there_is_one() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    let view: Value = fixture.get(&format!("/v1/jobs/{id}")).await.json().await.unwrap();
    let path = view["links"]["preview"].as_str().unwrap().to_owned();
    problem(fixture.get(&path).await, 404, "no_preview").await;
    let lease = fixture.claim().await;
    lease.record_preview(b"first").await.unwrap();
    lease.record_preview(b"second").await.unwrap();
    let answer = fixture.get(&path).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        (&answer.headers()["content-type"], &answer.headers()["cache-control"]),
        (&"image/jpeg".parse().unwrap(), &"no-store".parse().unwrap())
    );
    assert_eq!(answer.text().await.unwrap(), "second");
}

#[tokio::test]
async fn there_is_no_result_before_the_end_and_none_of_a_failed_job() {
    let fixture = Fixture::start().await;
    let id = fixture.submit("a cat").await;
    let path = format!("/v1/jobs/{id}/result");
    let body = problem(fixture.get(&path).await, 409, "not_finished").await;
    assert_eq!((&body["retryable"], &body["detail"]), (&json!(true), &json!("the job is queued")));

    let lease = fixture.claim().await;
    let message = "content: there is no object s3://uso/a.png".to_owned();
    let failure = uso_queue::Failure {
        code: "reference_missing".into(),
        message,
        retryable: false,
        ..uso_queue::Failure::default()
    };
    lease.fail(&failure).await.unwrap();
    let body = problem(fixture.get(&path).await, 409, "no_result").await;
    assert_eq!(body["retryable"], false);
    assert_eq!(body["detail"], "the job failed: content: there is no object s3://uso/a.png");
    let view: Value = fixture.get(&format!("/v1/jobs/{id}")).await.json().await.unwrap();
    assert_eq!(view["error"]["code"], "reference_missing");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_document_too() {
    let fixture = Fixture::start().await;
    for id in ["0-0198a0b0-0000-7000-8000-000000000000", "x", "..%2F..%2Fetc"] {
        for tail in ["", "/result", "/events", "/preview"] {
            problem(fixture.get(&format!("/v1/jobs/{id}{tail}")).await, 404, "no_such_job").await;
        }
    }
    problem(fixture.get("/v2").await, 404, "no_such_route").await;
    problem(fixture.get("/v1/uploads").await, 405, "no_such_method").await;
}
