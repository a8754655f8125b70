//! Steps of several samples together.

use std::time::Instant;

use uso_engine::{Engine, Error as EngineError};

use super::{Lost, Sampler};
use crate::Error;
use crate::device::active_sample::{Entry, TimedStep};
use crate::device::clock::Activity;
use crate::device::guard::{Fault, guarded};
use crate::device::watchdog::Size;

/// Steps together that may fail as a whole, one after another, before all samples are stepped alone for good.
const MOST_FAILED: u32 = 2;

impl<E: Engine> Sampler<'_, E> {
    /// A step of these samples together. What happens to one of them ends that one alone.
    pub(super) fn run_together(&mut self, ids: &[u64]) -> Result<(), Lost> {
        for id in ids {
            let Some(mut entry) = self.take(*id) else { continue };
            let shown = self.show_preview(&mut entry).map(|()| None);
            self.settle(entry, shown)?;
        }
        let is_in = |entry: &Entry<E::Sample>| ids.contains(&entry.id) && entry.sample.is_some();
        let (mut group, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.entries).into_iter().partition(is_in);
        self.entries = others;
        if group.len() < 2 {
            self.entries.extend(group);
            return Ok(());
        }
        let stepped = self.step_together(&mut group);
        let members: Vec<u64> = group.iter().map(|entry| entry.id).collect();
        match stepped {
            Ok((ends, step)) => {
                self.failed_together = 0;
                self.note_step(&group);
                self.entries.extend(group);
                members.into_iter().zip(ends).try_for_each(|(id, end)| self.settle_step(id, end, step))
            }
            Err(fault) => {
                self.separate(&mut group, &fault);
                self.entries.extend(group);
                match fault {
                    // They go on alone, and whatever is wrong with one of them shows there.
                    Fault::Engine(_) => Ok(()),
                    Fault::Panic(message) => self.recover_together(&members, message),
                }
            }
        }
    }

    /// Has the engine step the samples; gives how each ended and the time of the step.
    fn step_together(
        &mut self,
        group: &mut [Entry<E::Sample>],
    ) -> Result<(Vec<Result<(), EngineError>>, TimedStep), Fault> {
        let samples = group.len();
        let first = group.first().and_then(|entry| Some((entry.shape?, entry.footprint.working)));
        let step = first.and_then(|(shape, _)| self.shapes.step(shape, samples));
        let expected = step.and_then(|step| step.expected);
        let bytes = first.map_or(0, |(_, working)| working);
        let size = Size { bytes, samples: samples as u32 };
        let limit = self.limits.of(Activity::Step, size, expected);
        let begun = Instant::now();
        self.watched.watchdog.begin(limit, group.iter().map(|entry| &entry.active.request.stuck));
        let ends = guarded(|| {
            let mut samples: Vec<_> = group.iter_mut().filter_map(|entry| entry.sample.as_mut()).collect();
            self.engine.step_together(&mut samples)
        });
        self.watched.watchdog.end();
        let took = self.watched.clock.count_several(Activity::Step, samples, begun);
        let own = took / (samples as u32).max(1);
        group.iter_mut().for_each(|entry| entry.active.usage.device += own);
        let ends = ends?;
        self.limits.note(Activity::Step, size, took);
        Ok((ends, TimedStep { took, expected, samples: samples as u32 }))
    }

    fn note_step(&mut self, group: &[Entry<E::Sample>]) {
        let bulk_waits = self.entries.iter().any(|other| !other.active.request.rank.interactive);
        let interactive = group.iter().any(|entry| entry.active.request.rank.interactive);
        self.policy.stepped(interactive, bulk_waits, group.len());
    }

    /// What becomes of one of the samples after the step.
    fn settle_step(&mut self, id: u64, end: Result<(), EngineError>, step: TimedStep) -> Result<(), Lost> {
        let Some(mut entry) = self.take(id) else { return Ok(()) };
        let turn = match (end, &entry.sample) {
            (Err(error), _) => Err(Fault::Engine(error)),
            (Ok(()), Some(sample)) => {
                entry.active.stepped(self.engine.steps(sample).done, step);
                self.predict(&mut entry)
            }
            // It left the device for another one's sake meanwhile.
            (Ok(()), None) => Ok(()),
        };
        self.settle(entry, turn.map(|()| None))
    }

    /// Has samples step alone after a step together that failed as a whole: where memory did not suffice, fewer of this
    /// shape step together from now on.
    fn separate(&mut self, group: &mut [Entry<E::Sample>], fault: &Fault) {
        tracing::warn!(%fault, samples = group.len(), "a step of several samples failed; they go on alone");
        let shape = group.first().and_then(|entry| entry.shape);
        match (fault, shape) {
            (Fault::Engine(EngineError::OutOfMemory { .. }), Some(shape)) => {
                self.shapes.limit(shape, group.len().saturating_sub(1));
            }
            _ => {
                group.iter_mut().for_each(|entry| entry.shape = None);
                self.failed_together += 1;
            }
        }
        if self.failed_together >= MOST_FAILED {
            tracing::error!("steps of several samples fail; every sample is stepped alone from now on");
            self.policy.step_alone();
        }
    }

    /// After a panic the model is loaded anew. It was not one sample's: the one that causes it panics alone, and that
    /// costs it its attempt.
    fn recover_together(&mut self, members: &[u64], message: String) -> Result<(), Lost> {
        self.put_off(|_| true);
        let lost = if self.panicked { Some(message) } else { self.reload().err() };
        let Some(reason) = lost else { return Ok(()) };
        if let Some(entry) = members.first().and_then(|id| self.take(*id)) {
            entry.active.end(Err(Error::DeviceLost(reason).into()));
        }
        Err(Lost)
    }
}
