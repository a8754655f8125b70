//! What Redis may say instead of an answer, and what follows.

use uso_queue::{Config, Error, Queue};

use crate::fixture::{Fixture, bulk, config, output};

const BEGIN: &str = "function change.begin(root) return";

fn refusing(code: &str) -> String {
    format!("function change.begin(root) error({{ err = '{code} said so' }}) return")
}

#[tokio::test]
async fn every_refusal_is_understood() {
    let fixture = Fixture::start().await;
    fixture.queue.stats().await.unwrap();
    let mut before = BEGIN.to_owned();
    for code in [
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOAUTH",
        "NOPERM",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
        "UNKILLABLE",
        "WRONGPASS",
        "ERR",
    ] {
        let now = refusing(code);
        fixture.edit_library(&before, &now).await;
        before = now;
        let error = fixture.queue.stats().await.expect_err(code);
        let is_right = match code {
            "BUSY" | "MISCONF" | "UNKILLABLE" => matches!(error, Error::Blocked(_)),
            "NOAUTH" | "NOPERM" | "WRONGPASS" => matches!(error, Error::Denied(_)),
            "OOM" => matches!(error, Error::Full),
            "ERR" => matches!(error, Error::Refused(_)),
            _ => matches!(error, Error::Unreachable(_)),
        };
        assert!(is_right, "{code}: {error:?}");
        assert_eq!(error.retryable(), code != "ERR", "{code}");
    }
    fixture.edit_library(&before, BEGIN).await;
    fixture.queue.stats().await.unwrap();
}

#[tokio::test]
async fn credentials_that_never_worked_are_a_mistake_in_the_settings() {
    let fixture = Fixture::start().await;
    let url = fixture.redis.url();
    let as_user = |user: &str| url.replace("redis://", &format!("redis://{user}@"));
    for rules in [
        ["ACL", "SETUSER", "pings", "on", ">secret", "~*", "&*", "-@all", "+ping", "+hello", "+client"],
        ["ACL", "SETUSER", "reads", "on", ">secret", "~*", "&*", "-@all", "+@read", "+ping", "+@connection"],
    ] {
        fixture.raw::<redis::Value>(&rules).await.unwrap();
    }
    for user in ["fleet:wrong", "nobody:secret", "pings:secret", "reads:secret"] {
        let connected = async {
            let queue = Queue::connect(Config::new(as_user(user))).await?;
            queue.migrate().await
        };
        let error = connected.await.expect_err(user);
        assert!(matches!(error, Error::Settings(_)), "{user}: {error:?}");
        assert!(error.to_string().contains("look at the user and the password"), "{error}");
    }
    fixture.raw::<redis::Value>(&["CONFIG", "SET", "requirepass", "secret"]).await.unwrap();
    let error = Queue::connect(Config::new(url)).await.err().expect("nobody asked for a password");
    assert!(matches!(error, Error::Settings(_)), "{error:?}");
}

#[tokio::test]
async fn credentials_that_are_refused_later_may_be_accepted_again() {
    let fixture = Fixture::start().await;
    let grant = ["ACL", "SETUSER", "fleet", "on", ">secret", "~*", "&*", "+@all"];
    fixture.raw::<redis::Value>(&grant).await.unwrap();
    let url = fixture.redis.url().replace("redis://", "redis://fleet:secret@");
    let queue = Queue::connect(Config { url, ..config(&fixture.redis) }).await.unwrap();
    queue.migrate().await.unwrap();
    fixture.submit(&bulk()).await;
    let lease = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    fixture.raw::<redis::Value>(&["ACL", "SETUSER", "fleet", "-fcall"]).await.unwrap();
    let error = lease.complete(&output("a")).await.unwrap_err();
    assert!(matches!(error, Error::Denied(_)) && error.retryable(), "{error:?}");
    fixture.raw::<redis::Value>(&["ACL", "SETUSER", "fleet", "+fcall"]).await.unwrap();
    lease.complete(&output("a")).await.unwrap();
}

#[tokio::test]
async fn an_emptied_server_is_noticed_once_and_works_again() {
    let fixture = Fixture::start().await;
    fixture.submit(&bulk()).await;
    fixture.queue.inspect().await.unwrap();
    fixture.raw::<redis::Value>(&["FLUSHALL"]).await.unwrap();
    fixture.raw::<redis::Value>(&["FUNCTION", "FLUSH"]).await.unwrap();
    assert!(matches!(fixture.queue.inspect().await, Err(Error::Emptied)));
    fixture.queue.inspect().await.unwrap();
    let id = fixture.submit(&bulk()).await;
    assert_eq!(fixture.claim().await.unwrap().id, id);
}

#[tokio::test]
async fn durability_is_looked_at_again() {
    let fixture = Fixture::start().await;
    let before = fixture.queue.durability();
    fixture.raw::<redis::Value>(&["CONFIG", "SET", "appendfsync", "everysec"]).await.unwrap();
    fixture.queue.inspect().await.unwrap();
    assert_eq!(fixture.queue.durability(), uso_queue::Durability::EverySecond);
    assert_ne!(fixture.queue.durability(), before);
}
