//! Owners that come and go.

use std::time::Duration;

use redis::RedisResult;
use uso_local::PrivateRedis;

async fn ask<T: redis::FromRedisValue>(redis: &PrivateRedis, words: &[&str]) -> RedisResult<T> {
    let mut connection = redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut connection).await
}

#[tokio::test]
async fn a_server_left_over_from_a_killed_owner_makes_way_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut old = PrivateRedis::start(folder.path(), None).await.unwrap();
    ask::<String>(&old, &["SET", "a", "1"]).await.unwrap();

    let new = PrivateRedis::start(folder.path(), None).await.unwrap();
    assert_eq!(ask::<String>(&new, &["GET", "a"]).await.unwrap(), "1");
    let ended = tokio::time::timeout(Duration::from_secs(20), old.ended()).await;
    ended.expect("the old server still runs").unwrap();
}

#[tokio::test]
async fn a_stranger_on_the_old_port_is_left_alone() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stranger = PrivateRedis::start(theirs.path(), None).await.unwrap();
    let port = stranger.url().rsplit(':').next().unwrap().to_owned();
    std::fs::write(ours.path().join("port"), port).unwrap();
    PrivateRedis::start(ours.path(), None).await.unwrap();
    assert_eq!(ask::<String>(&stranger, &["PING"]).await.unwrap(), "PONG");
}
