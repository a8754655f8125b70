//! Accepting work: once for each key, within each tenant's limits.

use std::time::Duration;

use serde_json::json;
use uso_queue::{Defaults, Error, JobSpec, Limits, Rejection, Submission};

use crate::fixture::{Fixture, bulk, events};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn parse(body: serde_json::Value) -> JobSpec {
    JobSpec::parse(&body, &Defaults::default()).unwrap()
}

fn keyed<'a>(spec: &'a JobSpec, key: &'a str) -> Submission<'a> {
    Submission { key: Some(key), ..spec.into() }
}

fn rejection(answer: Result<impl std::fmt::Debug, Error>) -> Rejection {
    match answer {
        Err(Error::Rejected(rejection)) => rejection,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_key_and_body_is_the_same_job() {
    let fixture = Fixture::start().await;
    let body = json!({ "prompt": "a cat", "metadata": { "row": 1 } });
    // Each is parsed anew and chooses another seed.
    let (first, second) = (parse(body.clone()), parse(body));
    assert_ne!(first.seed, second.seed);
    let first = fixture.queue.submit("a", keyed(&first, "k")).await.unwrap();
    let again = fixture.queue.submit("a", keyed(&second, "k")).await.unwrap();
    assert!(first.fresh && !again.fresh);
    assert_eq!(first.id, again.id);
    assert_eq!(fixture.queue.stats().await.unwrap().interactive.queued, 1);

    let other_tenant = fixture.queue.submit("b", keyed(&second, "k")).await.unwrap();
    assert!(other_tenant.fresh);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let fixture = Fixture::start().await;
    let first = fixture.queue.submit("a", keyed(&parse(json!({ "seed": 1 })), "k")).await.unwrap();
    for other in [json!({ "seed": 2 }), json!({}), json!({ "seed": 1, "prompt": "x" })] {
        let answer = fixture.queue.submit("a", keyed(&parse(other), "k")).await;
        assert_eq!(rejection(answer), Rejection::KeyReused { index: 0, earlier: first.id });
    }
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let fixture = Fixture::start().await;
    let first = fixture.queue.submit("a", keyed(&bulk(), "k")).await.unwrap();
    fixture.set_clock(DAY - Duration::from_secs(60)).await;
    assert_eq!(fixture.queue.submit("a", keyed(&bulk(), "k")).await.unwrap().id, first.id);
    fixture.set_clock(DAY + Duration::from_secs(1)).await;
    assert!(fixture.queue.submit("a", keyed(&bulk(), "k")).await.unwrap().fresh);
}

#[tokio::test]
async fn many_submissions_of_one_key_at_once_make_one_job() {
    let fixture = Fixture::start().await;
    let queues = [fixture.queue.clone(), fixture.another().await, fixture.another().await];
    let submissions = (0..64).map(|i| {
        let queue = queues[i % 3].clone();
        tokio::spawn(async move { queue.submit("a", keyed(&bulk(), "k")).await.unwrap() })
    });
    let mut answers = Vec::new();
    for submission in submissions.collect::<Vec<_>>() {
        answers.push(submission.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| answer.fresh).count(), 1);
    assert!(answers.iter().all(|answer| answer.id == answers[0].id));
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.queued, 1);
}

#[tokio::test]
async fn many_jobs_are_accepted_in_one_call_or_none_is() {
    let fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let specs: Vec<JobSpec> = (0..5).map(|seed| parse(json!({ "seed": seed, "class": "bulk" }))).collect();
    let keys: Vec<String> = (0..5).map(|i| format!("row-{i}")).collect();
    let jobs: Vec<Submission> = specs.iter().zip(&keys).map(|(spec, key)| keyed(spec, key)).collect();
    let first = fixture.queue.submit_all("a", &jobs[..3]).await.unwrap();
    let all = fixture.queue.submit_all("a", &jobs).await.unwrap();
    assert_eq!(
        all[..3].iter().map(|job| job.id).collect::<Vec<_>>(),
        first.iter().map(|job| job.id).collect::<Vec<_>>()
    );
    assert_eq!(all.iter().map(|job| job.fresh).collect::<Vec<_>>(), [false, false, false, true, true]);
    for job in &all {
        assert_eq!(fixture.claim().await.unwrap().id, job.id, "in the order of submission");
    }
    assert_eq!(events(&mut tail, 10).await.len(), 10);

    // The last contradicts the first: nothing of the call is accepted.
    let new = parse(json!({ "seed": 100 }));
    let answer = fixture.queue.submit_all("a", &[keyed(&new, "new"), keyed(&new, "row-0")]).await;
    assert_eq!(rejection(answer), Rejection::KeyReused { index: 1, earlier: all[0].id });
    let twice = [keyed(&specs[0], "twice"), keyed(&specs[1], "twice")];
    assert!(matches!(
        rejection(fixture.queue.submit_all("a", &twice).await),
        Rejection::KeyReused { index: 1, .. }
    ));
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.queued, 0);
}

