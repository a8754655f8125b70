//! A tenant's jobs, a page at a time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uso_queue::{Defaults, JobSpec, Submission};

use crate::fixture::{Fixture, problem};

async fn page(fixture: &Fixture, query: &str) -> Value {
    let answer = fixture.get(&format!("/v1/jobs{query}")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.json().await.unwrap()
}

fn ids(page: &Value) -> Vec<String> {
    page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_follow_one_another_newest_first() {
    let fixture = Fixture::start().await;
    assert_eq!(page(&fixture, "").await, json!({ "jobs": [], "next": null }));
    let mut submitted = Vec::new();
    for number in 0..25 {
        submitted.insert(0, fixture.submit(&format!("cat {number}")).await);
    }
    let done = fixture.claim().await;
    fixture.complete(&done).await;
    let first = page(&fixture, "").await;
    assert_eq!(ids(&first), submitted[..20]);
    let second = page(&fixture, &format!("?cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!((ids(&second), &second["next"]), (submitted[20..].to_vec(), &Value::Null));

    let ended = page(&fixture, "?state=succeeded&class=interactive&limit=1").await;
    let view: Value = fixture.get(&format!("/v1/jobs/{}", done.id)).await.json().await.unwrap();
    assert_eq!(ids(&ended), [done.id.to_string()]);
    for field in ["state", "version", "spec", "links", "receipt"] {
        assert_eq!(ended["jobs"][0][field], view[field], "{field}");
    }
    let picture =
        fixture.client.get(ended["jobs"][0]["output"]["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(picture.text().await.unwrap(), "a picture");
    assert_eq!(page(&fixture, "?class=bulk").await["jobs"], json!([]));
    assert_eq!(ids(&page(&fixture, "?state=queued&limit=100").await).len(), 24);
    assert_eq!(ids(&page(&fixture, "?state=&limit=3").await), submitted[..3], "nothing is asked for");
}

#[tokio::test]
async fn every_bad_parameter_is_named() {
    let fixture = Fixture::start().await;
    let query = "?state=done&class=slow&batch=x&limit=101&cursor=%2B1&colour=red&limit=5";
    let refused = problem(fixture.get(&format!("/v1/jobs{query}")).await, 400, "invalid_parameters").await;
    let errors = refused["errors"].as_array().unwrap();
    let named: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(named, ["?state", "?class", "?batch", "?limit", "?cursor", "?colour", "?limit"]);
    assert_eq!(errors[3]["message"], "must be a whole number within 1 to 100");
    assert!(errors[0]["message"].as_str().unwrap().contains("succeeded"));
    for query in ["?limit=0", "?limit=-1", "?limit=many"] {
        problem(fixture.get(&format!("/v1/jobs{query}")).await, 400, "invalid_parameters").await;
    }
    problem(fixture.get("/v1/queue?x=1").await, 400, "invalid_parameters").await;
}

#[tokio::test]
async fn the_first_page_of_ten_thousand_jobs_comes_at_once() {
    let fixture = Fixture::start().await;
    let spec = JobSpec::parse(&json!({ "prompt": "a cat", "class": "bulk" }), &Defaults::default()).unwrap();
    for _ in 0..10 {
        fixture.queue.submit_all("default", &vec![Submission::from(&spec); 1000]).await.unwrap();
    }
    for _ in 0..100 {
        let lease = fixture.claim().await;
        fixture.complete(&lease).await;
    }
    for query in ["", "?limit=100", "?state=succeeded&limit=100", "?state=failed", "?state=running"] {
        let begun = Instant::now();
        let jobs = ids(&page(&fixture, query).await).len();
        let took = begun.elapsed();
        eprintln!("{jobs} of 10,000 jobs with {query:?}: {took:?}");
        // Many times what it takes, for a machine that has other things to do.
        assert!(took < Duration::from_millis(500), "{query:?} took {took:?}");
    }
}
