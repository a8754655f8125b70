//! Jobs with LoRAs: only workers that have them take them.

use std::time::Duration;

use serde_json::json;
use uso_queue::{
    Blocked, Claim, Class, Defaults, Gate, JobId, JobSpec, Lease, Limits, Scorer, State, WorkerId,
    WorkerLora, WorkerReport,
};

use crate::fixture::{Fixture, bulk, output};

fn asking(class: Class, priority: i32, names: &[&str]) -> JobSpec {
    let loras: Vec<_> = names.iter().map(|name| json!({ "name": name, "weight": 0.5 })).collect();
    let body = json!({ "prompt": "\"loras\":[", "class": class, "priority": priority, "loras": loras });
    JobSpec::parse(&body, &Defaults::default()).unwrap()
}

pub(crate) fn with(names: &[&str]) -> JobSpec {
    asking(Class::Bulk, 0, names)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A worker and what it has.
struct Worker<'a> {
    fixture: &'a Fixture,
    id: WorkerId,
    loras: Vec<String>,
    capacity: Option<u64>,
}

impl<'a> Worker<'a> {
    fn new(fixture: &'a Fixture, names: &[&str]) -> Self {
        Self { fixture, id: WorkerId::new(), loras: owned(names), capacity: None }
    }

    async fn register(&self) {
        let lora = |name: &String| WorkerLora { name: name.clone(), digest: "00".into() };
        let loras = self.loras.iter().map(lora).collect();
        let report = WorkerReport { loras, ..WorkerReport::default() };
        self.fixture.queue.register(&self.id, &report).await.unwrap();
    }

    async fn claim(&self) -> Option<Lease> {
        let claim = Claim { loras: &self.loras, capacity: self.capacity, ..Claim::one(&self.id) };
        self.fixture.queue.claim(&claim).await.unwrap().pop()
    }

    async fn claimed(&self) -> Option<JobId> {
        Some(self.claim().await?.id)
    }
}

async fn blocked(fixture: &Fixture, id: &JobId) -> Option<Vec<String>> {
    match fixture.view(id).await.blocked? {
        Blocked::Loras { loras } => Some(loras),
        other => panic!("{other:?}"),
    }
}

async fn assert_sound(fixture: &Fixture) {
    assert_eq!(fixture.queue.audit().await.unwrap().faults, []);
}

#[tokio::test]
async fn a_job_goes_to_a_worker_that_has_its_loras_and_holds_up_nobody() {
    let fixture = Fixture::start().await;
    let (plain, able) = (Worker::new(&fixture, &["oil"]), Worker::new(&fixture, &["oil", "ink"]));
    let first = fixture.submit(&with(&["ink"])).await;
    let next = fixture.submit(&bulk()).await;
    let oil = fixture.submit(&with(&["oil"])).await;
    assert_eq!(plain.claimed().await, Some(next), "the one in front of it was not left to others");
    assert_eq!(plain.claimed().await, Some(oil));
    assert_eq!(plain.claimed().await, None);
    assert_sound(&fixture).await;
    let lease = able.claim().await.unwrap();
    assert_eq!((lease.id, lease.attempt, lease.spec.loras.len()), (first, 1, 1));
    lease.complete(&output("a")).await.unwrap();
    assert_eq!(able.claimed().await, None);
    assert_sound(&fixture).await;
}

#[tokio::test]
async fn all_of_its_loras_must_be_in_one_place() {
    let fixture = Fixture::start().await;
    let halves = [Worker::new(&fixture, &["ink"]), Worker::new(&fixture, &["oil"])];
    let id = fixture.submit(&with(&["ink", "oil"])).await;
    for worker in halves.iter().chain(&halves) {
        assert_eq!(worker.claimed().await, None);
        worker.register().await;
    }
    assert_eq!(blocked(&fixture, &id).await.unwrap().len(), 1, "one is missing with either");
    assert_sound(&fixture).await;
    assert_eq!(Worker::new(&fixture, &["oil", "wax", "ink"]).claimed().await, Some(id));
}

