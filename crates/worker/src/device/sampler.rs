//! The samples on the device, and one turn after another.

use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uso_engine::{Engine, Error as EngineError, Image};

use super::active_sample::{ActiveSample, Entry};
use super::clock::Activity;
use super::guard::{Fault, guarded};
use super::policy::{Policy, Turn};
use super::request::{FinishedSample, PartialSample, Phase, Unfinished};
use super::shared::{DeviceStatus, Sharing, Watched, prove};
use super::watchdog::Limits;
use crate::Error;

/// The engine, and the samples that it works on.
pub(super) struct Sampler<'a, E: Engine> {
    engine: E,
    load: &'a dyn Fn() -> Result<E, EngineError>,
    policy: Policy,
    watched: Watched<'a>,
    limits: Limits,
    status: &'a watch::Sender<DeviceStatus>,
    entries: Vec<Entry<E::Sample>>,
    ids: u64,
    /// Which sample had the last turn. All others on the device are set aside.
    turn: Option<u64>,
    /// What the last preview cost.
    preview_cost: Duration,
    /// Whether the last sample that ended here ended in a panic.
    panicked: bool,
}

/// The device can do no more.
struct Lost;

impl<'a, E: Engine> Sampler<'a, E> {
    pub(super) fn new(
        engine: E,
        load: &'a dyn Fn() -> Result<E, EngineError>,
        sharing: Sharing,
        watched: Watched<'a>,
        status: &'a watch::Sender<DeviceStatus>,
    ) -> Self {
        let policy = Policy::new(sharing.most_begun, sharing.bulk_every, engine.memory());
        Self {
            engine,
            load,
            policy,
            watched,
            limits: Limits::new(sharing.patience),
            status,
            entries: Vec::new(),
            ids: 0,
            turn: None,
            preview_cost: Duration::ZERO,
            panicked: false,
        }
    }

    /// Samples until nobody asks any more, or the device is lost. What has begun then is handed back.
    pub(super) fn serve(mut self, inbox: &mpsc::Receiver<ActiveSample>) {
        self.publish_status();
        while self.listen(inbox) {
            self.sweep();
            let candidates: Vec<_> = self.entries.iter().map(Entry::candidate).collect();
            let turn = match self.policy.next(&candidates) {
                Some(Turn::Run(id)) => self.run(id),
                Some(Turn::PutOff(id)) => {
                    self.put_off(|entry| entry.id == id);
                    Ok(())
                }
                None => Ok(()),
            };
            if turn.is_err() {
                break;
            }
            self.grant_copies();
            self.publish_status();
        }
        for entry in self.entries {
            let partial = entry.partial();
            entry.active.end(Err(Unfinished::HandedBack(partial)));
        }
    }

