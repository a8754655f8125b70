//! Endpoints that are notified when jobs end.

use std::time::Duration;

use uso_queue::{Attempt, ClaimedDelivery, DEFAULT_WEBHOOK, JobId, Next, State, Submission, WebhookShape};

use crate::fixture::{Fixture, bulk, failure, output, spec};

const URL: &str = "https://example.com/hook";

async fn hook(fixture: &Fixture, tenant: &str, events: &[State]) -> String {
    fixture.queue.add_webhook(tenant, URL, events).await.unwrap().unwrap().id
}

async fn claim(fixture: &Fixture) -> Option<ClaimedDelivery> {
    fixture.queue.claim_delivery(0).await.unwrap()
}

async fn settle(fixture: &Fixture, claimed: &ClaimedDelivery, next: Next) -> bool {
    let attempt = Attempt { at_ms: 0, status: Some(500), error: Some("it broke".into()), took_ms: 7 };
    fixture.queue.settle_delivery(claimed, next, &attempt).await.unwrap()
}

async fn canceled(fixture: &Fixture) -> JobId {
    let id = fixture.submit(&bulk()).await;
    fixture.queue.cancel(&id).await.unwrap();
    id
}

#[tokio::test]
async fn every_end_is_written_down_once_for_each_endpoint_that_asks_for_it() {
    let fixture = Fixture::start().await;
    let all = [State::Succeeded, State::Failed, State::Canceled, State::Expired];
    let every = hook(&fixture, "tenant", &all).await;
    let some = hook(&fixture, "tenant", &[State::Failed]).await;
    hook(&fixture, "another", &all).await;

    fixture.submit(&bulk()).await;
    fixture.claim().await.unwrap().complete(&output("a")).await.unwrap();
    fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    // An attempt that is not the last is no end.
    lease.fail(&failure(true)).await.unwrap();
    fixture.claim().await.unwrap().fail(&failure(false)).await.unwrap();
    canceled(&fixture).await;
    let mut late = spec(uso_queue::Class::Bulk, 0);
    late.start_by = Some("2026-01-01T00:00:00Z".parse().unwrap());
    fixture.submit(&late).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();

    let mut sent = Vec::new();
    while let Some(claimed) = claim(&fixture).await {
        assert_eq!((claimed.url.as_str(), claimed.secrets.len()), (URL, 1));
        assert!(settle(&fixture, &claimed, Next::Delivered).await);
        sent.push((claimed.delivery.webhook, claimed.delivery.state));
    }
    let states = |name: &str| -> Vec<State> {
        sent.iter().filter(|(hook, _)| hook == name).map(|(_, state)| *state).collect()
    };
    let mut ends = states(&every);
    ends.sort_by_key(|state| all.iter().position(|known| known == state));
    assert_eq!((ends, states(&some), sent.len()), (all.to_vec(), vec![State::Failed], 5));
}

#[tokio::test]
async fn a_delivery_of_a_process_that_died_is_due_again_and_what_it_still_says_does_not_count() {
    let fixture = Fixture::start().await;
    hook(&fixture, "tenant", &[State::Canceled]).await;
    canceled(&fixture).await;
    let first = claim(&fixture).await.unwrap();
    assert!(claim(&fixture).await.is_none(), "two processes make the same delivery");
    fixture.set_clock(Duration::from_secs(61)).await;
    let second = claim(&fixture).await.unwrap();
    assert_eq!(second.delivery.message(), first.delivery.message());
    assert!(!settle(&fixture, &first, Next::Delivered).await);
    assert!(settle(&fixture, &second, Next::Delivered).await);
    assert!(!settle(&fixture, &second, Next::Again(Duration::ZERO)).await, "it was settled twice");
    fixture.move_clock(Duration::from_secs(3600)).await;
    assert!(claim(&fixture).await.is_none());
}

