//! Who gets how much of the fleet.

use std::collections::BTreeMap;

use uso_queue::{Blocked, Claim, Class, Limits, Scope, Submission, WorkerReport};

use crate::fixture::{Fixture, bulk, output, spec};

async fn fill(fixture: &Fixture, tenant: &str, class: Class, count: usize) {
    let spec = spec(class, 0);
    fixture.queue.submit_all(tenant, &vec![Submission::from(&spec); count]).await.unwrap();
}

/// Claims and completes `count` jobs; gives whose they were.
async fn serve(fixture: &Fixture, count: usize) -> Vec<String> {
    let mut served = Vec::new();
    for _ in 0..count {
        let Some(lease) = fixture.claim().await else { break };
        served.push(lease.tenant.clone());
        lease.complete(&output("a")).await.unwrap();
    }
    served
}

fn weight(weight: f64) -> Limits {
    Limits { weight, ..Limits::default() }
}

#[tokio::test]
async fn tenants_share_by_weight_over_any_hundred_claims() {
    let fixture = Fixture::start().await;
    fixture.queue.set_limits("heavy", &weight(3.0)).await.unwrap();
    fixture.queue.set_limits("odd", &weight(1.5)).await.unwrap();
    for tenant in ["light", "heavy", "odd"] {
        fill(&fixture, tenant, Class::Bulk, 400).await;
    }
    let served = serve(&fixture, 500).await;
    for window in served.windows(100) {
        let mut shares = BTreeMap::new();
        for tenant in window {
            *shares.entry(tenant.as_str()).or_insert(0) += 1;
        }
        for (tenant, weight) in [("light", 1.0), ("heavy", 3.0), ("odd", 1.5)] {
            let expected = 100.0 * weight / 5.5;
            assert!((f64::from(shares[tenant]) - expected).abs() <= 5.0, "{shares:?}");
        }
    }
}

#[tokio::test]
async fn a_flood_of_one_tenant_does_not_hold_up_another() {
    let fixture = Fixture::start().await;
    fill(&fixture, "flood", Class::Bulk, 1000).await;
    serve(&fixture, 50).await;
    fill(&fixture, "guest", Class::Bulk, 2).await;
    assert!(serve(&fixture, 4).await.iter().filter(|tenant| *tenant == "guest").count() == 2);
}

#[tokio::test]
async fn leaving_and_coming_back_gains_nothing() {
    let fixture = Fixture::start().await;
    fill(&fixture, "steady", Class::Bulk, 500).await;
    let mut sly = 0;
    for _ in 0..100 {
        // Always one job at a time, always anew.
        fill(&fixture, "sly", Class::Bulk, 1).await;
        sly += serve(&fixture, 2).await.iter().filter(|tenant| *tenant == "sly").count();
    }
    assert!(sly <= 101, "{sly}");

    // Nor does a tenant catch up on the time in which it asked for nothing.
    serve(&fixture, 100).await;
    fill(&fixture, "late", Class::Bulk, 100).await;
    let late = serve(&fixture, 40).await.iter().filter(|tenant| *tenant == "late").count();
    assert!((19..=21).contains(&late), "{late}");
}

#[tokio::test]
async fn bulk_gets_one_claim_in_twenty_under_an_endless_interactive_flood() {
    let fixture = Fixture::start().await;
    fill(&fixture, "web", Class::Interactive, 400).await;
    fill(&fixture, "night", Class::Bulk, 400).await;
    let served = serve(&fixture, 200).await;
    for window in served.windows(20) {
        assert_eq!(window.iter().filter(|tenant| *tenant == "night").count(), 1, "{window:?}");
    }
}

#[tokio::test]
async fn without_waiting_bulk_work_no_claim_is_kept_for_it() {
    let fixture = Fixture::start().await;
    fill(&fixture, "web", Class::Interactive, 100).await;
    serve(&fixture, 60).await;
    fill(&fixture, "night", Class::Bulk, 10).await;
    // The flood before it does not count against interactive work.
    assert!(serve(&fixture, 19).await.iter().all(|tenant| tenant == "web"));
}

#[tokio::test]
async fn a_tenant_runs_no_more_than_it_may_and_others_go_on() {
    let fixture = Fixture::start().await;
    let limits = Limits { max_running: Some(2), ..Limits::default() };
    fixture.queue.set_limits("small", &limits).await.unwrap();
    fill(&fixture, "small", Class::Bulk, 10).await;
    fill(&fixture, "small", Class::Interactive, 10).await;
    fill(&fixture, "other", Class::Bulk, 3).await;
    let mut held = Vec::new();
    while let Some(lease) = fixture.claim().await {
        held.push(lease);
    }
    let tenants: Vec<&str> = held.iter().map(|lease| lease.tenant.as_str()).collect();
    assert_eq!(tenants, ["small", "small", "other", "other", "other"]);
    held.remove(0).complete(&output("a")).await.unwrap();
    assert_eq!(fixture.claim().await.unwrap().tenant, "small");
    assert!(fixture.claim().await.is_none());
    held.remove(0).release().await.unwrap();
    assert_eq!(fixture.claim().await.unwrap().tenant, "small");
    assert!(fixture.claim().await.is_none());
    fixture.queue.set_limits("small", &Limits::default()).await.unwrap();
    assert_eq!(fixture.claim().await.unwrap().tenant, "small");
}

