//! The samples on the device, and one turn after another.

mod copies;
mod together;
mod work;

use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uso_engine::{Engine, Error as EngineError, Image};

use super::active_sample::{ActiveSample, Entry};
use super::clock::Activity;
use super::guard::{Fault, guarded};
use super::policy::{Policy, Turn};
use super::request::{FinishedSample, PartialSample, Phase, Unfinished};
use super::shapes::Shapes;
use super::shared::{DeviceStatus, Sharing, Watched, prove};
use super::watchdog::{Limits, Size};
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
    shapes: Shapes,
    /// Which samples had the last turn. All others on the device are set aside.
    turn: Vec<u64>,
    /// Steps together that failed as a whole, since the last one that did not.
    failed_together: u32,
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
        let Sharing { slots, most_begun, bulk_every, .. } = sharing;
        let policy = Policy::new(slots, most_begun, bulk_every, engine.memory());
        Self {
            engine,
            load,
            policy,
            watched,
            limits: Limits::new(sharing.patience),
            status,
            entries: Vec::new(),
            ids: 0,
            shapes: Shapes::default(),
            turn: Vec::new(),
            failed_together: 0,
            preview_cost: Duration::ZERO,
            panicked: false,
        }
    }

    /// Samples until nobody asks any more, or the device is lost. What has begun then is handed back.
    pub(super) fn serve(mut self, inbox: &mpsc::Receiver<ActiveSample>) {
        self.publish_status();
        while self.listen(inbox) {
            self.sweep();
            let turn = match self.next_turn() {
                Some(Turn::Run(ids)) => self.run(&ids),
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

    fn next_turn(&self) -> Option<Turn> {
        let is_done = |sample: &E::Sample| self.engine.steps(sample).is_done();
        let candidate =
            |entry: &Entry<E::Sample>| entry.candidate(entry.sample.as_ref().is_some_and(is_done));
        let candidates: Vec<_> = self.entries.iter().map(candidate).collect();
        self.policy.next(&candidates, &self.shapes)
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
        let (id, shape) = (self.ids, self.shape(&active));
        self.entries.push(Entry { id, active, sample: None, copy, footprint, shape, overtaken: 0 });
    }

    /// The number of a request's shape, if its sample may be stepped with others.
    fn shape(&mut self, active: &ActiveSample) -> Option<u64> {
        let (engine, entries, slots) = (&self.engine, &self.entries, self.policy.slots());
        let request = &active.request.request;
        let shape = if slots > 1 { engine.shape(request) } else { None };
        let used = |number| entries.iter().any(|entry| entry.shape == Some(number));
        shape.map(|shape| self.shapes.number(shape, slots, |samples| engine.together(request, samples), used))
    }

    /// Publishes the status, if it has changed.
    fn publish_status(&self) {
        let residents = self.entries.iter().filter(|entry| entry.sample.is_some());
        let held = |Entry { id, footprint, .. }: &Entry<_>| {
            if self.turn.contains(id) { footprint.kept } else { footprint.aside() }
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

    /// One turn: the first sample is encoded, gets a step, or is finished. A step is for all of them.
    fn run(&mut self, ids: &[u64]) -> Result<(), Lost> {
        self.pass_turn(ids);
        self.announce(ids);
        let Some(mut entry) = ids.first().and_then(|id| self.take(*id)) else { return Ok(()) };
        let steps = entry.sample.as_ref().map(|sample| self.engine.steps(sample));
        let turn = match steps {
            None => self.begin(&mut entry).map(|()| None),
            Some(steps) if steps.is_done() => self.finish(&mut entry).map(Some),
            Some(_) if ids.len() > 1 => {
                self.entries.push(entry);
                return self.run_together(ids);
            }
            Some(steps) => self.step(&mut entry, steps.done).map(|()| None),
        };
        self.settle(entry, turn)
    }

    /// A sample, which is put back by [`Sampler::settle`].
    fn take(&mut self, id: u64) -> Option<Entry<E::Sample>> {
        let index = self.entries.iter().position(|entry| entry.id == id)?;
        Some(self.entries.swap_remove(index))
    }

    /// What becomes of a sample after its turn: it goes on, or has a picture, or has failed.
    fn settle(
        &mut self,
        mut entry: Entry<E::Sample>,
        turn: Result<Option<Image>, Fault>,
    ) -> Result<(), Lost> {
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

    /// Gives samples the turn, and sets aside those that had the last.
    fn pass_turn(&mut self, ids: &[u64]) {
        let last = std::mem::replace(&mut self.turn, ids.to_vec());
        for entry in
            self.entries.iter_mut().filter(|entry| last.contains(&entry.id) && !ids.contains(&entry.id))
        {
            let Some(sample) = &mut entry.sample else { continue };
            let begun = Instant::now();
            let limit = self.limits.of(Activity::Checkpoint, Size::of(entry.footprint.working), None);
            self.watched.watchdog.begin(limit, [&entry.active.request.stuck]);
            if let Err(fault) = guarded(|| self.engine.set_aside(sample)) {
                tracing::warn!(%fault, "a sample that is set aside stays in the device's memory as a whole");
            }
            self.watched.watchdog.end();
            entry.active.usage.device += self.watched.clock.count(Activity::Checkpoint, begun);
        }
    }

    /// Reports who has the device now. A turn that bulk is owed is over after a step, and not worth a report.
    fn announce(&mut self, ids: &[u64]) {
        let is_urgent = |entry: &Entry<E::Sample>| entry.active.request.rank.interactive;
        let (having, waiting): (Vec<_>, Vec<_>) =
            self.entries.iter_mut().partition(|entry| ids.contains(&entry.id));
        let is_owed =
            waiting.iter().any(|entry| is_urgent(entry)) && !having.iter().any(|entry| is_urgent(entry));
        if !is_owed {
            waiting.into_iter().for_each(|entry| entry.active.lets_go());
        }
        let reported = |active: &ActiveSample| !is_owed || active.progress.phase == Phase::Waiting;
        having
            .into_iter()
            .filter(|entry| reported(&entry.active))
            .for_each(|entry| entry.active.takes_over());
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
