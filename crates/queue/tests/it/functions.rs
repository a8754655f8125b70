//! The function library: loading, refusing, and what a full or strange server does.

use uso_queue::{Config, Durability, Error, KeyScope, NewKey, Queue, State};

use crate::fixture::{Fixture, bulk, bytes, output};

#[tokio::test]
async fn migrating_twice_and_at_once_is_safe() {
    let fixture = Fixture::start().await;
    let other = fixture.another().await;
    let (one, two, three) = tokio::join!(fixture.queue.migrate(), other.migrate(), fixture.queue.migrate());
    one.and(two).and(three).unwrap();
    fixture.submit(&bulk()).await;
}

/// Lua has room for 200 names at the top of a library.
#[tokio::test]
async fn the_library_keeps_its_names_in_blocks_and_each_is_there_once() {
    let fixture = Fixture::start().await;
    let library = fixture.library("uso_1").await;
    let top: usize = library
        .lines()
        .filter_map(|line| line.strip_prefix("local "))
        .map(|names| names.split('=').next().unwrap().split(',').count())
        .sum();
    assert!((10..60).contains(&top), "{top} names at the top");
    let mut functions: Vec<&str> = library
        .lines()
        .filter_map(|line| line.trim_start().trim_start_matches("local ").strip_prefix("function "))
        .map(|rest| rest.split('(').next().unwrap())
        .collect();
    functions.sort_unstable();
    let twice: Vec<_> = functions.windows(2).filter(|two| two[0] == two[1]).collect();
    assert!(functions.len() > 100 && twice.is_empty(), "{twice:?}");
}

#[tokio::test]
async fn a_newer_layout_is_refused() {
    let fixture = Fixture::start().await;
    fixture.raw::<redis::Value>(&["SET", "{uso:0}:layout", "2"]).await.unwrap();
    let error = fixture.queue.migrate().await.unwrap_err();
    assert!(matches!(error, Error::NewerLayout { found: 2, known: 1 }), "{error}");
}

#[tokio::test]
async fn the_number_of_shards_is_part_of_the_data() {
    let fixture = Fixture::start().await;
    let asked = Config { shards: 4, ..fixture.queue.config().clone() };
    let Err(error) = Queue::connect(asked.clone()).await else { panic!("it was accepted") };
    assert!(matches!(error, Error::WrongShards { found: 1, asked: 4 }), "{error}");

    // On new data whoever migrates first decides, also among several at once.
    fixture.raw::<redis::Value>(&["FLUSHALL"]).await.unwrap();
    let other = Queue::connect(asked).await.unwrap();
    let (one, four) = tokio::join!(fixture.queue.migrate(), other.migrate());
    assert!(one.is_ok() != four.is_ok(), "{one:?} {four:?}");
    assert!(matches!(one.and(four), Err(Error::WrongShards { .. })));
}

