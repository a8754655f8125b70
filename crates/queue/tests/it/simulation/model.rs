//! The queue as it should be: plain values in memory, one job a place.

mod control;
mod leases;
mod order;

use std::collections::{BTreeMap, VecDeque};

use uso_queue::{Class, State};

/// The simulated lease, in seconds; a tick is short enough that nobody counts as silent.
pub(super) const LEASE: u64 = 100;
pub(super) const TICK: u64 = 20;
const ATTEMPTS: u32 = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Backlog,
    Delayed,
    Sized,
    Suspect,
    Parked,
    Running(usize),
    Ended,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) state: State,
    pub(super) version: u64,
    pub(super) attempt: u32,
    pub(super) checkpoint: Option<u32>,
    pub(super) retry_of: Option<usize>,
    pub(super) retried_by: Option<usize>,
    /// Its record is gone.
    pub(super) removed: bool,
    /// Whether it is a dead letter.
    buried: bool,
    place: Place,
    tenant: usize,
    class: Class,
    priority: i32,
    batch: Option<usize>,
    /// The leases under which a worker was lost at it, and whether its device hung then.
    marks: Vec<(usize, bool)>,
    started: bool,
    due: u64,
    need: u64,
    start_by: Option<u64>,
    finish_by: Option<u64>,
    settled: Option<(usize, &'static str)>,
}

/// What a worker holds, or held.
#[derive(Debug, Clone)]
struct Lease {
    job: usize,
    renewed: u64,
    attempt: u32,
    first: bool,
    stepped: bool,
    at_work: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    pub(super) members: Vec<usize>,
    pub(super) paused: bool,
    pub(super) stopped: bool,
}

#[derive(Debug, Clone, Default)]
struct Tenant {
    pass: BTreeMap<&'static str, f64>,
    weight: u32,
    max_running: Option<u64>,
    paused: bool,
}