    /// Takes in new requests, and waits for one if there is nothing to do. False if there will be nothing.
    fn listen(&mut self, inbox: &mpsc::Receiver<ActiveSample>) -> bool {
        if self.entries.is_empty() {
            let begun = Instant::now();
            let Ok(active) = inbox.recv() else { return false };
            self.watched.clock.count(Activity::Idle, begun);
            self.admit(active);
        }
        loop {
            match inbox.try_recv() {
                Ok(active) => self.admit(active),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn admit(&mut self, mut active: ActiveSample) {
        let footprint = self.engine.footprint(&active.request.request);
        if !self.policy.fits_alone(footprint) {
            let need = footprint.alone();
            let memory = self.engine.memory().unwrap_or(need);
            active.end(Err(Unfinished::TooBig { need, memory }));
            return;
        }
        self.ids += 1;
        // What an attempt before has left; its step is known once the engine has read it.
        let copy = active.request.resume.take().map(|bytes| PartialSample { step: 0, bytes });
        self.entries.push(Entry { id: self.ids, active, sample: None, copy, footprint });
    }

    /// Publishes the status, if it has changed.
    fn publish_status(&self) {
        let residents = self.entries.iter().filter(|entry| entry.sample.is_some());
        let held = |Entry { id, footprint, .. }: &Entry<_>| {
            if self.turn == Some(*id) { footprint.kept } else { footprint.aside() }
        };
        let taken = residents.map(held).fold(0, u64::saturating_add);
        let free = self.engine.memory().map(|memory| memory.saturating_sub(taken));
        let now = DeviceStatus { cache: self.engine.cache(), free };
        self.status.send_if_modified(|before| std::mem::replace(before, now) != now);
    }

    /// Ends what nobody wants sampled here any more.
    fn sweep(&mut self) {
        let (ending, staying) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| entry.active.is_given_up() || entry.active.is_to_stop());
        self.entries = staying;
        for mut entry in ending {
            if entry.active.is_given_up() {
                entry.active.end(Err(Error::Abandoned.into()));
                continue;
            }
            if entry.active.request.drop.is_cancelled() {
                let usage = entry.active.usage;
                entry.active.end(Err(Unfinished::Dropped(Box::new(usage))));
                continue;
            }
            self.lift(&mut entry);
            let partial = entry.partial();
            entry.active.end(Err(Unfinished::HandedBack(partial)));
        }
    }

    /// One turn of one sample: it is encoded, gets a step, or is finished.
    fn run(&mut self, id: u64) -> Result<(), Lost> {
        self.pass_turn(id);
        let Some(index) = self.entries.iter().position(|entry| entry.id == id) else { return Ok(()) };
        let mut entry = self.entries.swap_remove(index);
        self.announce(&mut entry.active);
        let steps = entry.sample.as_ref().map(|sample| self.engine.steps(sample));
        let turn = match steps {
            None => self.begin(&mut entry).map(|()| None),
            Some(steps) if steps.is_done() => self.finish(&mut entry).map(Some),
            Some(steps) => self.step(&mut entry, steps.done).map(|()| None),
        };
        match turn {
            Ok(None) => self.entries.push(entry),
            Ok(Some(image)) => {
                self.panicked = false;
                let usage = entry.active.usage;
                entry.active.end(if image.is_flat() {
                    Err(Error::Flat.into())
                } else {
                    Ok(FinishedSample { image, usage })
                });
            }
            Err(Fault::Engine(error)) => entry.active.end(Err(error.into())),
            Err(Fault::Panic(message)) => {
                // Its numbers may be half written, and belong to the engine that goes now.
                entry.sample = None;
                return self.recover(entry.active, message);
            }
        }
        Ok(())
    }

    /// Gives a sample the turn, and sets aside the one that had the last.
    fn pass_turn(&mut self, id: u64) {
        let Some(last) = self.turn.replace(id).filter(|last| *last != id) else { return };
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == last) else { return };
        let Some(sample) = &mut entry.sample else { return };
        let begun = Instant::now();
        let limit = self.limits.of(Activity::Checkpoint, entry.footprint.working, None);
        self.watched.watchdog.begin(limit, &entry.active.request.stuck);
        if let Err(fault) = guarded(|| self.engine.set_aside(sample)) {
            tracing::warn!(%fault, "a sample that is set aside stays in the device's memory as a whole");
        }
        self.watched.watchdog.end();
        entry.active.usage.device += self.watched.clock.count(Activity::Checkpoint, begun);
    }

    /// Reports who has the device now. A turn that bulk is owed is over after a step, and not worth a report.
    fn announce(&mut self, active: &mut ActiveSample) {
        let urgent_waits = self.entries.iter().any(|entry| entry.active.request.rank.interactive);
        let is_owed = !active.request.rank.interactive && urgent_waits;
        if !is_owed {
            self.entries.iter_mut().for_each(|entry| entry.active.lets_go());
        }
        if !is_owed || active.progress.phase == Phase::Waiting {
            active.takes_over();
        }
    }

    /// Puts a sample on the device: where it stopped, if that can be, else from the start.
    fn begin(&mut self, entry: &mut Entry<E::Sample>) -> Result<(), Fault> {
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

    fn step(&mut self, entry: &mut Entry<E::Sample>, before: u32) -> Result<(), Fault> {
        if entry.active.owes_preview(self.preview_cost) {
            let preview = |engine: &mut E, sample: &mut Option<E::Sample>| {
                sample.as_ref().map_or(Ok(None), |sample| engine.preview(sample))
            };
            let (image, took) = self.work(entry, Activity::Preview, preview)?;
            self.preview_cost = took;
            image.into_iter().for_each(|image| entry.active.previewed(image));
        }
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
        entry.active.stepped(done, took, expected);
        let bulk_waits = self.entries.iter().any(|other| !other.active.request.rank.interactive);
        self.policy.stepped(entry.active.request.rank.interactive, bulk_waits);
        self.predict(entry)
    }

    /// Gives out the picture that a sample is predicted to become, if it is wanted now.
    fn predict(&mut self, entry: &mut Entry<E::Sample>) -> Result<(), Fault> {
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

    fn finish(&mut self, entry: &mut Entry<E::Sample>) -> Result<Image, Fault> {
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
        let size = entry.footprint.working;
        let limit = self.limits.of(activity, size, expected);
        let begun = Instant::now();
        self.watched.watchdog.begin(limit, &entry.active.request.stuck);
        let mut result = guarded(|| act(&mut self.engine, &mut entry.sample));
        if let Err(Fault::Engine(error @ EngineError::OutOfMemory { .. })) = &result {
            tracing::warn!(%error, "tries once more, alone");
            self.put_off(|_| true);
            self.watched.watchdog.begin(limit, &entry.active.request.stuck);
            result = guarded(|| act(&mut self.engine, &mut entry.sample));
        }
        self.watched.watchdog.end();
        let took = self.watched.clock.count(activity, begun);
        entry.active.usage.device += took;
        let done = result?;
        self.limits.note(activity, size, took);
        Ok((done, took))
    }

    /// Makes the copies that are wanted, also of samples that are set aside: a worker's death costs them too.
    fn grant_copies(&mut self) {
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
    fn put_off(&mut self, chosen: impl Fn(&Entry<E::Sample>) -> bool) {
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
    fn lift(&self, entry: &mut Entry<E::Sample>) {
        if entry.sample.is_some() {
            entry.copy = self.copy(entry);
            entry.sample = None;
        }
    }

    /// A copy of a sample that has done a step.
    fn copy(&self, entry: &mut Entry<E::Sample>) -> Option<PartialSample> {
        let begun = Instant::now();
        let limit = self.limits.of(Activity::Checkpoint, entry.footprint.working, None);
        self.watched.watchdog.begin(limit, &entry.active.request.stuck);
        let copy = guarded(|| partial_sample(&self.engine, &entry.sample));
        self.watched.watchdog.end();
        entry.active.usage.device += self.watched.clock.count(Activity::Checkpoint, begun);
        copy.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "a partial sample could not be copied");
            None
        })
    }

    /// After a panic the model is loaded anew, for its tensors may be half written. A second one in a row
    /// means that the device itself is gone.
    fn recover(&mut self, active: ActiveSample, message: String) -> Result<(), Lost> {
        self.put_off(|_| true);
        let lost = if self.panicked { Some(message.clone()) } else { self.reload().err() };
        self.panicked = true;
        match lost {
            None => {
                active.end(Err(Error::Panicked(message).into()));
                Ok(())
            }
            Some(reason) => {
                active.end(Err(Error::DeviceLost(reason).into()));
                Err(Lost)
            }
        }
    }

    fn reload(&mut self) -> Result<(), String> {
        match guarded(|| prove(self.load, self.watched.condition)) {
            Ok(engine) => {
                self.engine = engine;
                Ok(())
            }
            Err(Fault::Engine(error)) => Err(error.to_string()),
            Err(Fault::Panic(message)) => Err(message),
        }
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
