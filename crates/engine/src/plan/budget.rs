//! What of a memory a model may have, and what it needs.

use serde::Serialize;

use super::hardware::{Backend, Hardware};
use super::parts::PartPlan;
use super::trace::{Peak, Trace};

/// What a CUDA context takes: the driver's own structures, and the kernels of candle and cuBLAS that are loaded into it
/// as they are needed. Contexts of common frameworks take 0.3 to 0.6 GiB, by card and driver; not measured here.
pub const CONTEXT_BYTES: u64 = 512 << 20;

/// What is not accounted for otherwise: kernels that are loaded at their first use, and pieces of the allocator's pool that
/// find none. On an H200 the whole process took 0.2 to 0.54 GiB more than context, model and samples in four placements
/// with float weights.
pub const UNACCOUNTED_BYTES: u64 = 512 << 20;

/// Workspace of cuBLAS: 32 MiB on Hopper, 4 MiB on other cards (cuBLAS documentation, `cublasSetWorkspace`).
pub const WORKSPACE_BYTES: u64 = 32 << 20;

/// Part of a sample's bytes that the allocator takes more than it is asked for: tensors of many sizes follow each
/// other in one pool, and a piece between two that are in use serves only what fits it.
pub const SLACK_SHARE: u64 = 16;

/// What stays free of a card's memory unless somebody says otherwise: a screen and its programs share it.
pub const RESERVE_BYTES: u64 = 1 << 30;

/// What stays free of the host's memory: the process itself, its tokenizers and pictures, and everything else that
/// runs there.
pub const HOST_RESERVE_BYTES: u64 = 1 << 30;

/// What loading takes of the host's memory beside what stays there: a few matrices at a time in float32, while a LoRA is
/// merged into them or they are rounded; or, of a file that is quantised, as they are.
pub const LOADING_BYTES: u64 = 3 << 30;
const LOADING_AS_STORED_BYTES: u64 = 1 << 30;

/// The device's memory under a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceBudget {
    /// What this process may have.
    pub has_bytes: u64,
    /// What stays free.
    pub reserve_bytes: u64,
    /// What the driver and cuBLAS take.
    pub driver_bytes: u64,
    /// What is left of it for the model and its samples.
    pub usable_bytes: u64,
    /// The model.
    pub resident_bytes: u64,
    /// What a sample holds from encoding to decoding.
    pub kept_bytes: u64,
    /// The most that one takes while it is encoded, with what it keeps.
    pub encode: Peak,
    /// As `encode`, in a step.
    pub step: Peak,
    /// As `encode`, while it is decoded.
    pub decode: Peak,
    /// What the allocator takes beside.
    pub slack_bytes: u64,
    /// All that is needed at the worst moment, with as many samples as were asked for.
    pub need_bytes: u64,
}

/// The host's memory under a plan, where the device has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HostBudget {
    /// What this process may have.
    pub has_bytes: u64,
    /// What stays free.
    pub reserve_bytes: u64,
    /// Parts that lie there.
    pub resident_bytes: u64,
    /// The most that loading or samples take beside.
    pub working_bytes: u64,
    /// What of files is best kept in the page cache; no plan fails for want of it.
    pub mapped_bytes: u64,
    /// All that is needed.
    pub need_bytes: u64,
}

impl DeviceBudget {
    pub(super) fn new(
        hardware: &Hardware,
        reserve: Option<u64>,
        parts: &[PartPlan],
        trace: &Trace,
        slots: u64,
    ) -> Self {
        let is_cuda = hardware.backend.is_apart();
        let context = if hardware.is_open { 0 } else { CONTEXT_BYTES };
        let driver_bytes = if is_cuda { context + WORKSPACE_BYTES + UNACCOUNTED_BYTES } else { 0 };
        let default = if hardware.backend == Backend::Cpu {
            // A small machine is not kept from a small model.
            HOST_RESERVE_BYTES.min(hardware.device_bytes / 4)
        } else {
            RESERVE_BYTES
        };
        let reserve_bytes = reserve.unwrap_or(default);
        let resident_bytes = parts.iter().map(|part| part.device_bytes).sum();
        let peak = trace.encode.bytes.max(trace.step.bytes).max(trace.decode.bytes);
        let others = trace.kept.saturating_mul(slots.saturating_sub(1));
        let samples = peak.saturating_add(others);
        let slack_bytes = if is_cuda { samples / SLACK_SHARE } else { 0 };
        Self {
            has_bytes: hardware.device_bytes,
            reserve_bytes,
            driver_bytes,
            usable_bytes: hardware.device_bytes.saturating_sub(reserve_bytes).saturating_sub(driver_bytes),
            resident_bytes,
            kept_bytes: trace.kept,
            encode: trace.encode,
            step: trace.step,
            decode: trace.decode,
            slack_bytes,
            need_bytes: samples.saturating_add(resident_bytes).saturating_add(slack_bytes),
        }
    }

    /// What is left; None if it does not fit.
    pub(super) fn left(&self) -> Option<u64> {
        self.usable_bytes.checked_sub(self.need_bytes)
    }
}

impl HostBudget {
    /// `is_wide` says whether the transformer is stored in wide floats.
    pub(super) fn new(hardware: &Hardware, parts: &[PartPlan], trace: &Trace, is_wide: bool) -> Self {
        let resident_bytes: u64 = parts.iter().map(|part| part.host_bytes).sum();
        // Samples come when loading is over.
        let loading = if is_wide { LOADING_BYTES } else { LOADING_AS_STORED_BYTES };
        let working_bytes = if resident_bytes > 0 { trace.host.max(loading) } else { trace.host };
        Self {
            has_bytes: hardware.host_bytes,
            reserve_bytes: HOST_RESERVE_BYTES,
            resident_bytes,
            working_bytes,
            mapped_bytes: parts.iter().map(|part| part.mapped_bytes).sum(),
            need_bytes: working_bytes.saturating_add(resident_bytes),
        }
    }

    /// What a plan may have of it.
    pub(super) fn usable(&self) -> u64 {
        self.has_bytes.saturating_sub(self.reserve_bytes)
    }

    pub(super) fn left(&self) -> Option<u64> {
        self.usable().checked_sub(self.need_bytes)
    }
}