/// Times are seconds since the simulation began.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) jobs: Vec<Job>,
    pub(super) batches: BTreeMap<usize, Batch>,
    pub(super) dead: usize,
    leases: Vec<Lease>,
    tenants: BTreeMap<usize, Tenant>,
    backlog: BTreeMap<(&'static str, usize, i32), VecDeque<usize>>,
    parked: BTreeMap<(usize, &'static str), VecDeque<usize>>,
    paused: BTreeMap<&'static str, bool>,
    pass: BTreeMap<&'static str, f64>,
    now: u64,
    seen: Option<u64>,
    outage: Option<u64>,
    known_server: bool,
    restarted: bool,
    /// The worker that is to take a suspect once it holds nothing, and until when.
    kept_free: Option<(usize, u64)>,
}

impl Job {
    pub(super) fn is_suspect(&self) -> bool {
        !self.marks.is_empty()
    }
}

impl Model {
    pub(super) fn leases(&self) -> usize {
        self.leases.len()
    }

    pub(super) fn leased_job(&self, lease: usize) -> usize {
        self.leases[lease].job
    }

    #[expect(clippy::too_many_arguments, reason = "what a submission consists of")]
    pub(super) fn submit(
        &mut self,
        tenant: usize,
        class: Class,
        priority: i32,
        batch: Option<usize>,
        not_before: Option<u64>,
        start_by: Option<u64>,
        finish_by: Option<u64>,
    ) -> usize {
        let id = self.jobs.len();
        let due = not_before.unwrap_or(0);
        self.jobs.push(Job {
            state: State::Queued,
            version: 1,
            attempt: 0,
            checkpoint: None,
            retry_of: None,
            retried_by: None,
            removed: false,
            buried: false,
            place: Place::Ended,
            tenant,
            class,
            priority,
            batch,
            marks: Vec::new(),
            started: false,
            due,
            need: 0,
            start_by,
            finish_by,
            settled: None,
        });
        if let Some(batch) = batch {
            self.batches.entry(batch).or_default().members.push(id);
        }
        if due > self.now {
            self.jobs[id].place = Place::Delayed;
        } else {
            self.enqueue(id, false);
        }
        id
    }

    /// The jobs of a tenant that are still there, by number.
    pub(super) fn jobs_of(&self, tenant: usize) -> impl Iterator<Item = usize> {
        let here = move |job: &Job| job.tenant == tenant && !job.removed;
        self.jobs.iter().enumerate().filter(move |(_, job)| here(job)).map(|(number, _)| number)
    }

    pub(super) fn takes(&self, batch: usize) -> bool {
        !self.batches.get(&batch).is_some_and(|batch| batch.stopped)
    }

    fn enqueue(&mut self, id: usize, returned: bool) {
        let job = &mut self.jobs[id];
        job.place = Place::Backlog;
        let list = self.backlog.entry((job.class.as_str(), job.tenant, -job.priority)).or_default();
        if returned { list.push_front(id) } else { list.push_back(id) }
    }

    fn withdraw(&mut self, id: usize) {
        for list in self.backlog.values_mut().chain(self.parked.values_mut()) {
            list.retain(|member| *member != id);
        }
    }

    fn running(&self, tenant: usize) -> u64 {
        let runs = |job: &&Job| job.tenant == tenant && job.state == State::Running;
        self.jobs.iter().filter(runs).count() as u64
    }

    fn may_run(&self, tenant: usize) -> bool {
        let Some(limits) = self.tenants.get(&tenant) else { return true };
        !limits.paused && limits.max_running.is_none_or(|most| self.running(tenant) < most)
    }

    fn hear(&mut self) {
        let silence = self.now - self.seen.unwrap_or(self.now);
        if silence * 3 > LEASE {
            self.outage = Some(self.now);
        }
        self.seen = Some(self.now);
    }

    fn deadline(&self, id: usize) -> Option<u64> {
        let job = &self.jobs[id];
        let start_by = if job.started { None } else { job.start_by };
        start_by.into_iter().chain(job.finish_by).min()
    }

    fn finish(&mut self, id: usize, state: State) {
        let job = &mut self.jobs[id];
        (job.state, job.place) = (state, Place::Ended);
        job.version += 1;
    }

    pub(super) fn cancel(&mut self, id: usize) -> State {
        if !self.jobs[id].state.is_terminal() {
            if self.jobs[id].state == State::Running {
                self.jobs[id].settled = None;
            }
            self.withdraw(id);
            self.finish(id, State::Canceled);
        }
        self.jobs[id].state
    }

    /// Whether the job was forgotten: only one that has ended can be.
    pub(super) fn remove(&mut self, id: usize) -> bool {
        let job = &mut self.jobs[id];
        if job.state.is_terminal() {
            self.dead -= usize::from(job.buried);
            (job.removed, job.buried, job.settled) = (true, false, None);
        }
        job.removed
    }

    /// The new job and whether it is new; none if the old one has not ended.
    pub(super) fn retry(&mut self, id: usize) -> Option<(usize, bool)> {
        if !self.jobs[id].state.is_terminal() {
            return None;
        }
        if let Some(new) = self.jobs[id].retried_by {
            return Some((new, false));
        }
        let Job { tenant, class, priority, batch, .. } = self.jobs[id];
        let new = self.submit(tenant, class, priority, batch, None, None, None);
        if let Some(batch) = batch {
            self.batches.entry(batch).or_default().stopped = false;
        }
        self.jobs[new].retry_of = Some(id);
        self.jobs[id].retried_by = Some(new);
        Some((new, true))
    }

    /// Whether it noticed that the server was restarted.
    pub(super) fn reap(&mut self) -> bool {
        let noticed = self.restarted && self.known_server;
        if noticed {
            self.outage = Some(self.now);
        }
        (self.restarted, self.known_server) = (false, true);
        self.hear();
        if self.outage.is_none_or(|outage| self.now - outage >= LEASE) {
            self.reap_leases();
        }
        for id in 0..self.jobs.len() {
            let job = &self.jobs[id];
            if !job.state.is_terminal() && self.deadline(id).is_some_and(|ends| ends <= self.now) {
                if job.state == State::Running {
                    self.jobs[id].settled = None;
                }
                self.withdraw(id);
                self.finish(id, State::Expired);
            }
        }
        for class in Class::ALL {
            self.promote(class, usize::MAX);
        }
        noticed
    }

    fn reap_leases(&mut self) {
        for class in Class::ALL {
            for lease in 0..self.leases.len() {
                let Lease { job: id, renewed, at_work, .. } = self.leases[lease];
                if !self.holds(lease) || self.jobs[id].class != class || self.now - renewed < LEASE {
                    continue;
                }
                self.jobs[id].settled = None;
                let blameless = self.outage.is_some_and(|outage| renewed <= outage);
                self.lose(lease, (at_work && !blameless).then_some((lease, false)));
            }
        }
    }

    /// A worker was lost at a job, which is to blame or not.
    fn lose(&mut self, lease: usize, mark: Option<(usize, bool)>) {
        let Lease { job: id, attempt, .. } = self.leases[lease];
        let job = &mut self.jobs[id];
        job.marks.extend(mark);
        if mark.is_some() && job.marks.len() >= 2 {
            self.dead += 1;
            job.buried = true;
            self.finish(id, State::Failed);
            return;
        }
        job.attempt = attempt - 1;
        self.requeue(id);
    }

    pub(super) fn pass_time(&mut self, seconds: u64) {
        self.now += seconds;
    }

    /// Somebody asks for nothing: the shard has heard of the world.
    pub(super) fn greet(&mut self) {
        self.hear();
    }

    pub(super) fn restart(&mut self) {
        self.restarted = true;
    }

    /// Waiting and running jobs of a class.
    pub(super) fn depth(&self, class: Class) -> (u64, u64) {
        let count =
            |state| self.jobs.iter().filter(|job| job.class == class && job.state == state).count() as u64;
        (count(State::Queued), count(State::Running))
    }
}
