//! What a tenant is told of its rate.

use serde_json::json;
use uso_queue::Limits;

use crate::fixture::Fixture;

#[tokio::test]
async fn answers_to_submissions_and_uploads_say_how_much_of_a_rate_is_left() {
    let fixture = Fixture::start().await;
    let limits = Limits { per_second: Some(0.001), burst: Some(2.0), ..Limits::default() };
    fixture.queue.set_limits("default", &limits).await.unwrap();
    let upload = json!({ "content_type": "image/png", "bytes": 10 });
    let (job, upload) = (("/v1/jobs", json!({})), ("/v1/uploads", upload));
    for ((path, body), status, left) in [(&job, 202, 1), (&upload, 201, 0), (&upload, 429, 0), (&job, 429, 0)]
    {
        let answer = fixture.post(path, body).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["ratelimit-policy"], "\"submit\";q=2;w=2000");
        let field = answer.headers()["ratelimit"].to_str().unwrap();
        assert!(field.starts_with(&format!("\"submit\";r={left};t=")), "{field}");
        assert_eq!(answer.headers().contains_key("retry-after"), status == 429);
    }
    assert!(!fixture.get("/v1/workers").await.headers().contains_key("ratelimit"));
}

#[tokio::test]
async fn without_a_rate_there_is_nothing_to_say() {
    let fixture = Fixture::start().await;
    let answer = fixture.post("/v1/jobs", &json!({})).await;
    assert_eq!(answer.status(), 202);
    assert!(
        !answer.headers().contains_key("ratelimit") && !answer.headers().contains_key("ratelimit-policy")
    );
}