#[tokio::test]
async fn two_versions_work_side_by_side_on_the_same_data() {
    let fixture = Fixture::start().await;
    let before = fixture.submit(&bulk()).await;
    // The next version: functions of other names, and one that answers otherwise.
    let (ours, theirs) = ("redis.call('XLEN', root .. ':dead')", "77");
    let next = fixture.library("uso_1").await.replace("uso_1", "uso_2").replacen(ours, theirs, 1);
    fixture.raw::<redis::Value>(&["FUNCTION", "LOAD", &next]).await.unwrap();
    let depth: Vec<redis::Value> = fixture.raw(&["FCALL", "uso_2_depth", "1", "{uso:0}"]).await.unwrap();
    assert_eq!(depth[depth.len() - 2], redis::Value::Int(77));
    assert_eq!(fixture.queue.stats().await.unwrap().dead, 0);

    // A worker of the next version takes a job that one of this version accepted, and the other way round.
    let job = bytes(&before);
    let claim: &[&[u8]] = &[
        b"FCALL",
        b"uso_2_claim",
        b"1",
        b"{uso:0}",
        b"next",
        b"0123456789abcdef",
        b"10000",
        b"1000",
        b"20",
        b"+inf",
        b"1",
        b"0",
        b"bulk",
    ];
    let granted: Vec<redis::Value> = fixture.raw_bytes(claim).await.unwrap();
    assert!(format!("{granted:?}").contains("a cat"), "{granted:?}");
    assert_eq!(fixture.view(&before).await.state, State::Running);
    let fence = fixture.view(&before).await.fence.to_string();
    let complete: &[&[u8]] = &[
        b"FCALL", b"uso_2_complete", b"1", b"{uso:0}", &job, fence.as_bytes(), b"0123456789abcdef", b"1000",
        br#"{"uri":"s3://b/a","sidecar":"s3://b/b","width":1,"height":1,"bytes":1,"sha256":"0","content_type":"image/png"}"#,
    ];
    assert_eq!(fixture.raw_bytes::<u32>(complete).await.unwrap(), 1);
    assert_eq!(fixture.view(&before).await.state, State::Succeeded);
    let new: &[u8; 16] = b"fedcba9876543210";
    let spec = serde_json::to_vec(&bulk()).unwrap();
    let submit: &[&[u8]] =
        &[b"FCALL", b"uso_2_submit", b"1", b"{uso:0}", b"tenant", b"4", new, b"bulk", b"0", &spec];
    fixture.raw_bytes::<redis::Value>(submit).await.unwrap();
    let lease = fixture.claim().await.unwrap();
    assert_eq!(bytes(&lease.id), *new);
    lease.complete(&output("a")).await.unwrap();

    // A process of this version that starts meanwhile loads its own functions and no others.
    fixture.raw::<redis::Value>(&["FUNCTION", "DELETE", "uso_1"]).await.unwrap();
    fixture.another().await.migrate().await.unwrap();
    assert_eq!(fixture.library("uso_2").await, next);
    assert!(fixture.library("uso_1").await.contains("uso_1_"));
    assert_eq!(fixture.queue.audit().await.unwrap().faults, []);
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
    let job = bytes(&id);
    let before = everything(&fixture).await;
    let new: &[u8; 16] = b"0123456789abcdef";
    let submit = |class: &'static [u8], priority: &'static [u8], spec: bool, webhook: &'static [u8]| {
        let mut words: Vec<&[u8]> = vec![b"submit", b"t", b"13", new, class, priority];
        if spec {
            words.extend([&b"{}"[..], b"", b"", b"", b"", b"", b"", b"", webhook, b"short"]);
        }
        words
    };
    let calls: Vec<Vec<&[u8]>> = vec![
        submit(b"nightly", b"0", true, b""),
        submit(b"bulk", b"high", true, b""),
        submit(b"bulk", b"0", false, b""),
        submit(b"bulk", b"0", true, b"job https://example.com"),
        vec![b"claim", b"w", b"t", b"soon", b"1000", b"20", b"1", b"1", b"0", b"bulk"],
        vec![b"complete", &job, b"1", b"t", b"long", b"{}"],
        vec![b"complete", &job, b"1", b"t", b"1000"],
        vec![b"fail", &job, b"1", b"t", b"1000", b"{}", b"1", b"many", b"0"],
        vec![b"fail", &job, b"1", b"t", b"1000", b"{}", b"1", b"3", b"long"],
        vec![b"release", &job, b"1", b"t", b"large"],
        vec![b"progress", &job, b"1", b"t", b"one", b"2", b"1000"],
        vec![b"checkpoint", &job, b"1", b"t"],
        vec![b"checkpoint", &job, b"1", b"t", &[b'x'; 8 * 1024 + 1]],
        vec![b"renew", &job, b"one", b"t", b"1000"],
        vec![b"cancel", &job, b"long"],
        vec![b"retry", &job, b"short"],
        vec![b"reap", b"me", b"5000", b"ten", b"3", b"1000"],
        vec![b"hold", b"class", b"nightly", b"1"],
        vec![b"limit", b"t", b"0", b"", b"", b"", b""],
        vec![b"limit", b"t", b"nan", b"", b"", b"", b""],
        vec![b"limit", b"t", b"inf", b"", b"", b"", b""],
        vec![b"limit", b"t", b"1", b"", b"", b"nan", b""],
        vec![b"limit", b"t", b"1", b"", b"", b"1", b"0"],
        vec![b"limit", b"t", b"1", b"few", b"", b"", b""],
        vec![b"window", b"{}", b"2", b"1", b"0", b"0"],
        vec![b"window", b"", b"1", b"2", b"0", b"0"],
        vec![b"preview", &job, b"1", b"t", b"", b"1000"],
        vec![b"preview", &job, b"1", b"t", b"x", b"long"],
        vec![b"aside", &job, b"1", b"t", b"canceled"],
        vec![b"aside", &job, b"1", b"t"],
        vec![b"aside", &job, b"one", b"t", b"resumed"],
        vec![b"watch", &job, b"long"],
        vec![b"watch_tenant", b"", b"1000"],
        vec![b"watch_tenant", b"tenant", b"long"],
        vec![b"submit_batch", new, b"k", b"digest", b""],
        vec![b"submit_batch", b"short", b"k", b"digest", b"", b"t", b"4", new, b"bulk", b"0", b"{}"],
        vec![b"submit_batch", new, b"k", b"digest", b"", b"t", b"4", new, b"nightly", b"0", b"{}"],
        vec![b"browse", b"t", b"", b"", b"", b"far", b"1"],
        vec![b"workers", b"long"],
        vec![b"limit", b"t", b"1", b"", b"", b"", b"", b"much"],
        vec![b"store", b"t", b"1", b"short", b"1"],
        vec![b"store", b"t", b"1", new, b"large"],
        vec![b"refusal", b"t", b"many"],
        vec![b"accepted_as", b"j", b"t", b"k"],
        vec![b"delivery_claim", b"long"],
        vec![b"key_link", b"prefix", b"short"],
        vec![b"steer", b"0123456789abcdef", b"stop"],
    ];
    for call in calls {
        let function = [b"uso_1_", call[0]].concat();
        let mut words: Vec<&[u8]> = vec![b"FCALL", &function, b"1", b"{uso:0}"];
        words.extend(&call[1..]);
        let answer = fixture.raw_bytes::<redis::Value>(&words).await;
        assert!(answer.is_err(), "{} was answered {answer:?}", String::from_utf8_lossy(call[0]));
    }
    assert_eq!(everything(&fixture).await, before);
}

