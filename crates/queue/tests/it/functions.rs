//! The function library: loading, refusing, and what a full or strange server does.

use uso_queue::{Config, Error, Queue, State};

use crate::fixture::{Fixture, bulk, output};

#[tokio::test]
async fn migrating_twice_and_at_once_is_safe() {
    let fixture = Fixture::start().await;
    let other = fixture.another().await;
    let (one, two, three) = tokio::join!(fixture.queue.migrate(), other.migrate(), fixture.queue.migrate());
    one.and(two).and(three).unwrap();
    fixture.submit(&bulk()).await;
}

#[tokio::test]
async fn a_newer_layout_is_refused() {
    let fixture = Fixture::start().await;
    fixture.raw::<redis::Value>(&["SET", "{uso:0}:layout", "2"]).await.unwrap();
    let error = fixture.queue.migrate().await.unwrap_err();
    assert!(matches!(error, Error::NewerLayout { found: 2, known: 1 }), "{error}");
}

#[tokio::test]
async fn functions_that_a_node_lost_are_loaded_again() {
    let fixture = Fixture::start().await;
    fixture.raw::<redis::Value>(&["FUNCTION", "FLUSH"]).await.unwrap();
    let id = fixture.submit(&bulk()).await;
    assert_eq!(fixture.claim().await.unwrap().id, id);
}

#[tokio::test]
async fn a_call_with_wrong_arguments_writes_nothing() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let _ = fixture.claim().await.unwrap();
    let before: Vec<u8> = fixture.raw(&["DUMP", &format!("{{uso:0}}:job:{id}")]).await.unwrap();
    let keys: u64 = fixture.raw(&["DBSIZE"]).await.unwrap();
    let events: u64 = fixture.raw(&["XLEN", "{uso:0}:events"]).await.unwrap();
    let id = id.to_string();
    let calls: &[&[&str]] = &[
        &["uso_1_submit", "1", "{uso:0}", "0-x", "t", "nightly", "0", "{}"],
        &["uso_1_submit", "1", "{uso:0}", "0-x", "t", "bulk", "high", "{}"],
        &["uso_1_submit", "1", "{uso:0}", "0-x", "t", "bulk", "0"],
        &["uso_1_claim", "1", "{uso:0}", "w", "t", "soon", "bulk"],
        &["uso_1_complete", "1", "{uso:0}", &id, "1", "t", "long", "{}"],
        &["uso_1_fail", "1", "{uso:0}", &id, "1", "t", "1000", "{}", "1", "many"],
        &["uso_1_progress", "1", "{uso:0}", &id, "1", "t", "one", "2"],
        &["uso_1_renew", "1", "{uso:0}", &id, "one", "t", "1000"],
        &["uso_1_reap", "1", "{uso:0}", "me", "5000", "ten", "3", "1000"],
    ];
    for call in calls {
        let words: Vec<&str> = std::iter::once("FCALL").chain(call.iter().copied()).collect();
        assert!(fixture.raw::<redis::Value>(&words).await.is_err(), "{words:?}");
    }
    assert_eq!(fixture.raw::<Vec<u8>>(&["DUMP", &format!("{{uso:0}}:job:{id}")]).await.unwrap(), before);
    assert_eq!(fixture.raw::<u64>(&["DBSIZE"]).await.unwrap(), keys);
    assert_eq!(fixture.raw::<u64>(&["XLEN", "{uso:0}:events"]).await.unwrap(), events);
}

#[tokio::test]
async fn a_full_server_refuses_new_work_and_finishes_the_old() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let second = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    fixture.raw::<redis::Value>(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let refused = fixture.queue.submit("tenant", &bulk()).await.unwrap_err();
    assert!(matches!(refused, Error::Full) && refused.retryable(), "{refused}");
    lease.progress(1, 1).await.unwrap();
    lease.complete(&output("a")).await.unwrap();
    assert_eq!(fixture.queue.view(&id).await.unwrap().unwrap().state, State::Succeeded);
    fixture.queue.reap(&fixture.worker).await.unwrap();
    let lease = fixture.claim().await.unwrap();
    assert_eq!(lease.id, second);
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_server_that_would_evict_jobs_is_refused() {
    let fixture = Fixture::start().await;
    fixture.raw::<redis::Value>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    let Err(error) = Queue::connect(Config::new(fixture.redis.url())).await else {
        panic!("it was accepted")
    };
    assert!(error.to_string().contains("allkeys-lru"), "{error}");
}

#[tokio::test]
async fn the_library_runs_for_a_user_who_may_touch_only_its_prefix() {
    let fixture = Fixture::start().await;
    let rules = [
        "ACL",
        "SETUSER",
        "fleet",
        "on",
        ">secret",
        "~{uso:*",
        "+@all",
        "-@dangerous",
        "+info",
        "+config|get",
    ];
    fixture.raw::<redis::Value>(&rules).await.unwrap();
    let url = fixture.redis.url().replace("redis://", "redis://fleet:secret@");
    let queue = Queue::connect(Config::new(url)).await.unwrap();
    queue.submit("tenant", &bulk()).await.unwrap();
    let lease = queue.claim(&fixture.worker, &uso_queue::Class::ALL).await.unwrap().unwrap();
    lease.complete(&output("a")).await.unwrap();
    queue.reap(&fixture.worker).await.unwrap();
}
