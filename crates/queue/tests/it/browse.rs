//! A tenant's jobs, the newest first.

use std::time::{Duration, Instant};

use uso_queue::{BatchOperation, Class, JobId, JobPage, ListFilter, Queue, State, Submission};

use crate::fixture::{Fixture, bulk, failure, job_key, output, spec};

fn wanted(tenant: &str, enough: usize) -> ListFilter {
    ListFilter { tenant: Some(tenant.into()), enough, ..ListFilter::default() }
}

/// All pages as one; each but the last is full.
async fn all(queue: &Queue, mut filter: ListFilter) -> Vec<JobId> {
    let mut ids = Vec::new();
    loop {
        let JobPage { jobs, unreadable, next } = queue.list(&filter).await.unwrap();
        assert_eq!(unreadable, []);
        assert!(jobs.len() == filter.enough || next.is_none(), "{} jobs, next {next:?}", jobs.len());
        ids.extend(jobs.iter().map(|job| job.id));
        let Some(next) = next else { return ids };
        filter.after = Some(next.to_string().parse().unwrap());
    }
}

async fn submit(queue: &Queue, tenant: &str, count: usize) -> Vec<JobId> {
    let spec = bulk();
    let mut ids = Vec::new();
    for part in vec![Submission::from(&spec); count].chunks(1000) {
        ids.extend(queue.submit_all(tenant, part).await.unwrap().into_iter().map(|job| job.id));
    }
    ids
}

fn newest_first(ids: &[JobId]) -> Vec<JobId> {
    ids.iter().rev().copied().collect()
}

#[tokio::test]
async fn the_newest_job_comes_first_and_each_filter_leaves_the_others_out() {
    let fixture = Fixture::start().await;
    let queue = &fixture.queue;
    let ours = submit(queue, "ours", 450).await;
    let theirs = submit(queue, "theirs", 3).await;
    let urgent = queue.submit("ours", &spec(Class::Interactive, 0)).await.unwrap().id;
    let everything = newest_first(&[&ours[..], &[urgent]].concat());
    assert_eq!(all(queue, wanted("ours", 100)).await, everything);
    assert_eq!(all(queue, wanted("ours", 7)).await, everything);
    assert_eq!(all(queue, wanted("theirs", 100)).await, newest_first(&theirs));
    assert_eq!(all(queue, wanted("nobody", 100)).await, []);

    let first = fixture.claim().await.unwrap();
    first.complete(&output("a")).await.unwrap();
    let second = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    second.fail(&failure(false)).await.unwrap();
    let held = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    let also = queue.claim_one(&fixture.worker).await.unwrap().unwrap();
    queue.cancel(&ours[449]).await.unwrap();
    let mut states = vec![(State::Canceled, vec![ours[449]]), (State::Expired, vec![])];
    for (lease, state) in [
        (&first, State::Succeeded),
        (&second, State::Failed),
        (&held, State::Running),
        (&also, State::Running),
    ] {
        let tenant = queue.view(&lease.id).await.unwrap().unwrap().tenant;
        if tenant == "ours" {
            states.push((state, vec![lease.id]));
        }
    }
    let running: Vec<JobId> = states
        .iter()
        .filter(|(state, _)| *state == State::Running)
        .flat_map(|(_, ids)| ids.clone())
        .collect();
    let ended: usize = states.iter().map(|(_, ids)| ids.len()).sum();
    for (state, ids) in states.into_iter().filter(|(state, _)| *state != State::Running) {
        let some = ListFilter { state: Some(state), ..wanted("ours", 1) };
        assert_eq!(all(queue, some).await, ids, "{state:?}");
    }
    let some = ListFilter { state: Some(State::Running), ..wanted("ours", 1) };
    assert_eq!(all(queue, some).await.len(), running.len());
    let waiting = ListFilter { state: Some(State::Queued), ..wanted("ours", 100) };
    assert_eq!(all(queue, waiting).await.len(), 451 - ended);
    let interactive = ListFilter { class: Some(Class::Interactive), ..wanted("ours", 100) };
    assert_eq!(all(queue, interactive).await, [urgent]);
}

#[tokio::test]
async fn running_jobs_are_found_by_their_leases_a_page_at_a_time() {
    let fixture = Fixture::start().await;
    submit(&fixture.queue, "tenant", 30).await;
    let mut running = Vec::new();
    for _ in 0..12 {
        running.push(fixture.claim().await.unwrap().id);
    }
    for enough in [1, 5, 12, 100] {
        let some = ListFilter { state: Some(State::Running), ..wanted("tenant", enough) };
        assert_eq!(all(&fixture.queue, some).await, newest_first(&running), "{enough}");
    }
    let none =
        ListFilter { state: Some(State::Running), class: Some(Class::Interactive), ..wanted("tenant", 9) };
    assert_eq!(all(&fixture.queue, none).await, []);
    let others = ListFilter { state: Some(State::Running), ..wanted("tenan", 9) };
    assert_eq!(all(&fixture.queue, others).await, []);
}

