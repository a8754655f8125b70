//! What the holder of a lease can do.

use uso_queue::State;

use super::{ATTEMPTS, Lease, Model, Place};

impl Model {
    pub(in crate::simulation) fn holds(&self, lease: usize) -> bool {
        self.jobs[self.leases[lease].job].place == Place::Running(lease)
    }

    pub(in crate::simulation) fn renew(&mut self, lease: usize) -> bool {
        self.hear();
        let held = self.holds(lease);
        if held {
            self.leases[lease].renewed = self.now;
        }
        held
    }

    pub(in crate::simulation) fn note_stage(&mut self, lease: usize, at_work: bool) -> bool {
        let held = self.holds(lease);
        if held {
            self.leases[lease].at_work = at_work;
        }
        held
    }

    pub(in crate::simulation) fn give_up_stuck(&mut self, lease: usize) -> bool {
        let Some(now) = self.settle(lease, "stuck") else { return false };
        if now {
            self.lose(lease, Some((lease, true)));
        }
        true
    }

    pub(in crate::simulation) fn clear_mark(&mut self, lease: usize) {
        let id = self.leases[lease].job;
        let job = &mut self.jobs[id];
        let before = job.marks.len();
        job.marks.retain(|mark| *mark != (lease, false));
        if job.marks.is_empty() && before > 0 && job.place == Place::Suspect {
            self.enqueue(id, true);
        }
    }

    pub(in crate::simulation) fn progress(&mut self, lease: usize) -> bool {
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

    pub(in crate::simulation) fn aside(&mut self, lease: usize, resumed: bool) -> bool {
        let held = self.holds(lease);
        if held {
            self.leases[lease].at_work = resumed;
            let id = self.leases[lease].job;
            self.jobs[id].version += 1;
        }
        held
    }

    pub(in crate::simulation) fn checkpoint(&mut self, lease: usize, step: u32) -> bool {
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

    pub(in crate::simulation) fn complete(&mut self, lease: usize) -> bool {
        let Some(now) = self.settle(lease, "complete") else { return false };
        if now {
            self.finish(self.leases[lease].job, State::Succeeded);
        }
        true
    }

    pub(in crate::simulation) fn fail(&mut self, lease: usize, retryable: bool) -> bool {
        let Some(now) = self.settle(lease, "fail") else { return false };
        if now {
            let id = self.leases[lease].job;
            if retryable && self.jobs[id].attempt < ATTEMPTS {
                self.requeue(id);
            } else {
                self.finish(id, State::Failed);
                self.dead += usize::from(retryable);
                self.jobs[id].buried = retryable;
            }
        }
        true
    }

    pub(in crate::simulation) fn release(&mut self, lease: usize, need: Option<u64>) -> bool {
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

    pub(super) fn requeue(&mut self, id: usize) {
        let job = &mut self.jobs[id];
        job.state = State::Queued;
        job.version += 1;
        if job.need > 0 {
            job.place = Place::Sized;
        } else {
            self.enqueue(id, true);
        }
    }
}
