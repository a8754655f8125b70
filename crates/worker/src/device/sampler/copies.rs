//! Copies of samples, from which they go on here or elsewhere.

use std::time::Instant;

use uso_engine::{Engine, Error as EngineError};

use super::Sampler;
use crate::device::active_sample::Entry;
use crate::device::clock::Activity;
use crate::device::guard::guarded;
use crate::device::request::PartialSample;
use crate::device::watchdog::Size;

impl<E: Engine> Sampler<'_, E> {
    /// Makes the copies that are wanted, also of samples that are set aside: a worker's death costs them too.
    pub(super) fn grant_copies(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        for entry in &mut entries {
            if entry.sample.is_some()
                && entry.active.owes_copy()
                && let Some(copy) = self.copy(entry)
            {
                entry.active.copied(copy);
            }
        }
        self.entries = entries;
    }

    /// Takes samples off the device; they go on later, here or after this worker's death elsewhere.
    pub(super) fn put_off(&mut self, chosen: impl Fn(&Entry<E::Sample>) -> bool) {
        let mut entries = std::mem::take(&mut self.entries);
        for entry in entries.iter_mut().filter(|entry| chosen(entry)) {
            self.lift(entry);
            if let Some(copy) = entry.partial() {
                entry.active.copied(copy);
            }
        }
        self.entries = entries;
    }

    /// Takes a sample off the device, with a copy of its state if that can be had.
    pub(super) fn lift(&self, entry: &mut Entry<E::Sample>) {
        if entry.sample.is_some() {
            entry.copy = self.copy(entry);
            entry.sample = None;
        }
    }

    /// A copy of a sample that has done a step.
    fn copy(&self, entry: &mut Entry<E::Sample>) -> Option<PartialSample> {
        let begun = Instant::now();
        let limit = self.limits.of(Activity::Checkpoint, Size::of(entry.footprint.working), None);
        self.watched.watchdog.begin(limit, [&entry.active.request.stuck]);
        let copy = guarded(|| partial_sample(&self.engine, &entry.sample));
        self.watched.watchdog.end();
        entry.active.usage.device += self.watched.clock.count(Activity::Checkpoint, begun);
        copy.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "a partial sample could not be copied");
            None
        })
    }
}

/// A copy of a sample that has done a step.
fn partial_sample<E: Engine>(
    engine: &E,
    sample: &Option<E::Sample>,
) -> Result<Option<PartialSample>, EngineError> {
    let Some(sample) = sample else { return Ok(None) };
    let step = engine.steps(sample).done;
    if step == 0 {
        return Ok(None);
    }
    Ok(Some(PartialSample { step, bytes: engine.checkpoint(sample)?.into() }))
}
