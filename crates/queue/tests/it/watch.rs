//! What watchers and workers tell one another.

use std::time::Duration;

use uso_queue::{Class, EventKind, JobId, State, WorkerId, WorkerReport, WorkerState};

use crate::fixture::{Fixture, bulk, bytes, events, output, spec};

fn watched_key(id: &JobId) -> Vec<u8> {
    [b"{uso:0}:watched:", &bytes(id)[..]].concat()
}

async fn is_watched(fixture: &Fixture, id: &JobId) -> bool {
    fixture.raw_bytes::<bool>(&[b"EXISTS", &watched_key(id)]).await.unwrap()
}

#[tokio::test]
async fn a_worker_learns_with_its_next_step_that_somebody_watches() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    let other = fixture.submit(&bulk()).await;
    // Whoever watches may have come before the worker.
    fixture.queue.watch(&id).await.unwrap();
    let (lease, unwatched) = (fixture.claim().await.unwrap(), fixture.claim().await.unwrap());
    assert_eq!((lease.id, unwatched.id), (id, other));
    assert!(lease.progress(1, 9).await.unwrap());
    assert!(!unwatched.progress(1, 9).await.unwrap());
    let left: i64 = fixture.raw_bytes(&[b"PTTL", &watched_key(&id)]).await.unwrap();
    assert!((25_000..=30_000).contains(&left), "{left}");
    fixture.raw_bytes::<u64>(&[b"DEL", &watched_key(&id)]).await.unwrap();
    assert!(!lease.progress(2, 9).await.unwrap());
    fixture.queue.watch(&id).await.unwrap();
    assert!(lease.progress(3, 9).await.unwrap());
}

#[tokio::test]
async fn nobody_watches_what_has_ended_or_never_was() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&bulk()).await;
    fixture.claim().await.unwrap().complete(&output("a")).await.unwrap();
    let unknown: JobId = "0-0198a0b0-0000-7000-8000-000000000000".parse().unwrap();
    for id in [id, unknown] {
        fixture.queue.watch(&id).await.unwrap();
        assert!(!is_watched(&fixture, &id).await, "{id}");
    }
}

#[tokio::test]
async fn a_job_that_is_set_aside_runs_all_the_while_and_events_say_so() {
    let fixture = Fixture::start().await;
    let mut tail = fixture.queue.tail(0, None).await.unwrap();
    let id = fixture.submit(&bulk()).await;
    let lease = fixture.claim().await.unwrap();
    // Also before its first step.
    lease.set_aside().await.unwrap();
    assert_eq!(fixture.view(&id).await.state, State::Running);
    lease.resumed().await.unwrap();
    lease.progress(3, 9).await.unwrap();
    lease.set_aside().await.unwrap();
    let view = fixture.view(&id).await;
    assert_eq!((view.state, view.step, view.of, view.version), (State::Running, 3, 9, 6));
    let seen = events(&mut tail, 6).await;
    let names: Vec<_> = seen.iter().map(uso_queue::JobEvent::name).collect();
    assert_eq!(names, ["queued", "started", "set_aside", "resumed", "progress", "set_aside"]);
    assert_eq!((&seen[2].kind, &seen[3].kind), (&EventKind::SetAside, &EventKind::Resumed));
    assert_eq!(view.last_event, seen[5].id);
    assert!(seen.iter().all(|event| !event.is_terminal()));
}

#[tokio::test]
async fn a_worker_that_falls_silent_is_not_there() {
    let fixture = Fixture::start().await;
    let job = fixture.submit(&bulk()).await;
    let report = WorkerReport {
        state: WorkerState::WaitingForStore,
        jobs: vec![job],
        step_ms: Some(250.5),
        free_memory: Some(1 << 34),
        cache_hit_rate: Some(0.75),
        ..WorkerReport::default()
    };
    fixture.queue.register(&fixture.worker, &report).await.unwrap();
    fixture.set_clock(Duration::from_secs(32)).await;
    let other = WorkerId::new();
    fixture.queue.register(&other, &report).await.unwrap();
    let workers = fixture.queue.workers().await.unwrap();
    assert_eq!(workers.len(), 1);
    assert_eq!((workers[0].0.as_str(), &workers[0].2), (other.as_str(), &report));
}

#[tokio::test]
async fn whoever_follows_a_tenant_watches_its_interactive_jobs() {
    let fixture = Fixture::start().await;
    for class in Class::ALL {
        fixture.submit(&spec(class, 0)).await;
        fixture.queue.submit("another", &spec(class, 0)).await.unwrap();
    }
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(fixture.claim().await.unwrap());
    }
    fixture.queue.watch_tenant("tenant").await.unwrap();
    for lease in &leases {
        let tenant = fixture.view(&lease.id).await.tenant;
        let expected = tenant == "tenant" && lease.class() == Class::Interactive;
        assert_eq!(lease.progress(1, 9).await.unwrap(), expected, "{tenant} {:?}", lease.class());
    }
    let left: i64 = fixture.raw(&["PTTL", "{uso:0}:watching:tenant"]).await.unwrap();
    assert!((25_000..=30_000).contains(&left), "{left}");
}
