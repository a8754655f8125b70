//! Files that tenants store, and what their limits say to that.

use std::time::Duration;

use uso_queue::{Error, Limits, NewFile, Rejection};
use uuid::Uuid;

use crate::fixture::{Fixture, bulk};

fn file(number: u128, bytes: u64) -> NewFile {
    NewFile { id: Uuid::from_u128(number), bytes }
}

fn rejection(answer: Result<(), Error>) -> Option<Rejection> {
    match answer {
        Ok(()) => None,
        Err(Error::Rejected(rejection)) => Some(rejection),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_tenant_stores_no_more_than_it_may_until_some_is_gone() {
    let fixture = Fixture::start().await;
    let queue = &fixture.queue;
    queue.count_upload("a", file(1, 1_000_000)).await.unwrap();
    let limits = Limits { max_stored: Some(1000), ..Limits::default() };
    queue.set_limits("a", &limits).await.unwrap();
    assert_eq!(queue.tenants().await.unwrap()[0].limits, limits);

    queue.count_upload("a", file(2, 600)).await.unwrap();
    let full = |stored| Some(Rejection::TooMuchStored { stored, limit: 1000 });
    assert_eq!(rejection(queue.count_upload("a", file(3, 401)).await), full(600));
    // All of them or none; what is there already costs nothing.
    assert_eq!(rejection(queue.count_enclosed("a", &[file(4, 300), file(5, 200)]).await), full(600));
    queue.count_enclosed("a", &[file(2, 600), file(4, 300), file(4, 300)]).await.unwrap();
    assert_eq!(rejection(queue.count_upload("a", file(5, 101)).await), full(900));
    assert_eq!(rejection(queue.count_upload("b", file(5, 5000)).await), None, "it has no limit");

    for _ in 0..2 {
        queue.uncount_file("a", &Uuid::from_u128(2)).await.unwrap();
    }
    queue.count_upload("a", file(5, 700)).await.unwrap();
    assert_eq!(rejection(queue.count_upload("a", file(6, 1)).await), full(1000));
    // A rule of the bucket deletes them in the end.
    fixture.set_clock(Duration::from_secs(8 * 24 * 3600 + 1)).await;
    queue.count_upload("a", file(6, 1000)).await.unwrap();
}

#[tokio::test]
async fn an_upload_takes_from_the_rate_of_submissions() {
    let fixture = Fixture::start().await;
    let limits = Limits { per_second: Some(0.001), burst: Some(2.0), ..Limits::default() };
    fixture.queue.set_limits("tenant", &limits).await.unwrap();
    fixture.queue.count_enclosed("tenant", &[file(1, 10)]).await.unwrap();
    fixture.queue.count_upload("tenant", file(2, 10)).await.unwrap();
    assert_eq!(rejection(fixture.queue.would_accept("tenant", 1).await), None);
    fixture.submit(&bulk()).await;
    let refused = rejection(fixture.queue.count_upload("tenant", file(3, 10)).await);
    assert!(matches!(refused, Some(Rejection::TooFast { .. })), "{refused:?}");
    let refused = rejection(fixture.queue.would_accept("tenant", 1).await);
    assert!(matches!(refused, Some(Rejection::TooFast { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_tenant_is_told_beforehand_that_too_many_wait() {
    let fixture = Fixture::start().await;
    let limits = Limits { max_queued: Some(1), ..Limits::default() };
    fixture.queue.set_limits("tenant", &limits).await.unwrap();
    assert_eq!(rejection(fixture.queue.would_accept("tenant", 1).await), None);
    fixture.submit(&bulk()).await;
    let refused = rejection(fixture.queue.would_accept("tenant", 1).await);
    assert_eq!(refused, Some(Rejection::TooManyQueued { queued: 1, limit: 1 }));
}

#[tokio::test]
async fn a_process_that_knows_no_such_limit_leaves_it_as_it_is() {
    let fixture = Fixture::start().await;
    let limits = Limits { max_stored: Some(1000), ..Limits::default() };
    fixture.queue.set_limits("a", &limits).await.unwrap();
    let before = ["FCALL", "uso_1_limit", "1", "{uso:0}", "a", "2", "", "", "", ""];
    fixture.raw::<redis::Value>(&before).await.unwrap();
    assert_eq!(fixture.queue.tenants().await.unwrap()[0].limits, Limits { weight: 2.0, ..limits });
}
