//! The data folder of one machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use uso_local::{DataFolder, Error, Services, Wanted};

/// Longest wait for a restart.
const PATIENCE: Duration = Duration::from_secs(60);

fn both() -> Wanted {
    Wanted { redis: true, s3_origins: Some(Vec::new()) }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_next_start_finds_the_same_keys_the_same_password_and_the_same_s3_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let data = DataFolder::take(&path).unwrap();
        let services = Services::start(&data, both()).await.unwrap();
        let (redis, s3) = (services.redis().unwrap().url(), services.s3().unwrap());
        let password = redis.split_once('@').unwrap().0.to_owned();
        let keys = s3.keys();
        seen.push((s3.endpoint(), keys.access_key.clone(), keys.secret_key.clone(), password));
        services.stop().await.unwrap();
    }
    assert_eq!(seen[0], seen[1]);
    let (_, access_key, secret_key, password) = &seen[0];
    assert_eq!((access_key.len(), secret_key.len()), (32, 64));
    let keys = std::fs::read_to_string(path.join("s3-keys.json")).unwrap();
    assert_eq!(keys, format!(r#"{{"access_key":"{access_key}","secret_key":"{secret_key}"}}"#));
    let kept = std::fs::read_to_string(path.join("redis/password")).unwrap();
    assert_eq!(password, &format!("redis://:{kept}"));
    for folder in ["", "redis", "s3"] {
        assert_eq!(mode(&path.join(folder)), 0o700, "{folder}");
    }
    for file in ["s3-keys.json", "redis/password"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let first = DataFolder::take(folder.path()).unwrap();
    assert!(matches!(DataFolder::take(folder.path()), Err(Error::InUse { .. })));
    drop(first);
    DataFolder::take(folder.path()).unwrap();
}

#[tokio::test]
async fn only_what_is_wanted_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataFolder::take(folder.path()).unwrap();
    let services = Services::start(&data, Wanted::default()).await.unwrap();
    assert!(services.redis().is_none() && services.s3().is_none());
    assert!(!folder.path().join("redis").exists() && !folder.path().join("s3").exists());
    services.stop().await.unwrap();
}

#[tokio::test]
async fn damaged_keys_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataFolder::take(folder.path()).unwrap();
    std::fs::write(folder.path().join("s3-keys.json"), "{").unwrap();
    let error = Services::start(&data, both()).await.err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(folder.path().join("s3-keys.json")).unwrap(), "{");
}

#[tokio::test]
async fn a_redis_that_ends_by_itself_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataFolder::take(folder.path()).unwrap();
    let mut services = Services::start(&data, Wanted { redis: true, ..Wanted::default() }).await.unwrap();
    let url = services.redis().unwrap().url();
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("SET").arg("a").arg("1").query_async::<()>(&mut connection).await.unwrap();
    let _: redis::RedisResult<redis::Value> = redis::cmd("SHUTDOWN").query_async(&mut connection).await;
    let again = async {
        loop {
            let connected = client.get_multiplexed_async_connection().await;
            if let Ok(mut connection) = connected
                && let Ok(value) = redis::cmd("GET").arg("a").query_async::<String>(&mut connection).await
            {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        error = services.supervise() => panic!("{error}"),
        again = tokio::time::timeout(PATIENCE, again) => assert_eq!(again.unwrap(), "1"),
    }
    services.stop().await.unwrap();
}
