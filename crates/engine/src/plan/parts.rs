//! The memory of each part of a model, on the device and on the host.

use candle_core::DType;
use serde::Serialize;

use super::hardware::Backend;
use super::outline::{Outline, Role};
use super::trace::{t5_dtype, t5_keep};
use crate::matrix::Tier;
use crate::model::Part;
use crate::placement::{Blocks, Keep, Place, Placement, T5Place};

/// Memory of a part between jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartPlan {
    /// The part.
    pub part: &'static str,
    /// Where it is.
    pub place: &'static str,
    /// How its numbers are stored.
    pub kept: String,
    /// Bytes on the device.
    pub device_bytes: u64,
    /// Bytes in host memory that only this part may use.
    pub host_bytes: u64,
    /// Bytes of its file that are read repeatedly, best from the page cache.
    pub mapped_bytes: u64,
}

/// Places that cost time in every step or job.
const STREAMED: &str = "streamed";
const PER_JOB: &str = "per job";
const PER_PROMPT: &str = "per prompt";
const PER_USE: &str = "per use";

const CLIP: &str = "CLIP";

impl PartPlan {
    /// Bytes of the part that a job with so many style references copies to the device before its steps.
    pub(super) fn read_bytes(&self, styles: u64) -> u64 {
        let times = match (self.place, self.part) {
            (PER_JOB | PER_PROMPT, _) | (PER_USE, CLIP) => 1,
            // Each style reference is encoded by itself.
            (PER_USE, _) => styles,
            _ => 0,
        };
        times * (self.mapped_bytes + self.host_bytes)
    }
}

/// Lays out the parts of a model.
pub(super) struct Layout<'a> {
    pub(super) outline: &'a Outline,
    pub(super) placement: Placement,
    pub(super) backend: Backend,
    pub(super) dtype: DType,
}

impl Layout<'_> {
    pub(super) fn parts(&self) -> Vec<PartPlan> {
        vec![
            self.blocks(),
            self.ends(),
            self.modulations(),
            self.lora(),
            self.part(Part::Autoencoder, "autoencoder", Place::Device, DType::F32),
            self.t5(),
            self.encoder(Part::Clip, CLIP),
            self.encoder(Part::Siglip, "SigLIP"),
            self.encoder(Part::Projector, "style projector"),
        ]
    }

    fn roles(&self) -> impl Iterator<Item = (Role<'_>, u64)> {
        self.outline.roles(self.placement.keep, self.dtype).into_iter()
    }

    fn blocks(&self) -> PartPlan {
        let blocks = self.roles().filter(|(role, _)| matches!(role, Role::Block(_)));
        let all = blocks.map(|(_, bytes)| bytes).sum();
        let part = PartPlan { part: "transformer blocks", ..on("device", self.tier(), all) };
        match self.placement.blocks {
            Blocks::Resident => part,
            Blocks::Streamed => {
                let (host_bytes, mapped_bytes) = if self.backend.is_apart() { (all, 0) } else { (0, all) };
                PartPlan { place: STREAMED, device_bytes: 0, host_bytes, mapped_bytes, ..part }
            }
        }
    }

    /// The tier of the blocks' matrices.
    pub(super) fn tier(&self) -> String {
        match self.placement.keep {
            Keep::AsStored => self.outline.stored(Part::Transformer).to_string(),
            Keep::Tier(tier) if tier.stored().is_none() => self.dtype.as_str().to_owned(),
            Keep::Tier(tier) => tier.to_string(),
        }
    }

    fn ends(&self) -> PartPlan {
        let bytes = self.roles().filter(|(role, _)| *role == Role::Ends).map(|(_, bytes)| bytes).sum();
        PartPlan { part: "transformer ends", ..on("device", self.dtype.as_str(), bytes) }
    }

    fn modulations(&self) -> PartPlan {
        let bytes = self.roles().filter(|(role, _)| *role == Role::Modulation).map(|(_, bytes)| bytes).sum();
        let stored = self.outline.stored(Part::Transformer);
        let kept = match self.placement.keep {
            Keep::Tier(Tier::Bf16) => self.tier(),
            _ if stored.is_wide_float() => self.dtype.as_str().to_owned(),
            _ => stored.to_string(),
        };
        let part = match self.placement.modulations {
            Place::Device => on("device", kept, bytes),
            Place::Host => self.copied_when_needed(PER_JOB, kept, bytes),
        };
        PartPlan { part: "modulations", ..part }
    }

    fn lora(&self) -> PartPlan {
        let beside = self.outline.branch_bytes(self.placement.keep, self.dtype);
        let kept = if beside > 0 { "beside the blocks" } else { "merged" };
        PartPlan { part: "USO LoRA", ..on("in the blocks", kept, 0) }
    }

    fn t5(&self) -> PartPlan {
        let place = self.placement.t5;
        let bytes = |dtype| self.outline.bytes(Part::T5, t5_keep(place), dtype);
        let (on_device, on_host) = (bytes(t5_dtype(self.dtype)), bytes(Backend::Cpu.compute()));
        let stored = self.outline.stored(Part::T5);
        let kept = |dtype: DType| match place {
            T5Place::HostQ8 => "q8_0".into(),
            _ if stored.is_wide_float() => dtype.as_str().to_owned(),
            _ => stored.to_string(),
        };
        let part = match place {
            T5Place::Device => on("device", kept(t5_dtype(self.dtype)), on_device),
            T5Place::Streamed => self.copied_when_needed(PER_PROMPT, kept(t5_dtype(self.dtype)), on_device),
            T5Place::Host | T5Place::HostQ8 => {
                let again = if place == T5Place::HostQ8 { self.outline.repacked_t5_bytes() } else { 0 };
                self.on_host(kept(Backend::Cpu.compute()), on_host + again)
            }
        };
        PartPlan { part: "T5", ..part }
    }

    fn encoder(&self, part: Part, name: &'static str) -> PartPlan {
        match self.placement.encoders {
            Place::Device => self.part(part, name, Place::Device, self.dtype),
            Place::Host => {
                let bytes = self.outline.bytes(part, Keep::AsStored, self.dtype);
                PartPlan { part: name, ..self.copied_when_needed(PER_USE, self.dtype.as_str(), bytes) }
            }
        }
    }

    /// A part in host memory until it is needed on the device; in its file if both share memory.
    fn copied_when_needed(&self, when: &'static str, kept: impl Into<String>, bytes: u64) -> PartPlan {
        let part = on(when, kept, 0);
        match self.backend.is_apart() {
            true => PartPlan { host_bytes: bytes, ..part },
            false => PartPlan { mapped_bytes: bytes, ..part },
        }
    }

    fn part(&self, part: Part, name: &'static str, place: Place, dtype: DType) -> PartPlan {
        let bytes = self.outline.bytes(part, Keep::AsStored, dtype);
        let kept = dtype.as_str();
        let laid = match place {
            Place::Device => on("device", kept, bytes),
            Place::Host => self.on_host(kept, bytes),
        };
        PartPlan { part: name, ..laid }
    }

    /// A part in host memory, which may also be the device's memory.
    fn on_host(&self, kept: impl Into<String>, bytes: u64) -> PartPlan {
        if self.backend.is_apart() {
            PartPlan { host_bytes: bytes, ..on("host", kept, 0) }
        } else {
            on("host", kept, bytes)
        }
    }
}

fn on(place: &'static str, kept: impl Into<String>, device_bytes: u64) -> PartPlan {
    PartPlan { part: "", place, kept: kept.into(), device_bytes, host_bytes: 0, mapped_bytes: 0 }
}
