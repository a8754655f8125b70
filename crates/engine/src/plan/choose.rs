//! Chooses the best plan that fits, and says why no better one does.

use std::fmt;

use candle_core::DType;

use super::budget::{DeviceBudget, HostBudget, SLACK_SHARE};
use super::cost::{self, StepCost};
use super::hardware::{Backend, Hardware};
use super::joint::JointStep;
use super::layout::{Job, Plan};
use super::order::{self, PlanOptions};
use super::outline::Outline;
use super::parts::{Layout, PER_JOB, PER_PROMPT, PartPlan};
use super::picture::Picture;
use super::refused::Refused;
use super::text::gib;
use super::trace::{Trace, Tracer};
use crate::Error;
use crate::model::Part;
use crate::placement::{Blocks, Place, Placement, T5Place};

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The largest picture.
    pub picture: Picture,
    /// Samples in progress at once.
    pub slots: u64,
    /// Bytes of device memory to keep free; None for the default, [`RESERVE_BYTES`] on a card.
    ///
    /// [`RESERVE_BYTES`]: super::RESERVE_BYTES
    pub reserve: Option<u64>,
    /// The compute type.
    pub dtype: DType,
    /// Settings that the user has fixed.
    pub options: PlanOptions,
}

/// A placement with its costs.
struct Candidate {
    placement: Placement,
    tier: String,
    parts: Vec<PartPlan>,
    trace: Trace,
    device: DeviceBudget,
    host: HostBudget,
}

/// Makes the best plan that fits.
///
/// # Errors
/// [`Error::Request`] for sizes and settings that are not possible; [`Error::Plan`] if nothing fits, with what is
/// needed.
pub(super) fn choose(outline: &Outline, hardware: &Hardware, terms: &Terms) -> Result<Plan, Error> {
    let terms = Terms { picture: terms.picture.checked()?, ..*terms };
    let chooser = Chooser { outline, hardware, terms };
    let placements = chooser.placements(terms.options)?;
    let mut refused = Vec::new();
    for placement in placements {
        let candidate = chooser.candidate(placement);
        match candidate.lacks() {
            None => return Ok(chooser.plan(candidate, nearest_of_each(refused))),
            Some(lack) => refused.push((placement, lack)),
        }
    }
    Err(chooser.nothing_fits(&refused))
}

struct Chooser<'a> {
    outline: &'a Outline,
    hardware: &'a Hardware,
    terms: Terms,
}