#[tokio::test]
async fn another_attempt_is_due_when_its_time_has_come_and_is_kept_in_the_log() {
    let fixture = Fixture::start().await;
    let hook = hook(&fixture, "tenant", &[State::Canceled]).await;
    let job = canceled(&fixture).await;
    fixture.set_clock(Duration::ZERO).await;
    let claimed = claim(&fixture).await.unwrap();
    assert!(settle(&fixture, &claimed, Next::Again(Duration::from_secs(300))).await);
    fixture.move_clock(Duration::from_secs(299)).await;
    assert!(claim(&fixture).await.is_none());
    fixture.move_clock(Duration::from_secs(301)).await;
    let again = claim(&fixture).await.unwrap();
    assert_eq!(again.delivery.attempts, 1);
    settle(&fixture, &again, Next::Failed).await;
    let logged = fixture.queue.deliveries("tenant", &hook).await.unwrap();
    let sent = &logged[0];
    assert_eq!((logged.len(), sent.job, sent.ended.as_deref()), (1, job, Some("failed")));
    assert_eq!((sent.log.len(), sent.log[0].status, sent.log[0].took_ms), (2, Some(500), 7));

    let replayed = fixture.queue.replay_delivery("tenant", &hook, &sent.id).await.unwrap().unwrap();
    assert_eq!((replayed.attempts, replayed.ended), (0, None));
    assert!(claim(&fixture).await.is_some());
    assert!(fixture.queue.replay_delivery("another", &hook, &sent.id).await.unwrap().is_none());
}

#[tokio::test]
async fn nothing_is_sent_to_an_endpoint_that_is_gone_or_disabled() {
    let fixture = Fixture::start().await;
    let hook = hook(&fixture, "tenant", &[State::Canceled]).await;
    canceled(&fixture).await;
    fixture.queue.switch_webhook("tenant", &hook, Some("asked for")).await.unwrap().unwrap();
    assert!(claim(&fixture).await.is_none());
    let dropped = &fixture.queue.deliveries("tenant", &hook).await.unwrap()[0];
    assert_eq!((dropped.ended.as_deref(), dropped.due_ms), (Some("dropped"), None));
    // What ends now is not delivered later either.
    canceled(&fixture).await;
    fixture.queue.switch_webhook("tenant", &hook, None).await.unwrap().unwrap();
    assert!(claim(&fixture).await.is_none());
    canceled(&fixture).await;
    assert!(fixture.queue.drop_webhook("tenant", &hook).await.unwrap());
    assert!(!fixture.queue.drop_webhook("tenant", &hook).await.unwrap());
    assert!(claim(&fixture).await.is_none());
}

#[tokio::test]
async fn an_old_secret_signs_for_a_day() {
    let fixture = Fixture::start().await;
    let hook = hook(&fixture, "tenant", &[State::Canceled]).await;
    let first = fixture.queue.webhooks("tenant").await.unwrap().remove(0).secret;
    let second = fixture.queue.rotate_webhook("tenant", &hook).await.unwrap().unwrap().secret;
    assert_ne!(first, second);
    canceled(&fixture).await;
    assert_eq!(claim(&fixture).await.unwrap().secrets, [second.clone(), first]);
    fixture.set_clock(Duration::from_secs(25 * 3600)).await;
    assert_eq!(claim(&fixture).await.unwrap().secrets, [second]);
}

#[tokio::test]
async fn a_tenant_has_a_bounded_number_of_endpoints() {
    let fixture = Fixture::start().await;
    for _ in 0..10 {
        hook(&fixture, "tenant", &[State::Failed]).await;
    }
    assert!(fixture.queue.add_webhook("tenant", URL, &[State::Failed]).await.unwrap().is_none());
    assert_eq!(fixture.queue.webhooks("tenant").await.unwrap().len(), 10);
    hook(&fixture, "another", &[State::Failed]).await;
}

