//! Who is served next.

use uso_queue::{Class, State};

use super::{Lease, Model, Place};

impl Model {
    pub(super) fn promote(&mut self, class: Class, most: usize) {
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
    fn fit(&mut self, id: usize, alone: bool) -> bool {
        if self.deadline(id).is_some_and(|ends| ends <= self.now) {
            self.finish(id, State::Expired);
            return false;
        }
        let job = &self.jobs[id];
        let (class, batch) = (job.class.as_str(), job.batch);
        if let Some((number, batch)) = batch.and_then(|number| Some((number, self.batches.get(&number)?))) {
            if batch.stopped {
                self.finish(id, State::Canceled);
                return false;
            }
            if batch.paused {
                self.jobs[id].place = Place::Parked;
                self.parked.entry((number, class)).or_default().push_back(id);
                return false;
            }
        }
        let apart = self.jobs[id].is_suspect() && !alone;
        if apart {
            self.jobs[id].place = Place::Suspect;
        }
        !apart
    }

    /// Those at which a worker was lost, the best first.
    fn suspects(&self, class: Class) -> Vec<usize> {
        let waits = |id: &usize| self.jobs[*id].place == Place::Suspect && self.jobs[*id].class == class;
        let mut suspects: Vec<usize> = (0..self.jobs.len()).filter(waits).collect();
        suspects.sort_by_key(|id| (-self.jobs[*id].priority, *id));
        suspects
    }

    fn take_suspect(&mut self, class: Class, capacity: u64) -> Option<usize> {
        for id in self.suspects(class).into_iter().take(10) {
            if !self.may_run(self.jobs[id].tenant) {
                continue;
            }
            if self.jobs[id].need > capacity {
                self.jobs[id].place = Place::Sized;
            } else if self.fit(id, true) {
                return Some(id);
            }
        }
        None
    }

    /// Whether a worker gets nothing now, so that it takes a suspect later.
    fn is_kept_free(&mut self, worker: usize, classes: &[Class]) -> bool {
        const SECONDS: u64 = 10;
        if self.kept_free.is_some_and(|(other, until)| other != worker && until > self.now) {
            return false;
        }
        let waits = Class::ALL.iter().any(|class| {
            let paused = self.paused.get(class.as_str()).copied().unwrap_or(false);
            let mut first = self.suspects(*class).into_iter().take(3);
            classes.contains(class) && !paused && first.any(|id| self.may_run(self.jobs[id].tenant))
        });
        self.kept_free = waits.then_some((worker, self.now + SECONDS));
        waits
    }

    fn take_sized(&mut self, class: Class, capacity: u64, alone: bool) -> Option<usize> {
        let mut sized: Vec<(u64, usize)> = self
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.place == Place::Sized && job.class == class && job.need <= capacity)
            .map(|(id, job)| (job.need, id))
            .collect();
        sized.sort();
        let mut first = sized.into_iter().take(10).map(|(_, id)| id);
        first.find(|id| self.may_run(self.jobs[*id].tenant) && self.fit(*id, alone))
    }

    fn take(&mut self, class: Class, capacity: u64, alone: bool) -> Option<usize> {
        self.promote(class, 10);
        if alone && let Some(id) = self.take_suspect(class, capacity) {
            return Some(id);
        }
        if let Some(id) = self.take_sized(class, capacity, alone) {
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
            if self.fit(id, alone) {
                let tenant = self.tenants.entry(tenant).or_default();
                self.pass.insert(name, pass);
                tenant.pass.insert(name, pass + 1000.0 / f64::from(tenant.weight.max(1)));
                return Some(id);
            }
        }
    }

    /// The jobs that are given out, each with its new lease.
    pub(in crate::simulation) fn claim(
        &mut self,
        worker: usize,
        mut count: usize,
        classes: &[Class],
        capacity: u64,
        mut alone: bool,
    ) -> Vec<usize> {
        self.hear();
        if !alone && self.is_kept_free(worker, classes) {
            count = 0;
        }
        let mut granted = Vec::new();
        for _ in 0..count {
            let open = |class: &&Class| !self.paused.get(class.as_str()).copied().unwrap_or(false);
            let wanted: Vec<Class> =
                Class::ALL.iter().filter(|class| classes.contains(class)).filter(open).copied().collect();
            let Some(id) = wanted.into_iter().find_map(|class| self.take(class, capacity, alone)) else {
                break;
            };
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
                at_work: false,
            });
            job.started = true;
            granted.push(id);
            alone = false;
            if job.is_suspect() {
                break;
            }
        }
        granted
    }
}