#[tokio::test]
async fn wrong_names_keys_and_counts_are_refused_before_redis_sees_them() {
    let fixture = Fixture::start().await;
    let long = "k".repeat(256);
    for name in ["", ".", "..", "a:b", "a b", "ü", &"t".repeat(65)] {
        assert_eq!(rejection(fixture.queue.submit(name, &bulk()).await), Rejection::TenantName);
    }
    for key in ["", &long] {
        assert_eq!(rejection(fixture.queue.submit("a", keyed(&bulk(), key)).await), Rejection::Key);
    }
    let spec = bulk();
    let many = vec![Submission::from(&spec); 1001];
    assert_eq!(rejection(fixture.queue.submit_all("a", &many).await), Rejection::Count(1001));
    assert_eq!(rejection(fixture.queue.submit_all("a", &[]).await), Rejection::Count(0));
}

#[tokio::test]
async fn a_tenant_queues_no_more_than_it_may() {
    let fixture = Fixture::start().await;
    let limits = Limits { max_queued: Some(3), ..Limits::default() };
    fixture.queue.set_limits("a", &limits).await.unwrap();
    let spec = bulk();
    fixture.queue.submit_all("a", &[Submission::from(&spec); 2]).await.unwrap();
    let answer = fixture.queue.submit_all("a", &[Submission::from(&spec); 2]).await;
    let rejection = rejection(answer);
    assert_eq!(rejection, Rejection::TooManyQueued { queued: 2, limit: 3 });
    assert!(Error::from(rejection).retryable());
    fixture.queue.submit("a", &spec).await.unwrap();
    fixture.queue.submit_all("b", &[Submission::from(&spec); 9]).await.unwrap();
    // One that runs waits no longer.
    let _ = fixture.claim().await.unwrap();
    let _ = fixture.claim().await.unwrap();
    fixture.queue.submit("a", &spec).await.unwrap();
}

#[tokio::test]
async fn a_tenant_submits_no_faster_than_it_may() {
    let fixture = Fixture::start().await;
    let limits = Limits { per_second: Some(0.5), burst: Some(2.0), ..Limits::default() };
    fixture.queue.set_limits("a", &limits).await.unwrap();
    let spec = bulk();
    fixture.queue.submit("a", keyed(&spec, "k")).await.unwrap();
    fixture.queue.submit("a", &spec).await.unwrap();
    let Rejection::TooFast { per_second, retry_after_ms } = rejection(fixture.queue.submit("a", &spec).await)
    else {
        panic!("it was accepted")
    };
    assert_eq!(per_second, 0.5);
    assert!((1..=2000).contains(&retry_after_ms), "{retry_after_ms}");
    // A repetition is no new job.
    assert!(!fixture.queue.submit("a", keyed(&spec, "k")).await.unwrap().fresh);
    fixture.queue.submit("b", &spec).await.unwrap();
    fixture.set_clock(Duration::from_secs(2)).await;
    fixture.queue.submit("a", &spec).await.unwrap();
}
