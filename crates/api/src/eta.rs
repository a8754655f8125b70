//! When a job will be done: an estimate from what workers say of their pace and from the work ahead.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;
use uso_queue::{Class, Error, JobSpec, JobView, Queue, QueuePosition, State, WorkerReport, WorkerState};

/// How long reports of workers are used: workers send one every few seconds.
const FRESH: Duration = Duration::from_secs(1);

/// A job's position and how long it will take. What is unknown is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Estimate {
    /// Jobs ahead of it; of several, ahead of the first.
    pub(crate) position: u64,
    /// Milliseconds until it begins; of several, until the last does.
    pub(crate) wait_ms: Option<u64>,
    /// Milliseconds from then to its end.
    pub(crate) run_ms: Option<u64>,
    /// Whether a pause or the window of bulk work holds the job up, for an unknown time.
    pub(crate) held: bool,
}

impl Estimate {
    /// Until its end.
    pub(crate) fn total_ms(&self) -> Option<u64> {
        Some(self.wait_ms? + self.run_ms?)
    }
}

/// The newest reports of the fleet's workers.
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

    /// The estimate of a job that waits or runs; none if it has ended, or does not wait for workers.
    pub(crate) async fn of_job(&self, queue: &Queue, job: &JobView) -> Result<Option<Estimate>, Error> {
        let left = job.spec.steps.saturating_sub(job.step);
        if job.state == State::Running {
            let pace = pace(&self.reports(queue).await?, job.class);
            let run_ms = pace.map(|pace| pace.run_ms(f64::from(left)));
            return Ok(Some(Estimate { position: 0, wait_ms: Some(0), run_ms, held: false }));
        }
        let Some(place) = queue.position(job).await? else { return Ok(None) };
        let done = job.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.step);
        let left = job.spec.steps.saturating_sub(done);
        let work = Work { class: job.class, steps: left, jobs: 1 };
        Ok(Some(estimate(&self.reports(queue).await?, &place, work)))
    }

    /// The estimate of so many equal jobs that are not submitted yet.
    pub(crate) async fn of_prospect(
        &self,
        queue: &Queue,
        tenant: &str,
        spec: &JobSpec,
        jobs: usize,
    ) -> Result<Estimate, Error> {
        let place = queue.position_of_new(tenant, spec.class, spec.priority).await?;
        let work = Work { class: spec.class, steps: spec.steps, jobs: jobs.max(1) as u64 };
        Ok(estimate(&self.reports(queue).await?, &place, work))
    }
}

/// Equal jobs, one after another.
#[derive(Debug, Clone, Copy)]
struct Work {
    class: Class,
    /// Steps that each has before it.
    steps: u32,
    /// One at least.
    jobs: u64,
}

/// How fast a class of jobs is worked off.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Workers that run jobs of the class.
    workers: f64,
    /// Milliseconds a step.
    step: f64,
    /// Steps a job.
    steps: f64,
    /// Milliseconds a job beside its steps.
    beside: f64,
}

impl Pace {
    fn run_ms(&self, steps: f64) -> u64 {
        (steps * self.step + self.beside) as u64
    }

    /// Until the job with so many before it, of so many steps each, begins. Those that run are half done on
    /// average, and the workers get free one after another. Encoding and decoding take the device as steps do.
    fn wait_ms(&self, before: f64, steps: f64) -> u64 {
        let queued = before - self.workers;
        if queued < 0.0 {
            return 0;
        }
        ((queued + 0.5) / self.workers * (steps * self.step + self.beside)) as u64
    }
}

/// None while no worker of the class has finished a job.
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

fn estimate(reports: &[WorkerReport], place: &QueuePosition, work: Work) -> Estimate {
    let bulk_goes_after = work.class == Class::Bulk;
    let position = place.ahead + if bulk_goes_after { place.interactive_waiting } else { 0 };
    let running = place.interactive_running + if bulk_goes_after { place.bulk_running } else { 0 };
    let own_before = work.jobs - 1;
    let pace = pace(reports, work.class);
    let wait = |pace: Pace| {
        let steps = steps_before(place.steps.unwrap_or(pace.steps), position, work);
        pace.wait_ms((position + running + own_before) as f64, steps)
    };
    let wait_ms = pace.filter(|_| !place.paused).map(wait);
    let run_ms = pace.map(|pace| pace.run_ms(f64::from(work.steps)));
    Estimate { position, wait_ms, run_ms, held: place.paused }
}