#[tokio::test]
async fn a_job_whose_loras_no_live_worker_has_is_blocked_and_names_them() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&with(&["ink", "oil"])).await;
    assert_eq!(blocked(&fixture, &id).await, Some(owned(&["ink", "oil"])), "there is no worker at all");
    Worker::new(&fixture, &["ink"]).register().await;
    Worker::new(&fixture, &[]).register().await;
    assert_eq!(blocked(&fixture, &id).await, Some(owned(&["oil"])));
    let able = Worker::new(&fixture, &["oil", "ink"]);
    able.register().await;
    assert_eq!(blocked(&fixture, &id).await, None);
    let plain = fixture.submit(&bulk()).await;
    assert_eq!(fixture.view(&plain).await.blocked, None);
    fixture.queue.deregister(&able.id).await.unwrap();
    assert_eq!(blocked(&fixture, &id).await, Some(owned(&["oil"])));
    let lease = able.claim().await.unwrap();
    assert_eq!((lease.id, blocked(&fixture, &id).await), (id, None), "it runs");
}

#[tokio::test]
async fn those_laid_aside_keep_their_order_of_priority_and_age() {
    let fixture = Fixture::start().await;
    let mut jobs = Vec::new();
    for (priority, name) in [(0, "ink"), (0, "oil"), (5, "ink"), (-5, "oil")] {
        jobs.push(fixture.submit(&asking(Class::Bulk, priority, &[name])).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(fixture.claim().await.map(|lease| lease.id), None);
    let able = Worker::new(&fixture, &["oil", "ink"]);
    for expected in [jobs[2], jobs[0], jobs[1], jobs[3]] {
        assert_eq!(able.claimed().await, Some(expected));
    }
    assert_sound(&fixture).await;
}

#[tokio::test]
async fn one_that_is_laid_aside_can_be_canceled_or_expire() {
    let fixture = Fixture::start().await;
    let canceled = fixture.submit(&with(&["ink"])).await;
    let mut late = with(&["ink"]);
    late.start_by = Some(jiff::Timestamp::now() + Duration::from_secs(3600));
    let late = fixture.submit(&late).await;
    assert!(fixture.claim().await.is_none());
    fixture.queue.cancel(&canceled).await.unwrap();
    assert_sound(&fixture).await;
    fixture.set_clock(Duration::from_secs(7200)).await;
    fixture.queue.reap(&fixture.worker).await.unwrap();
    assert_eq!(fixture.view(&canceled).await.state, State::Canceled);
    assert_eq!(fixture.view(&late).await.state, State::Expired);
    assert_eq!(Worker::new(&fixture, &["ink"]).claimed().await, None);
    assert_sound(&fixture).await;
}

#[tokio::test]
async fn a_job_that_comes_back_is_left_to_others_again() {
    let fixture = Fixture::start().await;
    let able = Worker::new(&fixture, &["ink"]);
    let id = fixture.submit(&with(&["ink"])).await;
    for _ in 0..2 {
        assert!(fixture.claim().await.is_none());
        able.claim().await.unwrap().release().await.unwrap();
    }
    assert_eq!(fixture.view(&id).await.attempt, 0);
    assert_sound(&fixture).await;
}

#[tokio::test]
async fn size_and_loras_must_both_fit() {
    let fixture = Fixture::start().await;
    let sized =
        |names: &[&str], capacity| Worker { capacity: Some(capacity), ..Worker::new(&fixture, names) };
    let (small, large, both) = (sized(&["ink"], 24), sized(&[], 80), sized(&["ink"], 80));
    let id = fixture.submit(&with(&["ink"])).await;
    small.claim().await.unwrap().release_too_big(40).await.unwrap();
    for _ in 0..3 {
        assert_eq!(large.claimed().await, None, "it lacks the LoRA");
        assert_sound(&fixture).await;
        assert_eq!(small.claimed().await, None, "it has no room");
        assert_sound(&fixture).await;
    }
    assert_eq!(both.claimed().await, Some(id));
}

#[tokio::test]
async fn a_tenant_at_its_limit_gets_no_more_by_its_loras() {
    let fixture = Fixture::start().await;
    let limits = Limits { max_running: Some(1), ..Limits::default() };
    fixture.queue.set_limits("tenant", &limits).await.unwrap();
    let first = fixture.submit(&with(&["ink"])).await;
    let second = fixture.submit(&with(&["ink"])).await;
    assert!(fixture.claim().await.is_none());
    let able = Worker::new(&fixture, &["ink"]);
    let lease = able.claim().await.unwrap();
    assert_eq!((lease.id, able.claimed().await), (first, None));
    lease.complete(&output("a")).await.unwrap();
    assert_eq!(able.claimed().await, Some(second));
}

#[tokio::test]
async fn a_worker_of_a_time_before_there_were_loras_gets_none_of_these_jobs() {
    let fixture = Fixture::start().await;
    fixture.submit(&with(&["ink"])).await;
    let next = fixture.submit(&bulk()).await;
    let claim =
        ["uso_1_claim", "1", "{uso:0}", "old", "0123456789abcdef", "10000", "1000", "20", "+inf", "9", "0"];
    let words: Vec<&str> = ["FCALL"].into_iter().chain(claim).chain(["interactive", "bulk"]).collect();
    let granted: Vec<redis::Value> = fixture.raw(&words).await.unwrap();
    assert_eq!(granted.len(), 2, "{granted:?}");
    assert_eq!(fixture.view(&next).await.state, State::Running);
}

#[tokio::test]
async fn the_worker_that_has_them_is_woken_by_the_one_that_has_not() {
    let fixture = Fixture::start().await;
    let able = Worker::new(&fixture, &["ink"]);
    assert!(fixture.claim().await.is_none() && able.claim().await.is_none(), "both are idle");
    let tokens = async || fixture.raw::<u32>(&["LLEN", "{uso:0}:wake"]).await.unwrap();
    fixture.submit(&with(&["ink"])).await;
    assert_eq!(tokens().await, 1);
    fixture.raw::<redis::Value>(&["DEL", "{uso:0}:wake"]).await.unwrap();
    assert!(fixture.claim().await.is_none());
    assert_eq!(tokens().await, 1);
    fixture.raw::<redis::Value>(&["DEL", "{uso:0}:wake"]).await.unwrap();
    assert!(fixture.claim().await.is_none());
    assert_eq!(tokens().await, 0, "it wakes others without end");
}

/// A job whose picture these score, with a LoRA.
fn scored_by(scorers: &[Scorer], loras: &[&str]) -> JobSpec {
    let mut spec = with(loras);
    spec.gate = Some(Gate::parse(&json!({ "scorers": scorers })).unwrap());
    spec
}

#[tokio::test]
async fn a_job_with_a_gate_goes_to_a_worker_that_has_its_scorers() {
    let fixture = Fixture::start().await;
    let names = [Scorer::Clip, Scorer::Csd].map(Scorer::claim_name);
    let (plain, half) = (Worker::new(&fixture, &["ink"]), Worker::new(&fixture, &["ink", &names[0]]));
    let id = fixture.submit(&scored_by(&[Scorer::Clip, Scorer::Csd], &["ink"])).await;
    let next = fixture.submit(&bulk()).await;
    assert_eq!(plain.claimed().await, Some(next), "it was held up");
    assert_eq!((plain.claimed().await, half.claimed().await), (None, None));
    assert_sound(&fixture).await;
    let able = Worker::new(&fixture, &["ink", &names[1], &names[0]]);
    assert_eq!(able.claimed().await, Some(id));
    assert_sound(&fixture).await;
}

#[tokio::test]
async fn a_job_whose_scorers_no_live_worker_has_is_blocked_and_names_them() {
    let fixture = Fixture::start().await;
    let id = fixture.submit(&scored_by(&[Scorer::Clip, Scorer::Csd], &[])).await;
    let both = fixture.submit(&scored_by(&[Scorer::Dino], &["ink"])).await;
    let report = |scorers: &[Scorer]| WorkerReport { scorers: scorers.to_vec(), ..WorkerReport::default() };
    let lacking = |scorers: &[&str], loras: &[&str]| {
        Some(Blocked::Scorers { scorers: owned(scorers), loras: owned(loras) })
    };
    assert_eq!(fixture.view(&id).await.blocked, lacking(&["clip", "csd"], &[]));
    assert_eq!(fixture.view(&both).await.blocked, lacking(&["dino"], &["ink"]));
    fixture.queue.register(&WorkerId::new(), &report(&[Scorer::Clip, Scorer::Dino])).await.unwrap();
    assert_eq!(fixture.view(&id).await.blocked, lacking(&["csd"], &[]));
    assert_eq!(fixture.view(&both).await.blocked, Some(Blocked::Loras { loras: owned(&["ink"]) }));
    fixture.queue.register(&WorkerId::new(), &report(&[Scorer::Csd, Scorer::Clip])).await.unwrap();
    assert_eq!(fixture.view(&id).await.blocked, None);
}

#[test]
fn what_blocks_a_job_is_read_as_it_was_written() {
    for blocked in [
        Blocked::Memory { need: 2, best: 1 },
        Blocked::Loras { loras: owned(&["ink"]) },
        Blocked::Scorers { scorers: owned(&["clip"]), loras: owned(&["ink"]) },
        Blocked::Scorers { scorers: owned(&["clip"]), loras: Vec::new() },
    ] {
        assert_eq!(serde_json::from_value::<Blocked>(json!(blocked)).unwrap(), blocked);
    }
}
