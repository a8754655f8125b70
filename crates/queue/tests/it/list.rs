//! Listing jobs that have something in common.

use std::collections::BTreeSet;

use uso_queue::{Class, Config, Error, JobId, JobPage, ListFilter, Queue, Rejection, State, Submission};

use crate::fixture::{Fixture, bulk, config, failure, job_key, output, spec};

/// All pages of a filter as one, and how many there were.
async fn all(queue: &Queue, mut filter: ListFilter) -> (Vec<JobId>, usize) {
    let (mut ids, mut pages) = (Vec::new(), 0);
    loop {
        let JobPage { jobs, unreadable, next } = queue.list(&filter).await.unwrap();
        assert_eq!(unreadable, []);
        ids.extend(jobs.iter().map(|job| job.id));
        pages += 1;
        filter.after = next;
        if next.is_none() {
            return (ids, pages);
        }
    }
}

async fn found(queue: &Queue, filter: ListFilter) -> BTreeSet<JobId> {
    all(queue, filter).await.0.into_iter().collect()
}

/// Submits `count` bulk jobs at once.
async fn submit(queue: &Queue, tenant: &str, count: usize) -> Vec<JobId> {
    let spec = bulk();
    let mut ids = Vec::new();
    for part in vec![Submission::from(&spec); count].chunks(1000) {
        ids.extend(queue.submit_all(tenant, part).await.unwrap().into_iter().map(|job| job.id));
    }
    ids
}

fn set(ids: &[JobId]) -> BTreeSet<JobId> {
    ids.iter().copied().collect()
}

#[tokio::test]
async fn every_job_of_every_shard_is_found_over_pages_of_bounded_size() {
    let fixture = Fixture::start().await;
    let queue =
        Queue::connect(Config { prefix: "many".into(), shards: 4, ..config(&fixture.redis) }).await.unwrap();
    let mut submitted = BTreeSet::new();
    for i in 0..12 {
        submitted.extend(submit(&queue, &format!("tenant-{i}"), 100).await);
    }
    assert!(submitted.iter().map(JobId::shard).collect::<BTreeSet<u16>>().len() > 1);
    let (ids, pages) = all(&queue, ListFilter { enough: 100, ..Default::default() }).await;
    assert_eq!(set(&ids), submitted);
    // A page may exceed what is enough by what one call finds; the last may be short.
    assert!((1200 / 400..=1200 / 100 + 1).contains(&pages), "{pages} pages");

    let first = queue.list(&ListFilter { enough: 1, ..Default::default() }).await.unwrap();
    assert!(first.jobs.len() < 400 && first.next.is_some(), "{} jobs", first.jobs.len());
    assert!(first.jobs.is_sorted_by_key(|job| job.id));
}

#[tokio::test]
async fn a_search_in_vain_comes_back_soon_and_can_go_on() {
    let fixture = Fixture::start().await;
    submit(&fixture.queue, "tenant", 12_000).await;
    let filter = ListFilter { state: Some(State::Failed), enough: 1, ..Default::default() };
    let page = fixture.queue.list(&filter).await.unwrap();
    assert!(page.jobs.is_empty() && page.next.is_some());
    let (ids, pages) = all(&fixture.queue, filter).await;
    assert!(ids.is_empty() && pages > 1);
    // A shorter way needs no search.
    let running = ListFilter { state: Some(State::Running), enough: 1, ..Default::default() };
    let _lease = fixture.claim().await.unwrap();
    let page = fixture.queue.list(&running).await.unwrap();
    assert!(page.jobs.len() == 1 && page.next.is_none());
}

#[tokio::test]
async fn each_state_finds_its_own() {
    let fixture = Fixture::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(fixture.submit(&bulk()).await);
    }
    let [succeeded, failed, running, canceled, queued] = ids[..] else { panic!() };
    fixture.claim().await.unwrap().complete(&output("a")).await.unwrap();
    fixture.claim().await.unwrap().fail(&failure(false)).await.unwrap();
    let lease = fixture.claim().await.unwrap();
    lease.progress(2, 9).await.unwrap();
    fixture.queue.cancel(&canceled).await.unwrap();
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    let mut late = bulk();
    late.start_by = Some(soon);
    let expired = fixture.submit(&late).await;
    fixture.set_clock(std::time::Duration::from_secs(61)).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    for (state, id) in [
        (State::Succeeded, succeeded),
        (State::Failed, failed),
        (State::Running, running),
        (State::Canceled, canceled),
        (State::Expired, expired),
        (State::Queued, queued),
    ] {
        let filter = ListFilter { state: Some(state), enough: 10, ..Default::default() };
        let jobs = fixture.queue.list(&filter).await.unwrap().jobs;
        assert_eq!(jobs.iter().map(|job| (job.id, job.state)).collect::<Vec<_>>(), [(id, state)]);
    }
    let filter = ListFilter { state: Some(State::Running), enough: 10, ..Default::default() };
    let view = &fixture.queue.list(&filter).await.unwrap().jobs[0];
    assert_eq!(
        serde_json::to_value(view).unwrap(),
        serde_json::to_value(fixture.view(&running).await).unwrap(),
        "a job is listed as it is shown"
    );
    assert_eq!((view.step, view.of, view.worker.as_deref()), (2, 9, Some(fixture.worker.as_str())));
}