#[tokio::test]
async fn the_jobs_of_a_batch_are_found_newest_first() {
    let fixture = Fixture::start().await;
    let batch = fixture.queue.new_batch("tenant").unwrap();
    let spec = bulk();
    let job = Submission { batch: Some(batch), ..(&spec).into() };
    let members = fixture.queue.submit_all("tenant", &vec![job; 30]).await.unwrap();
    let members: Vec<JobId> = members.iter().map(|job| job.id).collect();
    submit(&fixture.queue, "tenant", 30).await;
    let held = fixture.claim().await.unwrap().id;
    let of = |tenant: &str| ListFilter { batch: Some(batch), ..wanted(tenant, 7) };
    assert_eq!(all(&fixture.queue, of("tenant")).await, newest_first(&members));
    let running = ListFilter { state: Some(State::Running), ..of("tenant") };
    assert_eq!(all(&fixture.queue, running).await, [held]);
    assert_eq!(all(&fixture.queue, of("another")).await, []);
}

#[tokio::test]
async fn pages_stay_in_step_while_jobs_come_and_go() {
    let fixture = Fixture::start().await;
    let ids = submit(&fixture.queue, "tenant", 3000).await;
    let first = fixture.queue.list(&wanted("tenant", 1000)).await.unwrap();
    // The oldest go, as they do when their time is over; each new one lets two go.
    forget(&fixture, &ids[..900]).await;
    submit(&fixture.queue, "tenant", 300).await;
    let key = "{uso:0}:all:tenant";
    assert_eq!(fixture.raw::<u64>(&["LLEN", key]).await.unwrap(), 3300 - 600);
    let rest = ListFilter { after: first.next, ..wanted("tenant", 1000) };
    let rest = all(&fixture.queue, rest).await;
    assert_eq!(rest, newest_first(&ids[900..2000]));
}

#[tokio::test]
async fn the_list_of_a_tenant_who_has_left_is_cleared_by_the_reaper() {
    let fixture = Fixture::start().await;
    let ids = submit(&fixture.queue, "tenant", 30).await;
    forget(&fixture, &ids).await;
    for minutes in 1..=2 {
        fixture.set_clock(Duration::from_secs(61 * minutes)).await;
        fixture.queue.reap(&fixture.worker).await.unwrap();
    }
    let left: (u64, u64) = (
        fixture.raw(&["EXISTS", "{uso:0}:all:tenant"]).await.unwrap(),
        fixture.raw(&["EXISTS", "{uso:0}:shed"]).await.unwrap(),
    );
    assert_eq!(left, (0, 0));
}

#[tokio::test]
async fn a_page_among_ten_thousand_ended_jobs_comes_at_once() {
    let fixture = Fixture::start().await;
    let waits = fixture.submit(&spec(Class::Bulk, -1)).await;
    let failed = fixture.submit(&bulk()).await;
    fixture.claim().await.unwrap().fail(&failure(false)).await.unwrap();
    let batch = fixture.queue.new_batch("tenant").unwrap();
    let spec = bulk();
    let job = Submission { batch: Some(batch), ..(&spec).into() };
    for _ in 0..10 {
        fixture.queue.submit_all("tenant", &vec![job; 1000]).await.unwrap();
    }
    fixture.queue.control_batch(&batch, BatchOperation::Cancel).await.unwrap();
    let rare = [(State::Failed, failed), (State::Queued, waits)];
    for (state, id) in rare {
        let begun = Instant::now();
        let page =
            fixture.queue.list(&ListFilter { state: Some(state), ..wanted("tenant", 20) }).await.unwrap();
        let took = begun.elapsed();
        eprintln!("the one job that has {state:?} behind 10,000 others: {took:?}");
        assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id]);
        // Much more than it takes, for a machine that has other things to do.
        assert!(took < Duration::from_millis(500), "{state:?} took {took:?}");
    }
    let begun = Instant::now();
    let page = fixture.queue.list(&wanted("tenant", 100)).await.unwrap();
    eprintln!("the first hundred of 10,000: {:?}", begun.elapsed());
    assert_eq!(page.jobs.len(), 100);
    assert!(begun.elapsed() < Duration::from_millis(200));
}

/// Removes records as if their time were over.
async fn forget(fixture: &Fixture, ids: &[JobId]) {
    let keys: Vec<_> = ids.iter().map(job_key).collect();
    let del: Vec<&[u8]> = [&b"DEL"[..]].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
    fixture.raw_bytes::<redis::Value>(&del).await.unwrap();
}