#[tokio::test]
async fn the_address_that_a_job_names_itself_is_told_too_signed_with_the_tenants_secret() {
    let fixture = Fixture::start().await;
    hook(&fixture, "tenant", &[State::Canceled]).await;
    let mut own = bulk();
    own.webhook = Some("https://own.example/a b?c=d".into());
    let (tenant, shape) = ("tenant", WebhookShape::Prediction);
    let job = fixture.queue.submit(tenant, Submission { shape, ..(&own).into() }).await.unwrap().id;
    let default = fixture.queue.default_webhook("tenant").await.unwrap();
    fixture.queue.cancel(&job).await.unwrap();

    let (one, other) = (claim(&fixture).await.unwrap(), claim(&fixture).await.unwrap());
    assert!(claim(&fixture).await.is_none());
    let (named, endpoint) = if one.delivery.webhook == DEFAULT_WEBHOOK { (one, other) } else { (other, one) };
    assert_eq!((endpoint.url.as_str(), endpoint.shape), (URL, WebhookShape::Job));
    assert_eq!((Some(&named.url), named.shape), (own.webhook.as_ref(), WebhookShape::Prediction));
    assert_eq!(named.secrets, std::slice::from_ref(&default.secret));
    assert_eq!(named.delivery.message(), endpoint.delivery.message());

    // What is made from it again tells the same address.
    let again = fixture.queue.retry(&job).await.unwrap();
    let Some(uso_queue::Retried::As(again)) = again else { panic!("{again:?}") };
    fixture.queue.cancel(&again).await.unwrap();
    let sent = fixture.queue.deliveries("tenant", DEFAULT_WEBHOOK).await.unwrap();
    assert_eq!(sent.iter().map(|sent| sent.job).collect::<Vec<_>>(), [again, job]);
    assert!(sent.iter().all(|sent| sent.url == own.webhook));

    // It is not one of those that a tenant may have so many of, and has no address of its own.
    for _ in 1..10 {
        hook(&fixture, "tenant", &[State::Failed]).await;
    }
    assert_eq!((default.url.as_str(), default.events.len()), ("", 0));
    assert_eq!(fixture.queue.default_webhook("tenant").await.unwrap().secret, default.secret);
    assert_ne!(fixture.queue.default_webhook("another").await.unwrap().secret, default.secret);
}

/// Ends as many jobs of a tenant.
async fn ends(fixture: &Fixture, tenant: &str, jobs: usize, own: Option<&str>) {
    let mut spec = bulk();
    spec.webhook = own.map(str::to_owned);
    for some in vec![Submission::from(&spec); jobs].chunks(500) {
        for submitted in fixture.queue.submit_all(tenant, some).await.unwrap() {
            fixture.queue.cancel(&submitted.id).await.unwrap();
        }
    }
}

async fn claim_except(fixture: &Fixture, busy: &[&str]) -> Option<ClaimedDelivery> {
    fixture.queue.claim_delivery_except(0, busy).await.unwrap()
}

/// Says that an endpoint gave no answer at all.
async fn silence(fixture: &Fixture, claimed: &ClaimedDelivery) {
    let attempt =
        Attempt { at_ms: 0, status: None, error: Some("no answer in time".into()), took_ms: 15_000 };
    let next = Next::Again(Duration::from_secs(5));
    assert!(fixture.queue.settle_delivery(claimed, next, &attempt).await.unwrap());
}

#[tokio::test]
async fn a_thousand_deliveries_to_one_endpoint_are_not_in_the_way_of_anothers() {
    let fixture = Fixture::start().await;
    hook(&fixture, "black", &[State::Canceled]).await;
    hook(&fixture, "another", &[State::Canceled]).await;
    ends(&fixture, "black", 1000, None).await;
    let held = claim(&fixture).await.unwrap();
    assert_eq!(held.delivery.tenant, "black");
    // In the very next call, once the endpoint has its share.
    ends(&fixture, "another", 2, None).await;
    for _ in 0..2 {
        let other = claim_except(&fixture, &[&held.endpoint]).await.unwrap();
        assert_eq!(other.delivery.tenant, "another");
    }
    assert!(claim_except(&fixture, &[&held.endpoint]).await.is_none());
    assert!(claim_except(&fixture, &["black"]).await.is_none());
    assert_eq!(claim(&fixture).await.unwrap().delivery.tenant, "black");
}

#[tokio::test]
async fn endpoints_of_a_tenant_take_turns_and_a_host_that_jobs_name_is_one() {
    let fixture = Fixture::start().await;
    ends(&fixture, "tenant", 3, Some("https://Black.example/a?b=c")).await;
    ends(&fixture, "tenant", 3, Some("https://black.example/d")).await;
    ends(&fixture, "tenant", 1, Some("https://other.example/")).await;
    let (one, other) = (claim(&fixture).await.unwrap(), claim(&fixture).await.unwrap());
    let mut names = [one.endpoint, other.endpoint];
    names.sort_unstable();
    assert_eq!(names, ["tenant default black.example", "tenant default other.example"]);
    assert!(claim_except(&fixture, &[&names[0]]).await.is_none());
}

