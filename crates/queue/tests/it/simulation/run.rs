//! One list of operations, on the queue and on the model.

use std::fmt::Debug;
use std::time::Duration;

use uso_queue::{
    BatchId, BatchOperation, Canceled, Checkpoint, Claim, Class, Config, Error, History, JobId, JobSpec,
    Lease, Limits, ListFilter, Queue, Removed, Retried, Scope, State, Submission, WorkerId,
};

use super::model::{LEASE, Model, TICK};
use super::operation::{Operation, Times};
use crate::fixture::{Fixture, config, failure, output, spec};

const TENANTS: [&str; 3] = ["t0", "t1", "t2"];

/// A Redis that is emptied before each list.
pub(super) struct Simulation {
    fixture: Fixture,
    workers: [WorkerId; 3],
}

/// What a list has made so far, numbered as in the model.
struct Run<'a> {
    simulation: &'a mut Simulation,
    model: Model,
    ids: Vec<JobId>,
    leases: Vec<Lease>,
    batches: [BatchId; 2],
    began_ms: i64,
    ahead: u64,
    steps: u32,
}

type Checked = Result<(), String>;

fn same<T: PartialEq + Debug>(what: &str, queue: T, model: T) -> Checked {
    if queue == model {
        Ok(())
    } else {
        Err(format!("{what}: the queue says {queue:?}, the model {model:?}"))
    }
}