#[tokio::test]
async fn tenant_class_and_batch_narrow_what_is_found_together() {
    let fixture = Fixture::start().await;
    let queue =
        Queue::connect(Config { prefix: "many".into(), shards: 3, ..config(&fixture.redis) }).await.unwrap();
    let ours = submit(&queue, "ours", 5).await;
    let theirs = submit(&queue, "theirs", 5).await;
    let urgent = queue.submit("ours", &spec(Class::Interactive, 0)).await.unwrap().id;
    let batch = queue.new_batch("ours").unwrap();
    let bulk = bulk();
    let job = Submission { batch: Some(batch), ..(&bulk).into() };
    let members = queue.submit_all("ours", &vec![job; 450]).await.unwrap();
    let members: Vec<JobId> = members.into_iter().map(|job| job.id).collect();
    queue.cancel(&members[0]).await.unwrap();
    let lease = queue.claim_one(&fixture.worker).await.unwrap().unwrap();

    let any = ListFilter { enough: 50, ..Default::default() };
    let of = |tenant: &str| ListFilter { tenant: Some(tenant.into()), ..any.clone() };
    assert_eq!(found(&queue, of("theirs")).await, set(&theirs));
    assert_eq!(found(&queue, of("ours")).await, set(&[&ours[..], &[urgent], &members].concat()));
    assert_eq!(found(&queue, of("nobody")).await, set(&[]));
    let nameless = queue.list(&of("")).await;
    assert!(matches!(nameless, Err(Error::Rejected(Rejection::TenantName))), "{nameless:?}");
    let interactive = ListFilter { class: Some(Class::Interactive), ..any.clone() };
    assert_eq!(found(&queue, interactive.clone()).await, set(&[urgent]));
    let running = ListFilter { state: Some(State::Running), ..any.clone() };
    assert_eq!(found(&queue, running.clone()).await, set(&[lease.id]));
    let of_batch = ListFilter { batch: Some(batch), ..any };
    assert_eq!(all(&queue, of_batch.clone()).await.0, members, "once each, in order");
    for (narrow, expected) in [
        (ListFilter { state: Some(State::Canceled), ..of_batch.clone() }, set(&members[..1])),
        (ListFilter { state: Some(State::Running), ..of_batch.clone() }, set(&[])),
        (ListFilter { class: Some(Class::Interactive), ..of_batch.clone() }, set(&[])),
        (ListFilter { tenant: Some("theirs".into()), ..of_batch }, set(&[])),
        (ListFilter { tenant: Some("theirs".into()), ..running }, set(&[])),
        (ListFilter { tenant: Some("theirs".into()), ..interactive }, set(&[])),
    ] {
        let found = found(&queue, narrow.clone()).await;
        assert_eq!(found, expected, "{narrow:?}");
    }
}

#[tokio::test]
async fn records_that_cannot_be_read_are_named_and_hide_no_others() {
    let fixture = Fixture::start().await;
    let ids = submit(&fixture.queue, "tenant", 4).await;
    fixture.raw_bytes::<redis::Value>(&[b"SET", &job_key(&ids[0]), b"rubbish"]).await.unwrap();
    fixture.raw_bytes::<redis::Value>(&[b"DEL", &job_key(&ids[1])]).await.unwrap();
    fixture.raw::<redis::Value>(&["SET", "{uso:0}:j:not-a-job", "rubbish"]).await.unwrap();
    let page = fixture.queue.list(&ListFilter { enough: 10, ..Default::default() }).await.unwrap();
    assert_eq!(page.unreadable, ids[..1]);
    assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), ids[2..]);
}

#[tokio::test]
async fn jobs_that_stay_are_found_while_others_come_and_go() {
    let fixture = Fixture::start().await;
    let stay = set(&submit(&fixture.queue, "tenant", 3000).await);
    let mut filter = ListFilter { enough: 300, ..Default::default() };
    let mut seen = BTreeSet::new();
    loop {
        let page = fixture.queue.list(&filter).await.unwrap();
        seen.extend(page.jobs.iter().map(|job| job.id));
        let Some(next) = page.next else { break };
        filter.after = Some(next);
        let keys: Vec<_> = submit(&fixture.queue, "tenant", 1000).await.iter().map(job_key).collect();
        let del: Vec<&[u8]> = [&b"DEL"[..]].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
        fixture.raw_bytes::<redis::Value>(&del).await.unwrap();
    }
    assert!(seen.is_superset(&stay));
}