#[tokio::test]
async fn nothing_is_sent_for_a_while_to_an_endpoint_that_gives_no_answer() {
    let fixture = Fixture::start().await;
    hook(&fixture, "tenant", &[State::Canceled]).await;
    ends(&fixture, "tenant", 20, None).await;
    fixture.set_clock(Duration::ZERO).await;
    for _ in 0..4 {
        let claimed = claim(&fixture).await.unwrap();
        silence(&fixture, &claimed).await;
    }
    assert!(claim(&fixture).await.is_none(), "it is sent on");
    let mut clock = Duration::from_secs(29);
    fixture.move_clock(clock).await;
    assert!(claim(&fixture).await.is_none());
    // Then one shows whether it answers again; the pause is twice as long if it does not.
    clock += Duration::from_secs(2);
    fixture.move_clock(clock).await;
    let probe = claim(&fixture).await.unwrap();
    assert!(claim(&fixture).await.is_none(), "more than one is sent");
    silence(&fixture, &probe).await;
    clock += Duration::from_secs(59);
    fixture.move_clock(clock).await;
    assert!(claim(&fixture).await.is_none());
    clock += Duration::from_secs(2);
    fixture.move_clock(clock).await;
    let probe = claim(&fixture).await.unwrap();
    // Any answer is one.
    assert!(settle(&fixture, &probe, Next::Failed).await);
    assert!(claim(&fixture).await.is_some() && claim(&fixture).await.is_some());
}

#[tokio::test]
async fn an_endpoint_that_is_enabled_again_is_told_at_once() {
    let fixture = Fixture::start().await;
    let hook = hook(&fixture, "tenant", &[State::Canceled]).await;
    ends(&fixture, "tenant", 20, None).await;
    for _ in 0..4 {
        let claimed = claim(&fixture).await.unwrap();
        silence(&fixture, &claimed).await;
    }
    assert!(claim(&fixture).await.is_none(), "it is sent on");
    fixture.queue.switch_webhook("tenant", &hook, None).await.unwrap();
    assert!(claim(&fixture).await.is_some() && claim(&fixture).await.is_some());
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_gets_it() {
    let fixture = Fixture::start().await;
    hook(&fixture, "tenant", &[State::Canceled]).await;
    hook(&fixture, "another", &[State::Canceled]).await;
    ends(&fixture, "tenant", 3, None).await;
    fixture.set_clock(Duration::ZERO).await;
    let claimed = claim(&fixture).await.unwrap();
    assert!(settle(&fixture, &claimed, Next::Pause(Duration::from_secs(600))).await);
    assert!(claim(&fixture).await.is_none());
    // What ends meanwhile waits too, and nobody else does.
    ends(&fixture, "tenant", 1, None).await;
    ends(&fixture, "another", 1, None).await;
    assert_eq!(claim(&fixture).await.unwrap().delivery.tenant, "another");
    assert!(claim(&fixture).await.is_none());
    fixture.move_clock(Duration::from_secs(601)).await;
    let mut sent = 0;
    while let Some(claimed) = claim(&fixture).await {
        assert!(settle(&fixture, &claimed, Next::Delivered).await);
        sent += 1;
    }
    // That of the other was never settled, and is due again.
    assert_eq!(sent, 5);
}

#[tokio::test]
async fn what_a_process_of_the_version_before_wrote_and_what_it_asks_for_is_understood() {
    let fixture = Fixture::start().await;
    hook(&fixture, "tenant", &[State::Canceled]).await;
    ends(&fixture, "tenant", 2, None).await;
    let before = ["FCALL", "uso_1_delivery_claim", "1", "{uso:0}", "60000"];
    let claimed: Vec<redis::Value> = fixture.raw(&before).await.unwrap();
    let redis::Value::Array(delivery) = &claimed[0] else { panic!("{claimed:?}") };
    let redis::Value::BulkString(id) = &delivery[0] else { panic!("{delivery:?}") };
    let settle: &[&[u8]] = &[
        b"FCALL",
        b"uso_1_delivery_settle",
        b"1",
        b"{uso:0}",
        id,
        b"1",
        b"delivered",
        b"0",
        b"200",
        b"",
        b"7",
    ];
    assert_eq!(fixture.raw_bytes::<u32>(settle).await.unwrap(), 1);
    // It finds what waits at an endpoint where it looks for it.
    let due: u32 = fixture.raw(&["ZCARD", "{uso:0}:due"]).await.unwrap();
    assert_eq!(due, 1);
    assert!(claim(&fixture).await.is_some() && claim(&fixture).await.is_none());
}