/// Steps that each job before the last of this work has on average, where each of the `ahead` others has `of_others`.
fn steps_before(of_others: f64, ahead: u64, work: Work) -> f64 {
    let (ahead, own) = (ahead as f64, (work.jobs - 1) as f64);
    if ahead + own == 0.0 {
        return of_others;
    }
    (ahead * of_others + own * f64::from(work.steps)) / (ahead + own)
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

    fn of(workers: usize, place: QueuePosition, class: Class) -> Estimate {
        estimate(&vec![worker(); workers], &place, Work { class, steps: 10, jobs: 1 })
    }

    #[test]
    fn an_idle_fleet_begins_at_once() {
        let estimate = of(2, QueuePosition::default(), Class::Bulk);
        let at_once = Estimate { position: 0, wait_ms: Some(0), run_ms: Some(1300), held: false };
        assert_eq!(estimate, at_once);
        assert_eq!(estimate.total_ms(), Some(1300));
    }

    #[test]
    fn work_ahead_is_shared_by_the_workers() {
        let place = QueuePosition { ahead: 4, bulk_running: 2, ..QueuePosition::default() };
        // Two jobs of 2.3 s are half done; four more come first.
        assert_eq!(of(2, place, Class::Bulk).wait_ms, Some(5175));
        let place = QueuePosition { interactive_waiting: 2, ..place };
        assert_eq!(of(2, place, Class::Bulk).position, 6);
        assert_eq!(of(2, place, Class::Bulk).wait_ms, Some(7475));
    }

    #[test]
    fn jobs_ahead_count_with_their_own_steps_not_with_those_of_the_past() {
        // Jobs of 20 steps ran so far; seventeen of 97, which take 10 s each, wait while one runs.
        let place = QueuePosition {
            ahead: 17,
            interactive_running: 1,
            steps: Some(97.0),
            ..QueuePosition::default()
        };
        assert_eq!(of(1, place, Class::Interactive).wait_ms, Some(175_000));
    }

    #[test]
    fn several_jobs_take_as_long_as_the_last_of_them() {
        let eight = |workers: usize, place: QueuePosition| {
            let work = Work { class: Class::Interactive, steps: 10, jobs: 8 };
            estimate(&vec![worker(); workers], &place, work)
        };
        let alone = eight(1, QueuePosition::default());
        // Jobs of 1.3 s each.
        assert_eq!((alone.position, alone.run_ms), (0, Some(1300)));
        let all = alone.total_ms().unwrap();
        assert!((7 * 1300..=8 * 1300).contains(&all), "{all}");
        assert_eq!(eight(8, QueuePosition::default()).total_ms(), Some(1300), "all at once");
        let behind = eight(1, QueuePosition { ahead: 5, interactive_running: 1, ..QueuePosition::default() });
        // Half a job, five of 2.3 s and seven of 1.3 s; the half one is as long as the others are on average.
        let (ahead, halved) = (5 * 2300 + 7 * 1300, (5 * 2300 + 7 * 1300) / 12 / 2);
        assert_eq!((behind.position, behind.wait_ms), (5, Some(ahead + halved)));
    }

    #[test]
    fn bulk_work_holds_up_no_interactive_job() {
        let place = QueuePosition { bulk_running: 4, interactive_running: 1, ..QueuePosition::default() };
        assert_eq!(of(2, place, Class::Interactive).wait_ms, Some(0));
        let place = QueuePosition { interactive_running: 2, ..place };
        assert_eq!(of(2, place, Class::Interactive).wait_ms, Some(575));
    }

    #[test]
    fn what_is_unknown_is_not_guessed() {
        let held = QueuePosition { paused: true, ..QueuePosition::default() };
        let paused = of(1, held, Class::Bulk);
        assert_eq!((paused.wait_ms, paused.total_ms(), paused.held), (None, None, true));
        assert_eq!(of(0, QueuePosition::default(), Class::Bulk).total_ms(), None);
        let other = WorkerReport { classes: vec![Class::Interactive], ..worker() };
        let work = Work { class: Class::Bulk, steps: 10, jobs: 1 };
        assert_eq!(estimate(&[other], &QueuePosition::default(), work).run_ms, None);
    }
}