/// Every key with its value as Redis would store it.
async fn everything(fixture: &Fixture) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut keys: Vec<Vec<u8>> = fixture.raw(&["KEYS", "*"]).await.unwrap();
    keys.sort();
    let mut all = Vec::new();
    for key in keys {
        let value = fixture.raw_bytes(&[b"DUMP", &key]).await.unwrap();
        all.push((key, value));
    }
    all
}

#[tokio::test]
async fn a_full_server_refuses_new_work_and_finishes_the_old() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let second = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    let key = NewKey { tenant: "tenant", scopes: &KeyScope::ALL, ..NewKey::default() };
    let (_, view) = fixture.queue.create_key(&key).await.unwrap();
    fixture.raw::<redis::Value>(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    // Pictures are shown by links that a key's secret signs.
    assert!(fixture.queue.key_and_link(&view.prefix).await.unwrap().is_some());
    let refused = fixture.queue.submit("tenant", &bulk()).await.unwrap_err();
    assert!(matches!(refused, Error::Full) && refused.retryable(), "{refused}");
    lease.progress(1, 1).await.unwrap();
    lease.complete(&output("a")).await.unwrap();
    assert_eq!(fixture.view(&id).await.state, State::Succeeded);
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
async fn a_server_that_hides_its_settings_is_judged_by_what_it_shows() {
    let fixture = Fixture::start().await;
    let url = fixture.redis.url().replace("redis://", "redis://fleet:secret@");
    for shown in ["+info", "-info"] {
        let rules = ["ACL", "SETUSER", "fleet", "on", ">secret", "~{uso:*", "+@all", "-@dangerous", shown];
        fixture.raw::<redis::Value>(&rules).await.unwrap();
        let queue = Queue::connect(Config::new(&url)).await.unwrap();
        assert_eq!(queue.durability(), Durability::Unknown);
    }
    fixture.raw::<redis::Value>(&["ACL", "SETUSER", "fleet", "+info"]).await.unwrap();
    fixture.raw::<redis::Value>(&["CONFIG", "SET", "appendonly", "no"]).await.unwrap();
    let queue = Queue::connect(Config::new(&url)).await.unwrap();
    assert_eq!(queue.durability(), Durability::Volatile);
    fixture.raw::<redis::Value>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    assert!(matches!(Queue::connect(Config::new(&url)).await, Err(Error::Unsafe(_))));
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
    let lease = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    lease.complete(&output("a")).await.unwrap();
    queue.reap(&fixture.worker).await.unwrap();
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_what_to_change() {
    let fixture = Fixture::start().await;
    let second = std::time::Duration::from_secs(1);
    let well = || Config::new(fixture.redis.url());
    for (config, what) in [
        (Config { prefix: "a*".into(), ..well() }, "the prefix is"),
        (Config { prefix: String::new(), ..well() }, "the prefix is"),
        (Config { renew: 2 * second, ..well() }, "at least every 1000 ms"),
        (Config { lease: 10 * second, ..well() }, "at least 10500 ms"),
    ] {
        let Err(error) = Queue::connect(config).await else { panic!("it was accepted") };
        assert!(matches!(error, Error::Settings(_)) && error.to_string().contains(what), "{error}");
    }
}
