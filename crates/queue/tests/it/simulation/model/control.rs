//! What operators do.

use uso_queue::{BatchCounts, BatchOperation, Class, State};

use super::Model;

impl Model {
    pub(in crate::simulation) fn pause_tenant(&mut self, tenant: usize, paused: bool) {
        self.tenants.entry(tenant).or_default().paused = paused;
    }

    pub(in crate::simulation) fn pause_class(&mut self, class: Class, paused: bool) {
        self.paused.insert(class.as_str(), paused);
    }

    pub(in crate::simulation) fn limit(&mut self, tenant: usize, weight: u32, max_running: Option<u64>) {
        let tenant = self.tenants.entry(tenant).or_default();
        (tenant.weight, tenant.max_running) = (weight, max_running);
    }

    /// The jobs that are made anew, in order.
    pub(in crate::simulation) fn control(&mut self, batch: usize, operation: BatchOperation) -> Vec<usize> {
        let Some(controlled) = self.batches.get_mut(&batch) else { return Vec::new() };
        let members = controlled.members.clone();
        match operation {
            BatchOperation::Pause => controlled.paused = true,
            BatchOperation::Resume => controlled.paused = false,
            BatchOperation::Cancel => (controlled.paused, controlled.stopped) = (false, true),
            BatchOperation::RetryFailed => controlled.stopped = false,
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
                let failed = |id: &usize| {
                    let job = &self.jobs[*id];
                    job.state == State::Failed && job.retried_by.is_none() && !job.removed
                };
                let failed: Vec<usize> = members.into_iter().filter(failed).collect();
                failed.into_iter().filter_map(|id| self.retry(id)).map(|(new, _)| new).collect()
            }
        }
    }

    /// A batch's counters, each job counted as its newest repetition.
    pub(in crate::simulation) fn counts(&self, batch: usize) -> BatchCounts {
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
}
