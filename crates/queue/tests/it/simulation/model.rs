//! The queue as it should be: plain values in memory, one job a place.

use std::collections::{BTreeMap, VecDeque};

use uso_queue::{BatchCounts, BatchOperation, Class, State};

/// The simulated lease, in seconds; a tick is short enough that nobody counts as silent.
pub(super) const LEASE: u64 = 100;
pub(super) const TICK: u64 = 20;
const ATTEMPTS: u32 = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Backlog,
    Delayed,
    Sized,
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
    place: Place,
    tenant: usize,
    class: Class,
    priority: i32,
    batch: Option<usize>,
    crashes: u32,
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
    outage: u64,
    known_server: bool,
    restarted: bool,
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
            place: Place::Ended,
            tenant,
            class,
            priority,
            batch,
            crashes: 0,
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
            self.outage = self.now;
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

    fn promote(&mut self, class: Class, most: usize) {
        let mut due: Vec<(u64, usize)> = self
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.place == Place::Delayed && job.class == class && job.due <= self.now)
            .map(|(id, job)| (job.due, id))
            .collect();
        due.sort();
        for (_, id) in due.into_iter().take(most) {
            let returned = self.jobs[id].attempt > 0;
            self.enqueue(id, returned);
        }
    }

    /// Whether a job that came up can be worked on.
    fn fit(&mut self, id: usize) -> bool {
        if self.deadline(id).is_some_and(|ends| ends <= self.now) {
            self.finish(id, State::Expired);
            return false;
        }
        let job = &self.jobs[id];
        let (class, batch) = (job.class.as_str(), job.batch);
        let Some((number, batch)) = batch.and_then(|number| Some((number, self.batches.get(&number)?)))
        else {
            return true;
        };
        if batch.stopped {
            self.finish(id, State::Canceled);
            return false;
        }
        if batch.paused {
            self.jobs[id].place = Place::Parked;
            self.parked.entry((number, class)).or_default().push_back(id);
            return false;
        }
        true
    }

    fn take_sized(&mut self, class: Class, capacity: u64) -> Option<usize> {
        let mut sized: Vec<(u64, usize)> = self
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.place == Place::Sized && job.class == class && job.need <= capacity)
            .map(|(id, job)| (job.need, id))
            .collect();
        sized.sort();
        let mut first = sized.into_iter().take(10).map(|(_, id)| id);
        first.find(|id| self.may_run(self.jobs[*id].tenant) && self.fit(*id))
    }

    fn take(&mut self, class: Class, capacity: u64) -> Option<usize> {
        self.promote(class, 10);
        if let Some(id) = self.take_sized(class, capacity) {
            return Some(id);
        }
        let name = class.as_str();
        let served = self.pass.get(name).copied().unwrap_or(0.0);
        loop {
            let eligible = |tenant: &usize| {
                self.may_run(*tenant)
                    && self
                        .backlog
                        .iter()
                        .any(|((c, t, _), list)| *c == name && t == tenant && !list.is_empty())
            };
            // Whoever waits is never before whoever was served last.
            let pass = |tenant: usize| {
                let own = self.tenants.get(&tenant).and_then(|tenant| tenant.pass.get(name)).copied();
                own.unwrap_or(0.0).max(served)
            };
            let (pass, tenant) = (0..3)
                .filter(eligible)
                .map(|tenant| (pass(tenant), tenant))
                .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
            let lists = self.backlog.range_mut((name, tenant, i32::MIN)..=(name, tenant, i32::MAX));
            let id = lists.into_iter().find_map(|(_, list)| list.pop_front())?;
            if self.fit(id) {
                let tenant = self.tenants.entry(tenant).or_default();
                self.pass.insert(name, pass);
                tenant.pass.insert(name, pass + 1000.0 / f64::from(tenant.weight.max(1)));
                return Some(id);
            }
        }
    }

    /// The jobs that are given out, each with its new lease.
    pub(super) fn claim(&mut self, count: usize, classes: &[Class], capacity: u64) -> Vec<usize> {
        self.hear();
        let mut granted = Vec::new();
        for _ in 0..count {
            let open = |class: &&Class| !self.paused.get(class.as_str()).copied().unwrap_or(false);
            let wanted: Vec<Class> =
                Class::ALL.iter().filter(|class| classes.contains(class)).filter(open).copied().collect();
            let Some(id) = wanted.into_iter().find_map(|class| self.take(class, capacity)) else { break };
            let lease = self.leases.len();
            let job = &mut self.jobs[id];
            (job.state, job.place) = (State::Running, Place::Running(lease));
            job.version += 1;
            job.attempt += 1;
            let attempt = job.attempt;
            self.leases.push(Lease {
                job: id,
                renewed: self.now,
                attempt,
                first: !job.started,
                stepped: false,
            });
            job.started = true;
            granted.push(id);
        }
        granted
    }

    pub(super) fn holds(&self, lease: usize) -> bool {
        self.jobs[self.leases[lease].job].place == Place::Running(lease)
    }

    pub(super) fn renew(&mut self, lease: usize) -> bool {
        let held = self.holds(lease);
        if held {
            self.hear();
            self.leases[lease].renewed = self.now;
        }
        held
    }

    pub(super) fn progress(&mut self, lease: usize) -> bool {
        let id = self.leases[lease].job;
        if !self.holds(lease) {
            return false;
        }
        if self.jobs[id].finish_by.is_some_and(|ends| ends <= self.now) {
            self.jobs[id].settled = None;
            self.finish(id, State::Expired);
            return false;
        }
        self.leases[lease].stepped = true;
        self.jobs[id].version += 1;
        true
    }

    pub(super) fn checkpoint(&mut self, lease: usize, step: u32) -> bool {
        let held = self.holds(lease);
        if held {
            let id = self.leases[lease].job;
            self.jobs[id].checkpoint = Some(step);
        }
        held
    }

    /// Whether a settlement is taken: now, or as the repetition of the one that was.
    fn settle(&mut self, lease: usize, name: &'static str) -> Option<bool> {
        let id = self.leases[lease].job;
        if self.jobs[id].settled == Some((lease, name)) {
            return Some(false);
        }
        if !self.holds(lease) {
            return None;
        }
        self.jobs[id].settled = Some((lease, name));
        Some(true)
    }

    pub(super) fn complete(&mut self, lease: usize) -> bool {
        let Some(now) = self.settle(lease, "complete") else { return false };
        if now {
            self.finish(self.leases[lease].job, State::Succeeded);
        }
        true
    }

    pub(super) fn fail(&mut self, lease: usize, retryable: bool) -> bool {
        let Some(now) = self.settle(lease, "fail") else { return false };
        if now {
            let id = self.leases[lease].job;
            if retryable && self.jobs[id].attempt < ATTEMPTS {
                self.requeue(id);
            } else {
                self.finish(id, State::Failed);
                self.dead += usize::from(retryable);
            }
        }
        true
    }

    pub(super) fn release(&mut self, lease: usize, need: Option<u64>) -> bool {
        let Some(now) = self.settle(lease, "release") else { return false };
        if now {
            let Lease { job: id, first, stepped, .. } = self.leases[lease];
            let job = &mut self.jobs[id];
            job.attempt -= 1;
            job.need = need.unwrap_or(0);
            job.started &= !first || stepped;
            self.requeue(id);
        }
        true
    }

    fn requeue(&mut self, id: usize) {
        let job = &mut self.jobs[id];
        job.state = State::Queued;
        job.version += 1;
        if job.need > 0 {
            job.place = Place::Sized;
        } else {
            self.enqueue(id, true);
        }
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

    pub(super) fn reap(&mut self) {
        if self.restarted && self.known_server {
            self.outage = self.now;
        }
        (self.restarted, self.known_server) = (false, true);
        self.hear();
        if self.now - self.outage >= LEASE {
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
    }

    fn reap_leases(&mut self) {
        for class in Class::ALL {
            for lease in 0..self.leases.len() {
                let Lease { job: id, renewed, attempt, .. } = self.leases[lease];
                if !self.holds(lease) || self.jobs[id].class != class || self.now - renewed < LEASE {
                    continue;
                }
                let job = &mut self.jobs[id];
                job.settled = None;
                if renewed <= self.outage && self.outage > 0 {
                    job.attempt = attempt - 1;
                } else {
                    job.crashes += 1;
                    if job.crashes >= 2 || job.attempt >= ATTEMPTS {
                        self.dead += 1;
                        self.finish(id, State::Failed);
                        continue;
                    }
                }
                self.requeue(id);
            }
        }
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

    pub(super) fn pause_tenant(&mut self, tenant: usize, paused: bool) {
        self.tenants.entry(tenant).or_default().paused = paused;
    }

    pub(super) fn pause_class(&mut self, class: Class, paused: bool) {
        self.paused.insert(class.as_str(), paused);
    }

    pub(super) fn limit(&mut self, tenant: usize, weight: u32, max_running: Option<u64>) {
        let tenant = self.tenants.entry(tenant).or_default();
        (tenant.weight, tenant.max_running) = (weight, max_running);
    }

    /// The jobs that are made anew, in order.
    pub(super) fn steer(&mut self, batch: usize, operation: BatchOperation) -> Vec<usize> {
        let Some(steered) = self.batches.get_mut(&batch) else { return Vec::new() };
        let members = steered.members.clone();
        match operation {
            BatchOperation::Pause => steered.paused = true,
            BatchOperation::Resume => steered.paused = false,
            BatchOperation::Cancel => (steered.paused, steered.stopped) = (false, true),
            BatchOperation::RetryFailed => steered.stopped = false,
        }
        match operation {
            BatchOperation::Pause => Vec::new(),
            BatchOperation::Resume => {
                for class in Class::ALL {
                    let parked = self.parked.remove(&(batch, class.as_str())).unwrap_or_default();
                    for id in parked.into_iter().rev() {
                        self.enqueue(id, true);
                    }
                }
                Vec::new()
            }
            BatchOperation::Cancel => {
                for id in members {
                    self.cancel(id);
                }
                Vec::new()
            }
            BatchOperation::RetryFailed => {
                let failed =
                    |id: &usize| self.jobs[*id].state == State::Failed && self.jobs[*id].retried_by.is_none();
                let failed: Vec<usize> = members.into_iter().filter(failed).collect();
                failed.into_iter().filter_map(|id| self.retry(id)).map(|(new, _)| new).collect()
            }
        }
    }

    /// A batch's counters, each job counted as its newest repetition.
    pub(super) fn counts(&self, batch: usize) -> BatchCounts {
        let mut counts = BatchCounts::default();
        for job in self.batches[&batch].members.iter().map(|id| &self.jobs[*id]) {
            if job.retried_by.is_some() {
                continue;
            }
            counts.total += 1;
            let counter = match job.state {
                State::Queued => &mut counts.queued,
                State::Running => &mut counts.running,
                State::Succeeded => &mut counts.succeeded,
                State::Failed => &mut counts.failed,
                State::Canceled => &mut counts.canceled,
                State::Expired => &mut counts.expired,
            };
            *counter += 1;
        }
        counts
    }

    /// Waiting and running jobs of a class.
    pub(super) fn depth(&self, class: Class) -> (u64, u64) {
        let count =
            |state| self.jobs.iter().filter(|job| job.class == class && job.state == state).count() as u64;
        (count(State::Queued), count(State::Running))
    }
}
