//! What the engine does for one sample.

use std::time::{Duration, Instant};

use uso_engine::{Engine, Error as EngineError, Image};

use super::Sampler;
use crate::device::active_sample::{Entry, TimedStep};
use crate::device::clock::Activity;
use crate::device::guard::{Fault, guarded};
use crate::device::watchdog::Size;

impl<E: Engine> Sampler<'_, E> {
    /// Puts a sample on the device: where it stopped, if that can be, else from the start.
    pub(super) fn begin(&mut self, entry: &mut Entry<E::Sample>) -> Result<(), Fault> {
        let (request, hits) = (entry.request(), self.engine.cache().hits);
        let copy = entry.copy.take();
        let begin = |engine: &mut E, _: &mut Option<E::Sample>| {
            if let Some(copy) = &copy {
                match engine.resume(&request, &copy.bytes) {
                    Err(error @ EngineError::Checkpoint(_)) => tracing::warn!(%error, "starts from step 0"),
                    sample => return sample,
                }
            }
            engine.encode(&request)
        };
        let (sample, took) = self.work(entry, Activity::Encode, begin)?;
        let found = self.engine.cache().hits - hits;
        self.note_overtaking(entry);
        let active = &mut entry.active;
        active.usage.encode += took;
        active.usage.cache_hits += found;
        active.usage.prompt_tokens = self.engine.prompt_tokens(&sample);
        if !active.begun {
            active.begun = true;
            active.usage.resumed_from = self.engine.steps(&sample).done;
        }
        entry.sample = Some(sample);
        Ok(())
    }

    pub(super) fn step(&mut self, entry: &mut Entry<E::Sample>, before: u32) -> Result<(), Fault> {
        self.show_preview(entry)?;
        let step = |engine: &mut E, sample: &mut Option<E::Sample>| {
            sample.as_mut().map_or(Ok((before, 0)), |sample| {
                let skipped = engine.skipped_steps(sample);
                engine.step(sample)?;
                Ok((engine.steps(sample).done, engine.skipped_steps(sample) - skipped))
            })
        };
        let ((done, skipped), took) = self.work(entry, Activity::Step, step)?;
        entry.active.usage.skipped_steps += skipped;
        let expected = entry.sample.as_ref().and_then(|sample| self.engine.expected_step(sample));
        entry.active.stepped(done, TimedStep { took, expected, samples: 1 });
        let bulk_waits = self.entries.iter().any(|other| !other.active.request.rank.interactive);
        self.policy.stepped(entry.active.request.rank.interactive, bulk_waits, 1);
        self.predict(entry)
    }

    /// Makes a preview, if one is wanted and paid for.
    pub(super) fn show_preview(&mut self, entry: &mut Entry<E::Sample>) -> Result<(), Fault> {
        if entry.active.owes_preview(self.preview_cost) {
            let preview = |engine: &mut E, sample: &mut Option<E::Sample>| {
                sample.as_ref().map_or(Ok(None), |sample| engine.preview(sample))
            };
            let (image, took) = self.work(entry, Activity::Preview, preview)?;
            self.preview_cost = took;
            image.into_iter().for_each(|image| entry.active.previewed(image));
        }
        Ok(())
    }

    /// Gives out the picture that a sample is predicted to become, if it is wanted now.
    pub(super) fn predict(&mut self, entry: &mut Entry<E::Sample>) -> Result<(), Fault> {
        if !entry.active.owes_prediction() {
            return Ok(());
        }
        let predict = |engine: &mut E, sample: &mut Option<E::Sample>| {
            sample.as_ref().map_or(Ok(None), |sample| engine.decode_predicted(sample))
        };
        let (image, _) = self.work(entry, Activity::Decode, predict)?;
        image.into_iter().for_each(|image| entry.active.predicted(image));
        Ok(())
    }

    pub(super) fn finish(&mut self, entry: &mut Entry<E::Sample>) -> Result<Image, Fault> {
        let decode = |engine: &mut E, sample: &mut Option<E::Sample>| match sample {
            Some(sample) => engine.decode(sample),
            None => Err(EngineError::Checkpoint("there is no sample to decode".into())),
        };
        let (image, took) = self.work(entry, Activity::Decode, decode)?;
        entry.active.usage.decode += took;
        Ok(image)
    }

    /// Has the engine do something for a sample. Where its memory does not suffice, all others leave it,
    /// and it tries once more.
    fn work<T>(
        &mut self,
        entry: &mut Entry<E::Sample>,
        activity: Activity,
        mut act: impl FnMut(&mut E, &mut Option<E::Sample>) -> Result<T, EngineError>,
    ) -> Result<(T, Duration), Fault> {
        let expected = entry.sample.as_ref().and_then(|sample| self.engine.expected_step(sample));
        let size = Size::of(entry.footprint.working);
        let limit = self.limits.of(activity, size, expected);
        let begun = Instant::now();
        self.watched.watchdog.begin(limit, [&entry.active.request.stuck]);
        let mut result = guarded(|| act(&mut self.engine, &mut entry.sample));
        if let Err(Fault::Engine(error @ EngineError::OutOfMemory { .. })) = &result {
            tracing::warn!(%error, "tries once more, alone");
            self.put_off(|_| true);
            self.watched.watchdog.begin(limit, [&entry.active.request.stuck]);
            result = guarded(|| act(&mut self.engine, &mut entry.sample));
        }
        self.watched.watchdog.end();
        let took = self.watched.clock.count(activity, begun);
        entry.active.usage.device += took;
        let done = result?;
        self.limits.note(activity, size, took);
        Ok((done, took))
    }

    /// Counts for those that have waited longer that this one was begun before them.
    fn note_overtaking(&mut self, begun: &Entry<E::Sample>) {
        let rank = begun.active.request.rank;
        let came_first = |other: &Entry<E::Sample>| {
            let its = other.active.request.rank;
            (its.interactive, its.priority) == (rank.interactive, rank.priority)
                && (its.submitted_ms, other.id) < (rank.submitted_ms, begun.id)
        };
        if begun.active.begun {
            return;
        }
        for other in self.entries.iter_mut().filter(|other| !other.active.begun && came_first(other)) {
            other.overtaken += 1;
        }
    }
}
