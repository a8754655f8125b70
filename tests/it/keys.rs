//! Keys of the API, made and revoked straight at Redis, and used against the real binary.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::fleet::Fleet;
use crate::process::binary;

async fn uso(fleet: &Fleet, args: &[&str]) -> Output {
    Command::new(binary()).args(args).envs(fleet.environment()).output().await.unwrap()
}

async fn says(fleet: &Fleet, args: &[&str]) -> String {
    let output = uso(fleet, args).await;
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says when it refuses.
async fn refuses(fleet: &Fleet, args: &[&str]) -> String {
    let output = uso(fleet, args).await;
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn keys_are_made_shown_once_listed_and_revoked() {
    let fleet = Fleet::start().await;
    assert_eq!(says(&fleet, &["keys", "list"]).await, "no keys\n");
    let create =
        ["keys", "create", "studio", "--note", "night\u{1b}[2J", "--days", "30", "--per-second", "5"];
    let key = says(&fleet, &create).await;
    let key = key.trim_end();
    let parts: Vec<&str> = key.split('_').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("uso", 8, 43), "{key}");
    let admin = says(&fleet, &["keys", "create", "ops", "--scope", "read,admin", "--json"]).await;
    let admin: Value = serde_json::from_str(&admin).unwrap();
    assert_eq!(admin["scopes"], serde_json::json!(["read", "admin"]));

    let list = says(&fleet, &["keys", "list"]).await;
    let row: Vec<&str> =
        list.lines().find(|line| line.starts_with(parts[1])).unwrap().split_whitespace().collect();
    assert_eq!((row[1], row[2], &row[4..6]), ("studio", "submit,read", &["valid", "until"][..]), "{list}");
    assert!(list.contains("night\\u{1b}[2J") && list.contains("valid"), "{list}");
    let document = says(&fleet, &["keys", "list", "--json"]).await;
    for secret in [parts[2], admin["key"].as_str().unwrap().rsplit('_').next().unwrap()] {
        assert!(!list.contains(secret) && !document.contains(secret));
    }

    let limits = says(&fleet, &["queue", "limits", "studio", "--json"]).await;
    let limits: Value = serde_json::from_str(&limits).unwrap();
    assert_eq!((&limits["limits"]["per_second"], &limits["limits"]["weight"]), (&5.0.into(), &1.0.into()));
    let wrong = uso(&fleet, &["keys", "create", "studio", "--weight", "0.0001"]).await;
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0));

    // By the key itself, by what the list shows, and again.
    for name in [key, parts[1], &format!("uso_{}", parts[1])] {
        let revoked = says(&fleet, &["keys", "revoke", name]).await;
        assert_eq!(revoked, format!("key {} is revoked\n", parts[1]));
    }
    assert_eq!(refuses(&fleet, &["keys", "revoke", "unknown0"]).await, "uso: there is no key unknown0");
    let list = says(&fleet, &["keys", "list"]).await;
    assert!(list.lines().any(|line| line.starts_with(parts[1]) && line.contains("revoked")), "{list}");
    assert!(refuses(&fleet, &["keys", "create", "a b"]).await.contains("a tenant's name"));
    assert_eq!(uso(&fleet, &["keys", "create", "a", "--scope", "all"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn an_api_that_others_can_reach_asks_for_a_key() {
    let fleet = Fleet::start().await;
    let api = fleet.serve(&["--listen", "0.0.0.0:0"]).await;
    let api = api.address().replace("0.0.0.0", "127.0.0.1");
    let submit = ["submit", "--api", &api, "--prompt", "a cat", "--no-wait"];
    let refused = refuses(&fleet, &submit).await;
    assert!(refused.contains("needs an API key") && refused.contains("USO_API_KEY"), "{refused}");

    let key = says(&fleet, &["keys", "create", "studio"]).await;
    let job = says(&fleet, &[&submit[..], &["--api-key", key.trim_end()]].concat()).await;
    let shown: Value =
        serde_json::from_str(&says(&fleet, &["queue", "show", job.trim_end(), "--json"]).await).unwrap();
    assert_eq!(shown["tenant"], "studio");
}
