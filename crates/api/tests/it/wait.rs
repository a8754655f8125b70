//! Submissions whose answer is the finished job.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};
use uso_queue::Failure;

use crate::fixture::{Fixture, problem};

async fn submit(fixture: &Fixture, prefer: &str) -> Response {
    let request = fixture.client.post(fixture.url("/v1/jobs")).header("Prefer", prefer);
    request.json(&json!({ "prompt": "a cat", "steps": 2 })).send().await.unwrap()
}

/// Claims the next job once there is one.
pub(crate) async fn claim(fixture: &Fixture) -> uso_queue::Lease {
    let claimed = async {
        loop {
            if let Some(lease) = fixture.queue.claim_one(&uso_queue::WorkerId::new()).await.unwrap() {
                return lease;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), claimed).await.expect("there is no job to claim")
}

#[tokio::test]
async fn a_job_that_ends_in_time_is_the_answer() {
    let fixture = Fixture::start().await;
    let works = async {
        fixture.complete(&claim(&fixture).await).await;
        let failure = Failure {
            code: "broke".into(),
            message: "it broke".into(),
            retryable: false,
            ..Failure::default()
        };
        claim(&fixture).await.fail(&failure).await.unwrap();
    };
    let waits = async {
        let begun = Instant::now();
        let answer = submit(&fixture, "respond-async, Wait=30").await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["preference-applied"]),
            (200, &"wait=30".parse().unwrap())
        );
        let view: Value = answer.json().await.unwrap();
        assert_eq!(view["state"], "succeeded");
        assert!(view["output"]["url"].as_str().unwrap().contains("X-Amz-Signature"));
        let answer = submit(&fixture, "wait=30").await;
        let view: Value = answer.json().await.unwrap();
        assert_eq!((&view["state"], &view["error"]["code"]), (&json!("failed"), &json!("broke")));
        assert!(begun.elapsed() < Duration::from_secs(20));
    };
    tokio::join!(works, waits);
}

#[tokio::test]
async fn a_job_that_does_not_is_accepted_all_the_same() {
    let fixture = Fixture::start().await;
    let begun = Instant::now();
    let answer = submit(&fixture, "wait=1").await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["preference-applied"]),
        (202, &"wait=1".parse().unwrap())
    );
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let accepted: Value = answer.json().await.unwrap();
    assert_eq!((&accepted["state"], &accepted["links"]["self"]), (&json!("queued"), &json!(location)));
    problem(submit(&fixture, "wait=soon").await, 400, "invalid_preference").await;
    assert_eq!(fixture.queue.stats().await.unwrap().interactive.queued, 1, "what is refused is not accepted");
    let plain = submit(&fixture, "handling=lenient").await;
    assert!(plain.status() == 202 && !plain.headers().contains_key("preference-applied"));
}

#[tokio::test]
async fn a_process_that_stops_answers_clients_that_wait() {
    let fixture = Fixture::start().await;
    let begun = Instant::now();
    let stops = async {
        let _lease = claim(&fixture).await;
        fixture.stop.cancel();
    };
    let (answer, ()) = tokio::join!(submit(&fixture, "wait=60"), stops);
    assert_eq!(answer.status(), 202);
    assert!(begun.elapsed() < Duration::from_secs(30));
}