fn held(answer: Result<(), Error>) -> bool {
    match answer {
        Ok(()) => true,
        Err(Error::LostLease { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

impl Simulation {
    pub(super) async fn start() -> Self {
        let mut fixture = Fixture::start().await;
        let lease = Duration::from_secs(LEASE);
        // As interactive as can be: what bulk is owed meanwhile has a test of its own.
        let settings = Config { lease, bulk_every: u32::MAX, ..config(&fixture.redis) };
        fixture.queue = Queue::connect(settings).await.unwrap();
        // A killed process has written what it said, which `everysec` does not promise while the disk is slow.
        fixture.raw::<redis::Value>(&["CONFIG", "SET", "appendfsync", "no"]).await.unwrap();
        fixture.make_clock_settable().await;
        Self { fixture, workers: std::array::from_fn(|_| WorkerId::new()) }
    }

    pub(super) async fn run(&mut self, list: &[Operation]) -> Checked {
        self.fixture.raw::<redis::Value>(&["FLUSHALL"]).await.unwrap();
        let batches = [0, 1].map(|_| self.fixture.queue.new_batch(TENANTS[0]).unwrap());
        let began_ms = jiff::Timestamp::now().as_millisecond();
        let mut run = Run {
            simulation: self,
            model: Model::default(),
            ids: Vec::new(),
            leases: Vec::new(),
            batches,
            began_ms,
            ahead: 0,
            steps: 0,
        };
        for operation in list {
            run.apply(operation).await.map_err(|fault| format!("{operation:?}: {fault}"))?;
        }
        run.compare().await
    }
}

impl Run<'_> {
    fn queue(&self) -> &Queue {
        &self.simulation.fixture.queue
    }

    async fn apply(&mut self, operation: &Operation) -> Checked {
        match *operation {
            Operation::Submit { tenant, class, priority, batch, times, count } => {
                self.submit(tenant, class, priority, batch, times, count).await
            }
            Operation::Claim { worker, count, classes, capacity, alone } => {
                self.claim(worker, count, classes, capacity, alone).await
            }
            Operation::Cancel { job } if !self.ids.is_empty() => self.cancel(job % self.ids.len()).await,
            Operation::Retry { job } if !self.ids.is_empty() => self.retry(job % self.ids.len()).await,
            Operation::Remove { job } if !self.ids.is_empty() => self.remove(job % self.ids.len()).await,
            Operation::Cancel { .. } | Operation::Retry { .. } | Operation::Remove { .. } => Ok(()),
            Operation::Renew { lease }
            | Operation::Progress { lease }
            | Operation::Aside { lease, .. }
            | Operation::Stage { lease, .. }
            | Operation::Checkpoint { lease }
            | Operation::Complete { lease }
            | Operation::Fail { lease, .. }
            | Operation::GiveUpStuck { lease }
            | Operation::ClearMark { lease }
            | Operation::Release { lease, .. } => match self.leases.len() {
                0 => Ok(()),
                leases => self.work(operation, lease % leases).await,
            },
            Operation::Tick => {
                self.pass_time(TICK).await;
                self.greet().await;
                Ok(())
            }
            Operation::Outage => {
                self.pass_time(3 * TICK).await;
                self.greet().await;
                // What is claimed from now on is clearly younger than the outage.
                self.pass_time(1).await;
                Ok(())
            }
            Operation::RestartRedis => {
                self.simulation.fixture.redis.kill().await.unwrap();
                self.simulation.fixture.redis.restart().await.unwrap();
                self.simulation.fixture.reconnected().await;
                let fast = ["CONFIG", "SET", "appendfsync", "no"];
                self.simulation.fixture.raw::<redis::Value>(&fast).await.unwrap();
                self.model.restart();
                Ok(())
            }
            Operation::Reap => {
                self.queue().reap(&self.simulation.workers[0]).await.unwrap();
                if self.model.reap() {
                    // What is claimed from now on is clearly younger than the outage.
                    self.pass_time(1).await;
                }
                Ok(())
            }
            _ => self.control(operation).await,
        }
    }

    async fn control(&mut self, operation: &Operation) -> Checked {
        match *operation {
            Operation::PauseTenant { tenant, paused } => {
                self.queue().set_paused(Scope::Tenant(TENANTS[tenant]), paused).await.unwrap();
                self.model.pause_tenant(tenant, paused);
            }
            Operation::PauseClass { class, paused } => {
                self.queue().set_paused(Scope::Class(class), paused).await.unwrap();
                self.model.pause_class(class, paused);
            }
            Operation::Limit { tenant, weight, max_running } => {
                let limits = Limits { weight: weight.into(), max_running, ..Limits::default() };
                self.queue().set_limits(TENANTS[tenant], &limits).await.unwrap();
                self.model.limit(tenant, weight, max_running);
            }
            Operation::Batch { batch, operation } => return self.control_batch(batch, operation).await,
            _ => unreachable!("{operation:?} is handled elsewhere"),
        }
        Ok(())
    }

    async fn submit(
        &mut self,
        tenant: usize,
        class: Class,
        priority: i32,
        batch: Option<usize>,
        times: Times,
        count: usize,
    ) -> Checked {
        // Batches belong to the first tenant.
        let batch = batch.filter(|_| tenant == 0);
        let after =
            |ticks: Option<u32>| ticks.map(|ticks| self.model_now() + u64::from(ticks) * TICK - TICK / 2);
        let [not_before, start_by, finish_by] =
            [times.not_before, times.start_by, times.finish_by].map(after);
        let stamp = |seconds: Option<u64>| {
            seconds.map(|s| jiff::Timestamp::from_millisecond(self.began_ms + s as i64 * 1000).unwrap())
        };
        let mut asked: JobSpec = spec(class, priority);
        (asked.not_before, asked.start_by, asked.finish_by) =
            (stamp(not_before), stamp(start_by), stamp(finish_by));
        let job = Submission { batch: batch.map(|number| self.batches[number]), ..(&asked).into() };
        let answer = self.queue().submit_all(TENANTS[tenant], &vec![job; count]).await;
        let takes = batch.is_none_or(|batch| self.model.takes(batch));
        same("accepted", answer.is_ok(), takes)?;
        for submitted in answer.into_iter().flatten() {
            self.ids.push(submitted.id);
            self.model.submit(tenant, class, priority, batch, not_before, start_by, finish_by);
        }
        Ok(())
    }

    async fn claim(
        &mut self,
        worker: usize,
        count: usize,
        classes: &[Class],
        capacity: u64,
        alone: bool,
    ) -> Checked {
        let number = worker;
        let worker = self.simulation.workers[number].clone();
        let capacity_said = Some(capacity);
        let claim =
            Claim { classes, count, busy: false, alone, capacity: capacity_said, ..Claim::one(&worker) };
        let leases = self.queue().claim(&claim).await.unwrap();
        let granted = self.model.claim(number, count, classes, capacity, alone);
        let claimed: Vec<JobId> = leases.iter().map(|lease| lease.id).collect();
        let expected: Vec<JobId> = granted.iter().map(|id| self.ids[*id]).collect();
        let number = |id: &JobId| self.ids.iter().position(|known| known == id);
        let names = |ids: &[JobId]| ids.iter().map(number).collect::<Vec<_>>();
        same("claimed", names(&claimed), names(&expected))?;
        for (lease, id) in leases.iter().zip(&granted) {
            same("attempt", lease.attempt, self.model.jobs[*id].attempt)?;
            same("alone", lease.alone, self.model.jobs[*id].is_suspect())?;
            let step = lease.checkpoint.as_ref().map(|checkpoint| checkpoint.step);
            same("checkpoint", step, self.model.jobs[*id].checkpoint)?;
        }
        if !self.leases.is_empty() && !leases.is_empty() {
            let newest = self.leases.iter().map(|lease| lease.fence).max().unwrap_or(0);
            same("rising fence", leases.iter().all(|lease| lease.fence > newest), true)?;
        }
        self.leases.extend(leases);
        same("leases", self.leases.len(), self.model.leases())
    }

    async fn work(&mut self, operation: &Operation, number: usize) -> Checked {
        self.steps += 1;
        let (lease, step) = (&self.leases[number], self.steps);
        same("the lease's job", lease.id, self.ids[self.model.leased_job(number)])?;
        let (queue, model) = match operation {
            Operation::Renew { .. } => {
                // One renewal, without the task that repeats it.
                (held(lease.renew().await), self.model.renew(number))
            }
            Operation::Progress { .. } => {
                (held(lease.progress(step, 9999).await.map(drop)), self.model.progress(number))
            }
            Operation::Aside { resumed, .. } => {
                let answer = if *resumed { lease.resumed().await } else { lease.set_aside().await };
                (held(answer), self.model.aside(number, *resumed))
            }
            Operation::Stage { at_work, .. } => {
                let stage = at_work.then_some("sample");
                (held(lease.note_stage(stage).await), self.model.note_stage(number, *at_work))
            }
            Operation::GiveUpStuck { .. } => {
                (held(lease.give_up_stuck().await), self.model.give_up_stuck(number))
            }
            Operation::ClearMark { .. } => {
                lease.clear_mark().await.unwrap();
                self.model.clear_mark(number);
                (true, true)
            }
            Operation::Checkpoint { .. } => {
                let text = String::from("x");
                let made = Checkpoint {
                    step,
                    key: text.clone(),
                    sha256: text.clone(),
                    fingerprint: text,
                    tries: Vec::new(),
                };
                (held(lease.record_checkpoint(&made).await), self.model.checkpoint(number, step))
            }
            Operation::Complete { .. } => {
                (held(lease.complete(&output("a")).await), self.model.complete(number))
            }
            Operation::Fail { retryable, .. } => {
                (held(lease.fail(&failure(*retryable)).await), self.model.fail(number, *retryable))
            }
            Operation::Release { need: Some(need), .. } => {
                (held(lease.release_too_big(*need).await), self.model.release(number, Some(*need)))
            }
            _ => (held(lease.release().await), self.model.release(number, None)),
        };
        same("held", queue, model)
    }

    async fn cancel(&mut self, number: usize) -> Checked {
        let Some(answer) = self.queue().cancel(&self.ids[number]).await.unwrap() else {
            return same("gone", true, self.model.jobs[number].removed);
        };
        let state = match answer {
            Canceled::Done => State::Canceled,
            Canceled::Ended(state) => state,
        };
        same("canceled", state, self.model.cancel(number))
    }

    async fn remove(&mut self, number: usize) -> Checked {
        let gone = self.model.jobs[number].removed;
        let answer = self.queue().remove(&self.ids[number]).await.unwrap();
        let removed = match answer {
            Some(removed) => removed == Removed::Done,
            None => return same("gone", true, gone),
        };
        same("removed", (removed, gone), (self.model.remove(number), false))
    }

    async fn retry(&mut self, number: usize) -> Checked {
        let Some(answer) = self.queue().retry(&self.ids[number]).await.unwrap() else {
            return same("gone", true, self.model.jobs[number].removed);
        };
        let expected = self.model.retry(number);
        if let (Retried::As(new), Some((_, true))) = (answer, expected) {
            self.ids.push(new);
        }
        let queue = match answer {
            Retried::As(new) => Some(new),
            _ => None,
        };
        same("retried", queue, expected.map(|(new, _)| self.ids[new]))
    }

    async fn control_batch(&mut self, number: usize, operation: BatchOperation) -> Checked {
        let found = self.queue().control_batch(&self.batches[number], operation).await.unwrap();
        same("batch found", found, self.model.batches.contains_key(&number))?;
        for new in self.model.control(number, operation) {
            let old = self.model.jobs[new].retry_of.expect("it was made by a retry");
            let view = self.queue().view(&self.ids[old]).await.unwrap().unwrap();
            match view.retried_by {
                Some(id) => self.ids.push(id),
                None => return Err(format!("job {old} was not made anew")),
            }
        }
        Ok(())
    }

    fn model_now(&self) -> u64 {
        self.ahead
    }

    /// Moves the library's clock and the age of every lease, as time itself would.
    async fn pass_time(&mut self, seconds: u64) {
        self.ahead += seconds;
        self.model.pass_time(seconds);
        self.simulation.fixture.move_clock(Duration::from_secs(self.ahead)).await;
        self.simulation.fixture.age_by(Duration::from_secs(seconds)).await;
    }

    async fn greet(&mut self) {
        let worker = self.simulation.workers[0].clone();
        let nothing = Claim { count: 0, ..Claim::one(&worker) };
        assert!(self.queue().claim(&nothing).await.unwrap().is_empty());
        self.model.greet();
    }

    /// Everything there is, once the list is done.
    async fn compare(&mut self) -> Checked {
        for (number, id) in self.ids.iter().enumerate() {
            let job = &self.model.jobs[number];
            let Some(view) = self.queue().view(id).await.unwrap() else {
                same(&format!("job {number} gone"), true, job.removed)?;
                continue;
            };
            let what = |field: &str| format!("job {number}'s {field}");
            same(&what("state"), view.state, job.state)?;
            same(&what("attempt"), view.attempt, job.attempt)?;
            same(&what("version"), view.version, job.version)?;
            let step = view.checkpoint.map(|checkpoint| checkpoint.step);
            same(&what("checkpoint"), step, job.checkpoint)?;
            same(&what("retry_of"), view.retry_of, job.retry_of.map(|old| self.ids[old]))?;
            same(&what("retried_by"), view.retried_by, job.retried_by.map(|new| self.ids[new]))?;
        }
        let stats = self.queue().stats().await.unwrap();
        for (class, depth) in [(Class::Interactive, stats.interactive), (Class::Bulk, stats.bulk)] {
            same(&format!("{class:?} depth"), (depth.queued, depth.running), self.model.depth(class))?;
        }
        same("dead letters", stats.dead, self.model.dead as u64)?;
        for (number, batch) in &self.model.batches {
            let view = self.queue().batch(&self.batches[*number]).await.unwrap().unwrap();
            same(&format!("batch {number}"), view.counts, self.model.counts(*number))?;
            same("paused", (view.paused, view.canceled), (batch.paused, batch.stopped))?;
        }
        self.check_lists().await?;
        let audit = self.queue().audit().await.unwrap();
        let here = self.model.jobs.iter().filter(|job| !job.removed).count();
        same("audited jobs", audit.jobs, here as u64)?;
        same("faults", audit.faults, Vec::new())?;
        self.check_history().await
    }

    /// Each tenant's jobs, in the order in which they were accepted.
    async fn check_lists(&self) -> Checked {
        for (tenant, name) in TENANTS.iter().enumerate() {
            let filter =
                ListFilter { tenant: Some((*name).to_owned()), enough: 1000, ..ListFilter::default() };
            let page = self.queue().list(&filter).await.unwrap();
            let listed: Vec<JobId> = page.jobs.iter().rev().map(|job| job.id).collect();
            let expected: Vec<JobId> = self.model.jobs_of(tenant).map(|number| self.ids[number]).collect();
            same(&format!("jobs of {name}"), listed, expected)?;
        }
        Ok(())
    }

    async fn check_history(&self) -> Checked {
        if self.ids.is_empty() {
            return Ok(());
        }
        let mut history = History::default();
        let mut tail = self.queue().tail(0, "0-0".parse().ok()).await.unwrap();
        let mut versions = 0;
        for event in tail.next().await.unwrap() {
            same("history", history.check(&event), Vec::new())?;
            versions += 1;
        }
        same("events", versions, self.model.jobs.iter().map(|job| job.version).sum::<u64>())
    }
}
