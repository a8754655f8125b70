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
    pub(in crate::simulation) fn claim(
        &mut self,
        count: usize,
        classes: &[Class],
        capacity: u64,
    ) -> Vec<usize> {
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
}
