//! When a job will be done: an estimate from what workers say of their pace and from the work ahead.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;
use uso_queue::{Class, Error, JobView, Place, Queue, State, WorkerReport, WorkerState};

/// How long what workers have said is good for: they say it every few seconds.
const FRESH: Duration = Duration::from_secs(1);

/// Where a job stands and how long it will take. What nobody can know is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Estimate {
    /// Jobs ahead of it.
    pub(crate) position: u64,
    /// Until it begins.
    pub(crate) wait_ms: Option<u64>,
    /// From then to its end.
    pub(crate) run_ms: Option<u64>,
}

impl Estimate {
    /// Until its end.
    pub(crate) fn total_ms(&self) -> Option<u64> {
        Some(self.wait_ms? + self.run_ms?)
    }
}

/// What the workers of the fleet say.
#[derive(Default)]
pub(crate) struct Paces(Mutex<Option<(Instant, Vec<WorkerReport>)>>);

impl Paces {
    async fn reports(&self, queue: &Queue) -> Result<Vec<WorkerReport>, Error> {
        let mut known = self.0.lock().await;
        match &*known {
            Some((at, reports)) if at.elapsed() < FRESH => Ok(reports.clone()),
            _ => {
                let reports: Vec<_> =
                    queue.workers().await?.into_iter().map(|(_, _, report)| report).collect();
                *known = Some((Instant::now(), reports.clone()));
                Ok(reports)
            }
        }
    }

    /// Of a job that waits or runs; none if it has ended, or if it waits for something else than its turn.
    pub(crate) async fn of_job(&self, queue: &Queue, job: &JobView) -> Result<Option<Estimate>, Error> {
        let left = job.spec.steps.saturating_sub(job.step);
        if job.state == State::Running {
            let pace = pace(&self.reports(queue).await?, job.class);
            let run_ms = pace.map(|pace| pace.run_ms(left));
            return Ok(Some(Estimate { position: 0, wait_ms: Some(0), run_ms }));
        }
        let Some(place) = queue.place(job).await? else { return Ok(None) };
        let done = job.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.step);
        let left = job.spec.steps.saturating_sub(done);
        Ok(Some(estimate(&self.reports(queue).await?, &place, job.class, left)))
    }

    /// Of a job that is not submitted yet.
    pub(crate) async fn of_prospect(
        &self,
        queue: &Queue,
        tenant: &str,
        spec: &uso_queue::JobSpec,
    ) -> Result<Estimate, Error> {
        let place = queue.prospect(tenant, spec.class, spec.priority).await?;
        Ok(estimate(&self.reports(queue).await?, &place, spec.class, spec.steps))
    }
}

/// How fast a class of jobs is worked off.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Workers that draw it.
    workers: f64,
    /// Milliseconds a step.
    step: f64,
    /// Steps a job.
    steps: f64,
    /// Milliseconds a job beside its steps.
    beside: f64,
}

impl Pace {
    fn run_ms(&self, steps: u32) -> u64 {
        (f64::from(steps) * self.step + self.beside) as u64
    }

    /// Until the job with so many before it begins. Those that run are half done on average, and the
    /// workers get free one after another.
    fn wait_ms(&self, before: f64) -> u64 {
        let queued = before - self.workers;
        if queued < 0.0 {
            return 0;
        }
        ((queued + 0.5) / self.workers * self.steps * self.step) as u64
    }
}

/// None while no worker that draws the class has drawn anything.
fn pace(reports: &[WorkerReport], class: Class) -> Option<Pace> {
    let ready = |report: &&WorkerReport| {
        report.state == WorkerState::Ready && (report.classes.is_empty() || report.classes.contains(&class))
    };
    let all: Vec<&WorkerReport> = reports.iter().filter(ready).collect();
    let mean = |value: fn(&WorkerReport) -> Option<f64>| {
        let values: Vec<f64> = all.iter().filter_map(|report| value(report)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    Some(Pace {
        workers: all.len() as f64,
        step: mean(|report| report.step_ms)?,
        steps: mean(|report| report.job_steps)?,
        beside: mean(|report| report.beside_ms)?,
    })
}

fn estimate(reports: &[WorkerReport], place: &Place, class: Class, steps: u32) -> Estimate {
    let bulk_goes_after = class == Class::Bulk;
    let position = place.ahead + if bulk_goes_after { place.interactive_waiting } else { 0 };
    let running = place.interactive_running + if bulk_goes_after { place.bulk_running } else { 0 };
    let pace = pace(reports, class);
    let wait_ms = pace.filter(|_| !place.held).map(|pace| pace.wait_ms((position + running) as f64));
    Estimate { position, wait_ms, run_ms: pace.map(|pace| pace.run_ms(steps)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> WorkerReport {
        WorkerReport {
            state: WorkerState::Ready,
            step_ms: Some(100.0),
            job_steps: Some(20.0),
            beside_ms: Some(300.0),
            ..WorkerReport::default()
        }
    }

    fn of(workers: usize, place: Place, class: Class) -> Estimate {
        estimate(&vec![worker(); workers], &place, class, 10)
    }

    #[test]
    fn an_idle_fleet_begins_at_once() {
        let estimate = of(2, Place::default(), Class::Bulk);
        assert_eq!(estimate, Estimate { position: 0, wait_ms: Some(0), run_ms: Some(1300) });
        assert_eq!(estimate.total_ms(), Some(1300));
    }

    #[test]
    fn work_ahead_is_shared_by_the_workers() {
        let place = Place { ahead: 4, bulk_running: 2, ..Place::default() };
        // Two jobs of 2 s are half done; four more come first.
        assert_eq!(of(2, place, Class::Bulk).wait_ms, Some(4500));
        let place = Place { interactive_waiting: 2, ..place };
        assert_eq!(of(2, place, Class::Bulk).position, 6);
        assert_eq!(of(2, place, Class::Bulk).wait_ms, Some(6500));
    }

    #[test]
    fn bulk_work_holds_up_no_interactive_job() {
        let place = Place { bulk_running: 4, interactive_running: 1, ..Place::default() };
        assert_eq!(of(2, place, Class::Interactive).wait_ms, Some(0));
        let place = Place { interactive_running: 2, ..place };
        assert_eq!(of(2, place, Class::Interactive).wait_ms, Some(500));
    }

    #[test]
    fn what_nobody_knows_is_not_guessed() {
        let held = Place { held: true, ..Place::default() };
        assert_eq!(of(1, held, Class::Bulk).wait_ms, None);
        assert_eq!(of(0, Place::default(), Class::Bulk).total_ms(), None);
        let other = WorkerReport { classes: vec![Class::Interactive], ..worker() };
        assert_eq!(estimate(&[other], &Place::default(), Class::Bulk, 10).run_ms, None);
    }
}