#[tokio::test]
async fn a_paused_tenant_or_class_waits_until_it_may_go_on() {
    let fixture = Fixture::start().await;
    fill(&fixture, "a", Class::Bulk, 2).await;
    fill(&fixture, "b", Class::Bulk, 1).await;
    fixture.queue.set_paused(Scope::Tenant("a"), true).await.unwrap();
    assert_eq!(serve(&fixture, 9).await, ["b"]);
    fill(&fixture, "a", Class::Bulk, 1).await;
    assert!(fixture.claim().await.is_none());
    assert!(fixture.queue.tenants().await.unwrap().iter().any(|tenant| tenant.name == "a" && tenant.paused));
    fixture.queue.set_paused(Scope::Tenant("a"), false).await.unwrap();
    assert_eq!(serve(&fixture, 2).await, ["a", "a"]);
    fixture.queue.set_paused(Scope::Class(Class::Bulk), true).await.unwrap();
    fill(&fixture, "a", Class::Interactive, 1).await;
    assert_eq!(serve(&fixture, 9).await.len(), 1);
    assert!(fixture.queue.stats().await.unwrap().bulk.paused);
    fixture.queue.set_paused(Scope::Class(Class::Bulk), false).await.unwrap();
    assert_eq!(serve(&fixture, 9).await.len(), 1);
}

#[tokio::test]
async fn a_job_too_big_for_one_worker_goes_to_a_larger_one_and_holds_up_nobody() {
    let fixture = Fixture::start().await;
    let attend = async |capacity| {
        let report = WorkerReport { capacity: Some(capacity), ..WorkerReport::default() };
        fixture.queue.register(&fixture.worker, &report).await.unwrap();
    };
    let claim = async |capacity| {
        let claim = Claim { capacity: Some(capacity), ..Claim::one(&fixture.worker) };
        fixture.queue.claim(&claim).await.unwrap().pop()
    };
    attend(24).await;
    let big = fixture.submit(&bulk()).await;
    let next = fixture.submit(&bulk()).await;
    claim(24).await.unwrap().release_too_big(40).await.unwrap();
    assert_eq!(claim(24).await.unwrap().id, next, "it is not offered to the same worker again");
    assert!(claim(24).await.is_none());
    let view = fixture.view(&big).await;
    assert_eq!((view.attempt, view.blocked), (0, Some(Blocked::Memory { need: 40, best: 24 })));
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.too_big, 1);
    attend(80).await;
    assert_eq!(fixture.view(&big).await.blocked, None, "there is a worker that fits it");
    let lease = claim(80).await.unwrap();
    assert_eq!((lease.id, lease.attempt), (big, 1));
}

#[tokio::test]
async fn a_worker_may_want_no_job_of_a_tenant() {
    let fixture = Fixture::start().await;
    fill(&fixture, "slow", Class::Bulk, 3).await;
    fill(&fixture, "other", Class::Bulk, 3).await;
    let without = async |tenants: &[&str]| {
        let tenants: Vec<String> = tenants.iter().map(|&tenant| tenant.into()).collect();
        let claim = Claim { without: &tenants, ..Claim::one(&fixture.worker) };
        let lease = fixture.queue.claim(&claim).await.unwrap().pop()?;
        let tenant = lease.tenant.clone();
        lease.complete(&output("a")).await.unwrap();
        Some(tenant)
    };
    assert_eq!(without(&["slow", "other"]).await, None);
    for _ in 0..2 {
        assert_eq!(without(&["slow"]).await.as_deref(), Some("other"));
    }
    let rest = serve(&fixture, 9).await;
    assert_eq!(rest.iter().filter(|tenant| *tenant == "slow").count(), 3, "nothing is lost");
    assert!(rest[..2].contains(&"other".to_owned()), "what it was passed over for is not made up: {rest:?}");
}

#[tokio::test]
async fn several_jobs_are_claimed_in_one_call() {
    let fixture = Fixture::start().await;
    fill(&fixture, "web", Class::Interactive, 2).await;
    fill(&fixture, "night", Class::Bulk, 5).await;
    let claim = Claim { count: 4, ..Claim::one(&fixture.worker) };
    let leases = fixture.queue.claim(&claim).await.unwrap();
    let tenants: Vec<&str> = leases.iter().map(|lease| lease.tenant.as_str()).collect();
    assert_eq!(tenants, ["web", "web", "night", "night"]);
    assert_eq!(fixture.queue.claim(&claim).await.unwrap().len(), 3);
    for lease in &leases {
        lease.complete(&output("a")).await.unwrap();
    }
    assert_eq!(fixture.queue.stats().await.unwrap().bulk.running, 3);
}
