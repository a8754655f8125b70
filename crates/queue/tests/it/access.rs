//! Keys of the API and sessions of browsers.

use std::time::Duration;

use uso_queue::{ApiKey, Error, KeyScope, KeyView, Limits, NewKey, SessionToken};

use crate::fixture::{Fixture, bulk};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn new<'a>() -> NewKey<'a> {
    NewKey { tenant: "studio", scopes: &[KeyScope::Submit, KeyScope::Read], note: "for a test", life: None }
}

async fn create(fixture: &Fixture, new: &NewKey<'_>) -> (ApiKey, KeyView) {
    fixture.queue.create_key(new).await.unwrap()
}

async fn opens(fixture: &Fixture, key: &ApiKey) -> bool {
    let found = fixture.queue.find_key(key.prefix()).await.unwrap();
    found.is_some_and(|view| view.is_of(key))
}

#[tokio::test]
async fn a_key_opens_what_it_was_made_for_until_it_is_revoked() {
    let fixture = Fixture::start().await;
    let (key, made) = create(&fixture, &new()).await;
    let (other, _) = create(&fixture, &new()).await;
    assert_eq!((made.tenant.as_str(), made.note.as_str()), ("studio", "for a test"));
    assert_eq!(made.scopes, [KeyScope::Submit, KeyScope::Read]);
    let found = fixture.another().await.find_key(key.prefix()).await.unwrap().unwrap();
    assert_eq!(found, made);
    // Another secret behind the same prefix.
    let secret = other.expose().rsplit_once('_').unwrap().1.to_owned();
    let forged: ApiKey = format!("uso_{}_{secret}", key.prefix()).parse().unwrap();
    assert!(opens(&fixture, &key).await && !opens(&fixture, &forged).await);

    for _ in 0..2 {
        let revoked = fixture.queue.revoke_key(key.prefix()).await.unwrap();
        assert_eq!(revoked.as_deref(), Some(key.prefix()));
    }
    assert_eq!(fixture.queue.revoke_key("unknown0").await.unwrap(), None);
    assert!(!opens(&fixture, &key).await && opens(&fixture, &other).await);
    let (keys, broken) = fixture.queue.keys().await.unwrap();
    assert_eq!(keys.iter().filter(|key| key.revoked_ms.is_some()).count(), 1);
    assert_eq!((keys.len(), broken.len()), (2, 0));
}

#[tokio::test]
async fn a_key_stops_by_itself_when_its_time_is_over() {
    let fixture = Fixture::start().await;
    let (key, view) = create(&fixture, &NewKey { life: Some(DAY), ..new() }).await;
    assert_eq!(view.expires_ms, Some(view.created_ms + DAY.as_millis() as u64));
    assert!(opens(&fixture, &key).await);
    fixture.set_clock(DAY + Duration::from_secs(1)).await;
    assert!(!opens(&fixture, &key).await);
    assert!(fixture.queue.open_session(key.prefix(), DAY).await.unwrap().is_none());
}

#[tokio::test]
async fn a_secret_is_nowhere_in_redis() {
    let fixture = Fixture::start().await;
    let (key, _) = create(&fixture, &new()).await;
    let session = fixture.queue.open_session(key.prefix(), DAY).await.unwrap().unwrap();
    let secret = key.expose().rsplit_once('_').unwrap().1.to_owned();
    let mut all: Vec<u8> = fixture.raw::<Vec<Vec<u8>>>(&["HGETALL", "{uso:0}:keys"]).await.unwrap().concat();
    let names: Vec<Vec<u8>> = fixture.raw(&["KEYS", "*session:*"]).await.unwrap();
    assert_eq!(names.len(), 1);
    all.extend(names.concat());
    let sessions = format!("{{uso:0}}:sessions:{}", key.prefix());
    all.extend(fixture.raw::<Vec<Vec<u8>>>(&["ZRANGE", &sessions, "0", "-1"]).await.unwrap().concat());
    all.extend(fixture.raw_bytes::<Vec<u8>>(&[b"GET", &names[0]]).await.unwrap());
    let holds = |text: &str| all.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds(key.prefix()), "the wrong place was searched");
    assert!(!holds(&secret) && !holds(session.expose()));
}

#[tokio::test]
async fn a_session_ends_when_asked_in_time_and_with_its_key() {
    let fixture = Fixture::start().await;
    let (key, view) = create(&fixture, &new()).await;
    let open = async || fixture.queue.open_session(key.prefix(), DAY).await.unwrap().unwrap();
    let find = async |token: &SessionToken| fixture.queue.find_session(token).await.unwrap();
    let (one, two) = (open().await, open().await);
    assert_eq!(find(&one).await, Some(view));
    assert_eq!(find(&SessionToken::from("guessed")).await, None);
    let names: Vec<Vec<u8>> = fixture.raw(&["KEYS", "*session*"]).await.unwrap();
    for name in names {
        let left: u64 = fixture.raw_bytes(&[b"PTTL", &name]).await.unwrap();
        assert!(left > 0 && left <= DAY.as_millis() as u64, "{left}");
    }
    fixture.queue.end_session(&one).await.unwrap();
    assert_eq!(find(&one).await, None);
    assert!(find(&two).await.is_some());
    fixture.queue.revoke_key(key.prefix()).await.unwrap();
    assert_eq!(find(&two).await, None);
}

