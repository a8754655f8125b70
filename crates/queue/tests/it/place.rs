//! Where waiting jobs stand.

use uso_queue::{Class, JobId, Limits, QueuePosition, Scope, Submission};

use crate::fixture::{Fixture, bulk, spec};

async fn submit(fixture: &Fixture, tenant: &str, class: Class, priority: i32) -> JobId {
    fixture.queue.submit(tenant, &spec(class, priority)).await.unwrap().id
}

async fn position(fixture: &Fixture, job: &JobId) -> Option<QueuePosition> {
    fixture.queue.position(&fixture.view(job).await).await.unwrap()
}

async fn ahead(fixture: &Fixture, job: &JobId) -> u64 {
    position(fixture, job).await.unwrap().ahead
}

#[tokio::test]
async fn what_comes_first_is_counted() {
    let fixture = Fixture::start().await;
    let first = submit(&fixture, "a", Class::Bulk, 0).await;
    let second = submit(&fixture, "a", Class::Bulk, 0).await;
    let high = submit(&fixture, "a", Class::Bulk, 5).await;
    let urgent = submit(&fixture, "a", Class::Interactive, 0).await;
    assert_eq!(ahead(&fixture, &first).await, 1);
    assert_eq!(ahead(&fixture, &second).await, 2);
    assert_eq!(ahead(&fixture, &high).await, 0);
    let of_urgent = position(&fixture, &urgent).await.unwrap();
    assert_eq!((of_urgent.ahead, of_urgent.interactive_waiting), (0, 1));
    let to_come = fixture.queue.position_of_new("a", Class::Bulk, 0).await.unwrap();
    assert_eq!((to_come.ahead, to_come.interactive_waiting), (3, 1));

    let lease = fixture.claim().await.unwrap();
    assert_eq!(lease.id, urgent);
    assert_eq!(position(&fixture, &urgent).await, None, "it runs");
    let of_second = position(&fixture, &second).await.unwrap();
    assert_eq!((of_second.interactive_waiting, of_second.interactive_running), (0, 1));
    assert_eq!((of_second.bulk_running, of_second.paused), (0, false));
}

#[tokio::test]
async fn the_steps_of_those_before_it_are_told() {
    let fixture = Fixture::start().await;
    let with_steps = |steps| {
        let mut job = spec(Class::Interactive, 0);
        job.steps = steps;
        job
    };
    assert_eq!(fixture.queue.position_of_new("a", Class::Interactive, 0).await.unwrap().steps, None);
    let mut jobs = Vec::new();
    for steps in [10, 40, 100] {
        jobs.push(fixture.queue.submit("a", &with_steps(steps)).await.unwrap().id);
    }
    assert_eq!(position(&fixture, &jobs[0]).await.unwrap().steps, None);
    assert_eq!(position(&fixture, &jobs[2]).await.unwrap().steps, Some(25.0));
    assert_eq!(fixture.queue.position_of_new("a", Class::Interactive, 0).await.unwrap().steps, Some(50.0));
    assert_eq!(
        fixture.queue.position_of_new("a", Class::Interactive, 1).await.unwrap().steps,
        None,
        "it overtakes all"
    );
    assert_eq!(fixture.queue.position_of_new("a", Class::Bulk, 0).await.unwrap().steps, None);
}

#[tokio::test]
async fn other_tenants_come_first_by_their_weights_and_by_what_they_have() {
    let fixture = Fixture::start().await;
    let heavy = Limits { weight: 3.0, ..Limits::default() };
    fixture.queue.set_limits("heavy", &heavy).await.unwrap();
    let spec = bulk();
    for (tenant, jobs) in [("heavy", 20), ("small", 2), ("own", 4)] {
        fixture.queue.submit_all(tenant, &vec![Submission::from(&spec); jobs]).await.unwrap();
    }
    let last = submit(&fixture, "own", Class::Bulk, 0).await;
    // 4 own ones, 12 of the heavy tenant meanwhile, and the 2 that the small one has.
    assert_eq!(ahead(&fixture, &last).await, 4 + 12 + 2);
}

#[tokio::test]
async fn a_pause_holds_up() {
    let fixture = Fixture::start().await;
    let job = submit(&fixture, "a", Class::Bulk, 0).await;
    for scope in [Scope::Class(Class::Bulk), Scope::Tenant("a")] {
        fixture.queue.set_paused(scope, true).await.unwrap();
        assert!(position(&fixture, &job).await.unwrap().paused);
        fixture.queue.set_paused(scope, false).await.unwrap();
        assert!(!position(&fixture, &job).await.unwrap().paused);
    }
}
