//! Chooses the best plan that fits, and says why no better one does.

use candle_core::DType;

use super::budget::{DeviceBudget, HostBudget, SLACK_SHARE};
use super::cost::{self, StepCost};
use super::hardware::{Backend, Hardware};
use super::joint::JointStep;
use super::layout::{Job, Plan};
use super::order::{self, PlanOptions};
use super::outline::Outline;
use super::parts::{Layout, PartPlan};
use super::picture::Picture;
use super::refused::{DEVICE, HOST, Refused, Shortage};
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

    fn plan(&self, candidate: Candidate, refused: Vec<(Placement, Refused)>) -> Plan {
        let name = candidate.placement.describe(&candidate.tier);
        let refused = refused.into_iter().map(|(placement, refused)| match refused.plan == name {
            true => Refused { plan: name.clone() + placement.describe_modulations(), ..refused },
            false => refused,
        });
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
            refused: refused.collect(),
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
        let styles = self.terms.picture.styles.into();
        let read_bytes = candidate.parts.iter().map(|part| part.read_bytes(styles)).sum();
        Job {
            read_bytes,
            reading: self.hardware.speed.as_ref().map(|speed| cost::copying(read_bytes, speed)),
            prompt: speed.as_ref().map(|speed| cost::computing(ops, speed, dtype)),
        }
    }

    /// The error if no plan fits: names the closest plan, and the plan that fits without the user's settings.
    fn nothing_fits(&self, refused: &[(Placement, Refused)]) -> Error {
        let all = || refused.iter().map(|(_, refused)| refused);
        let nearest = all().min_by_key(|refused| refused.short());
        let mut reason =
            nearest.map_or_else(|| "there is none".into(), |nearest| format!("the closest is {nearest}"));
        // A host gets more memory more easily than a card does.
        let on_device =
            all().filter(|refused| refused.lacks_host_alone()).min_by_key(|refused| refused.short());
        if let Some(on_device) = on_device.filter(|on_device| nearest != Some(*on_device)) {
            reason.push_str(&format!("; the closest that fits on the device is {on_device}"));
        }
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
    /// The memories that are too small for it, if there are any.
    fn lacks(&self) -> Option<Refused> {
        let (device, host) = (&self.device, &self.host);
        let shortages: Vec<Shortage> = [
            (DEVICE, device.left(), device.need_bytes, device.usable_bytes),
            (HOST, host.left(), host.need_bytes, host.usable()),
        ]
        .into_iter()
        .filter(|(_, left, ..)| left.is_none())
        .map(|(memory, _, need_bytes, have_bytes)| Shortage { memory, need_bytes, have_bytes })
        .collect();
        let plan = || self.placement.describe(&self.tier);
        (!shortages.is_empty()).then(|| Refused { plan: plan(), shortages })
    }
}

/// Among placements that differ only in what a picture needs once, the closest one.
fn nearest_of_each(refused: Vec<(Placement, Refused)>) -> Vec<(Placement, Refused)> {
    let mut nearest: Vec<(Placement, Refused)> = Vec::new();
    for (placement, one) in refused {
        let same = |other: &Placement| (other.keep, other.blocks) == (placement.keep, placement.blocks);
        match nearest.last_mut().filter(|(other, _)| same(other)) {
            Some(best) if one.short() < best.1.short() => *best = (placement, one),
            Some(_) => {}
            None => nearest.push((placement, one)),
        }
    }
    nearest
}