#[tokio::test]
async fn a_key_has_a_bounded_number_of_sessions() {
    let fixture = Fixture::start().await;
    let (key, _) = create(&fixture, &new()).await;
    let (other, _) = create(&fixture, &new()).await;
    let open = async |key: &ApiKey| fixture.queue.open_session(key.prefix(), DAY).await.unwrap().unwrap();
    let find = async |token: &SessionToken| fixture.queue.find_session(token).await.unwrap();
    let others = open(&other).await;
    let mut all = Vec::new();
    for _ in 0..100 {
        all.push(open(&key).await);
        // Each ends later than the one before.
        let now = fixture.queue.now_ms().await.unwrap();
        while fixture.queue.now_ms().await.unwrap() == now {}
    }
    assert!(find(&all[0]).await.is_some());
    // One that has ended takes no place.
    fixture.queue.end_session(&all[50]).await.unwrap();
    let last = open(&key).await;
    assert!(find(&all[0]).await.is_some() && find(&last).await.is_some());
    open(&key).await;
    assert_eq!(find(&all[0]).await, None);
    for kept in [&all[1], &last, &others] {
        assert!(find(kept).await.is_some());
    }
}

#[tokio::test]
async fn what_signs_a_keys_links_is_shown_nowhere_and_ends_with_it() {
    let fixture = Fixture::start().await;
    let (key, view) = create(&fixture, &new()).await;
    let (other, _) = create(&fixture, &new()).await;
    let link = async |key: &ApiKey| fixture.queue.key_and_link(key.prefix()).await.unwrap();
    let (found, secret) = link(&key).await.unwrap();
    assert_eq!(found, view);
    assert_eq!(link(&key).await.unwrap().1, secret);
    assert_ne!(link(&other).await.unwrap().1, secret);
    assert!(!format!("{secret:?}").contains(&format!("{:?}", secret.bytes())));
    fixture.queue.revoke_key(key.prefix()).await.unwrap();
    assert!(link(&key).await.is_none());
}

#[tokio::test]
async fn a_key_that_cannot_be_read_hides_no_other_and_can_be_removed() {
    let fixture = Fixture::start().await;
    let (key, _) = create(&fixture, &new()).await;
    fixture.raw::<u8>(&["HSET", "{uso:0}:keys", "broken00", "rubbish"]).await.unwrap();
    let (keys, broken) = fixture.queue.keys().await.unwrap();
    assert_eq!((keys[0].prefix.as_str(), broken), (key.prefix(), vec!["broken00".to_owned()]));
    assert!(fixture.queue.find_key("broken00").await.unwrap().is_none());
    assert!(fixture.queue.revoke_key("broken00").await.unwrap().is_some());
    assert!(fixture.queue.keys().await.unwrap().1.is_empty());
}

#[tokio::test]
async fn keys_that_would_open_nothing_or_everything_are_not_made() {
    let fixture = Fixture::start().await;
    let long = "x".repeat(201);
    for bad in [
        NewKey { tenant: "", ..new() },
        NewKey { tenant: "a:b", ..new() },
        NewKey { scopes: &[], ..new() },
        NewKey { note: &long, ..new() },
    ] {
        let error = fixture.queue.create_key(&bad).await.unwrap_err();
        assert!(matches!(error, Error::Rejected(_) | Error::Settings(_)), "{error}");
    }
    assert!(fixture.queue.keys().await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_tenants_own_jobs_are_told_from_others() {
    let fixture = Fixture::start().await;
    let ours = fixture.queue.submit("ours", &bulk()).await.unwrap().id;
    let theirs = fixture.queue.submit("theirs", &bulk()).await.unwrap().id;
    let gone = "0-0198a0b0-0000-7000-8000-00000000000a".parse().unwrap();
    let elsewhere = "7-0198a0b0-0000-7000-8000-00000000000a".parse().unwrap();
    let owned = fixture.queue.owned("ours", &[theirs, ours, gone, elsewhere]).await.unwrap();
    assert_eq!(owned, [ours]);
}

#[tokio::test]
async fn a_tenant_is_told_how_fast_it_may_submit() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.queue.allowance("tenant").await.unwrap(), None);
    let limits = Limits { per_second: Some(0.001), burst: Some(5.0), ..Limits::default() };
    fixture.queue.set_limits("tenant", &limits).await.unwrap();
    fixture.submit(&bulk()).await;
    let allowance = fixture.queue.allowance("tenant").await.unwrap().unwrap();
    assert_eq!((allowance.per_second, allowance.burst), (0.001, 5.0));
    assert!((4.0..4.5).contains(&allowance.left), "{}", allowance.left);
}