impl Chooser<'_> {
    fn placements(&self, options: PlanOptions) -> Result<Vec<Placement>, Error> {
        let hides = |keep| {
            let (t5, encoders, maps) = (T5Place::Streamed, Place::Device, Place::Device);
            let placement =
                Placement { keep, blocks: Blocks::Streamed, t5, encoders, maps, modulations: Place::Host };
            let cost = self.step(&self.candidate(placement));
            cost.is_some_and(|cost| cost.copying.expected <= cost.computing.expected)
        };
        order::placements(self.outline, self.hardware.backend, options, hides)
    }

    fn candidate(&self, placement: Placement) -> Candidate {
        let (outline, backend, dtype) = (self.outline, self.hardware.backend, self.terms.dtype);
        let layout = Layout { outline, placement, backend, dtype };
        let parts = layout.parts();
        let tracer = self.tracer(placement);
        let trace = tracer.run(&self.terms.picture);
        let Terms { reserve, slots, .. } = self.terms;
        let device = DeviceBudget::new(self.hardware, reserve, &parts, &trace, slots);
        let is_wide = outline.stored(Part::Transformer).is_wide_float();
        let host = HostBudget::new(self.hardware, &parts, &trace, is_wide, tracer.pinned_bytes());
        Candidate { placement, tier: layout.tier(), parts, trace, device, host }
    }

    fn tracer(&self, placement: Placement) -> Tracer<'_> {
        let (backend, dtype) = (self.hardware.backend, self.terms.dtype);
        let eight_bits = self.hardware.multiplies(placement.keep);
        Tracer { outline: self.outline, placement, backend, dtype, eight_bits }
    }

    /// Seconds of a step, if the device's speed is known.
    fn step(&self, candidate: &Candidate) -> Option<StepCost> {
        let speed = self.hardware.speed.as_ref()?;
        Some(self.tracer(candidate.placement).cost(&candidate.trace, speed))
    }

    fn together(&self, candidate: &Candidate) -> Option<JointStep> {
        let Terms { picture, slots, .. } = &self.terms;
        let terms = (*slots, self.hardware.speed.as_ref());
        JointStep::new(&self.tracer(candidate.placement), picture, terms, &candidate.device)
    }

    fn plan(&self, candidate: Candidate, refused: Vec<Refused>) -> Plan {
        let left_bytes = candidate.device.left().unwrap_or(0);
        let cache_bytes = crate::cache::cache_bytes(left_bytes);
        Plan {
            model: self.outline.name.clone(),
            hardware: self.hardware.clone(),
            dtype: self.terms.dtype.as_str(),
            picture: self.terms.picture,
            tokens: self.terms.picture.tokens(&self.outline.config).all(),
            placement: candidate.placement,
            stored_bytes: self.outline.stored_bytes(),
            device: candidate.device,
            host: candidate.host,
            left_bytes,
            cache_bytes,
            slots: self.terms.slots,
            slots_fit: self.slots_fit(&candidate, left_bytes - cache_bytes),
            step: self.step(&candidate),
            together: self.together(&candidate),
            step_ops: cost::by_name(
                &candidate.trace.step_ops,
                self.hardware.speed.as_ref(),
                self.terms.dtype,
            ),
            job: self.job(&candidate),
            tier: candidate.tier,
            parts: candidate.parts,
            refused,
        }
    }

    fn slots_fit(&self, candidate: &Candidate, left: u64) -> u64 {
        /// As many as a worker can be configured to have.
        const MOST: u64 = 64;
        let kept = candidate.device.kept_bytes;
        let more = left / (kept + kept / SLACK_SHARE).max(1);
        self.terms.slots.saturating_add(more).min(MOST.max(self.terms.slots))
    }

    fn job(&self, candidate: &Candidate) -> Job {
        let on_processor = candidate.placement.t5.is_host();
        let (speed, dtype) = match on_processor {
            true => (&self.hardware.processor, Backend::Cpu.compute()),
            false => (&self.hardware.speed, self.terms.dtype),
        };
        let ops = &candidate.trace.prompt_ops;
        let read_bytes =
            candidate.parts.iter().filter(|part| part.place == PER_JOB || part.place == PER_PROMPT);
        let read_bytes = read_bytes.map(|part| part.mapped_bytes + part.host_bytes).sum();
        Job {
            read_bytes,
            reading: self.hardware.speed.as_ref().map(|speed| cost::copying(read_bytes, speed)),
            prompt: speed.as_ref().map(|speed| cost::computing(ops, speed, dtype)),
        }
    }

    /// The error if no plan fits: names the closest plan, and the plan that fits without the user's settings.
    fn nothing_fits(&self, refused: &[(Placement, Refused)]) -> Error {
        let nearest = refused.iter().map(|(_, refused)| refused).min_by_key(|refused| refused.short());
        let mut reason =
            nearest.map_or_else(|| "there is none".into(), |nearest| format!("the closest is {nearest}"));
        let free = Terms { options: PlanOptions::default(), ..self.terms };
        if self.terms.options != free.options
            && let Ok(plan) = choose(self.outline, self.hardware, &free)
        {
            reason.push_str(&format!("; {} would fit", plan.name()));
        }
        Error::Plan(reason)
    }
}

impl Candidate {
    /// The memory that is too small for it, if any.
    fn lacks(&self) -> Option<Refused> {
        let refused = |memory, need_bytes, have_bytes| {
            let plan = self.placement.describe(&self.tier);
            Some(Refused { plan, memory, need_bytes, have_bytes })
        };
        let (device, host) = (&self.device, &self.host);
        if device.left().is_none() {
            return refused("device", device.need_bytes, device.usable_bytes);
        }
        if host.left().is_none() {
            return refused("host", host.need_bytes, host.usable());
        }
        None
    }
}

impl Refused {
    fn short(&self) -> u64 {
        self.need_bytes.saturating_sub(self.have_bytes)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [need, have] = [self.need_bytes, self.have_bytes].map(gib);
        write!(formatter, "{}: needs {need} of {} memory, {have} is available", self.plan, self.memory)
    }
}

/// Among placements that differ only in what a picture needs once, the closest one.
fn nearest_of_each(refused: Vec<(Placement, Refused)>) -> Vec<Refused> {
    let mut nearest: Vec<(Placement, Refused)> = Vec::new();
    for (placement, one) in refused {
        let same = |other: &Placement| (other.keep, other.blocks) == (placement.keep, placement.blocks);
        match nearest.last_mut().filter(|(other, _)| same(other)) {
            Some((_, best)) if one.short() < best.short() => *best = one,
            Some(_) => {}
            None => nearest.push((placement, one)),
        }
    }
    nearest.into_iter().map(|(_, refused)| refused).collect()
}
