//! Redis stops and comes back.

use std::time::Duration;

use uso_queue::{Config, Durability, Error, Queue, State};

use crate::fixture::{Fixture, bulk, output};

#[tokio::test]
async fn a_killed_redis_comes_back_with_everything_it_accepted() {
    let mut fixture = Fixture::start().await;
    assert_eq!(fixture.queue.durability(), Durability::Fsync);
    let running = fixture.submit(&bulk()).await;
    let waiting = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    fixture.queue.reap(&fixture.worker).await.unwrap();
    fixture.redis.kill().await.unwrap();
    let error = fixture.queue.submit("tenant", &bulk()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)) && error.retryable(), "{error}");
    fixture.redis.restart().await.unwrap();

    fixture.reconnected().await;
    // The holder was away from Redis, not dead: its lease is not reaped at once, however old.
    fixture.age_leases(uso_queue::Class::Bulk, Duration::from_secs(60)).await;
    assert_eq!(fixture.queue.reap(&fixture.worker).await.unwrap().requeued, 0);
    lease.progress(3, 4).await.unwrap();
    lease.complete(&output("a")).await.unwrap();
    assert_eq!(fixture.queue.view(&running).await.unwrap().unwrap().state, State::Succeeded);
    assert_eq!(fixture.claim().await.unwrap().id, waiting);
}

#[tokio::test]
async fn a_tail_goes_on_where_it_was() {
    let mut fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let first = fixture.submit(&bulk()).await;
    assert_eq!(crate::fixture::events(&mut tail, 1).await[0].job, first);
    let position = tail.position();
    fixture.redis.kill().await.unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(20), tail.next()).await.unwrap();
    assert!(gone.is_err());
    fixture.redis.restart().await.unwrap();
    fixture.reconnected().await;
    let second = fixture.submit(&bulk()).await;
    let mut tail = fixture.queue.tail(0, Some(position)).await.unwrap();
    assert_eq!(crate::fixture::events(&mut tail, 1).await[0].job, second);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let fixture = Fixture::start().await;
    let url = fixture.redis.url();
    fixture.redis.stop().await.unwrap();
    let Err(error) = Queue::connect(Config::new(url)).await else { panic!("nobody listens") };
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn what_the_server_promises_is_read_from_it() {
    let fixture = Fixture::start().await;
    for (setting, value, promise) in [
        ("appendfsync", "everysec", Durability::EverySecond),
        ("appendfsync", "no", Durability::Volatile),
        ("appendonly", "no", Durability::Volatile),
    ] {
        fixture.raw::<redis::Value>(&["CONFIG", "SET", setting, value]).await.unwrap();
        let queue = Queue::connect(Config::new(fixture.redis.url())).await.unwrap();
        assert_eq!(queue.durability(), promise, "{setting} {value}");
    }
}
