//! Memory budgets: what a model may use and what it needs.

use serde::Serialize;

use super::hardware::{Backend, Hardware};
use super::parts::PartPlan;
use super::trace::{Peak, Trace};

/// Bytes of a CUDA context: the driver's own structures, and the kernels of candle and cuBLAS that are loaded on first
/// use. Contexts of common frameworks take 0.3 to 0.6 GiB, depending on card and driver; not measured here.
pub const CONTEXT_BYTES: u64 = 512 << 20;

/// Bytes that are not accounted for otherwise: kernels that are loaded on first use, and fragments of the allocator's
/// pool. On an H200 the whole process took 0.2 to 0.54 GiB more than context, model and samples, in four placements
/// with float weights.
pub const UNACCOUNTED_BYTES: u64 = 512 << 20;

/// Bytes of the workspace of cuBLAS: 32 MiB on Hopper, 4 MiB on other cards (cuBLAS documentation,
/// `cublasSetWorkspace`).
pub const WORKSPACE_BYTES: u64 = 32 << 20;

/// The allocator takes more than a sample asks for, by one part in this many: tensors of many sizes share one pool, and
/// a gap between two of them only fits smaller ones.
pub const SLACK_SHARE: u64 = 16;

/// Bytes of a card's memory to keep free by default, for a screen and its programs.
pub const RESERVE_BYTES: u64 = 1 << 30;

/// Bytes of host memory to keep free for the process itself, its tokenizers and pictures, and everything else that runs
/// there.
pub const HOST_RESERVE_BYTES: u64 = 1 << 30;

/// Bytes of host memory that loading takes temporarily: a few matrices at a time in float32, while a LoRA is merged
/// into them or they are rounded; for a quantised file, a few matrices as they are.
pub const LOADING_BYTES: u64 = 3 << 30;
const LOADING_AS_STORED_BYTES: u64 = 1 << 30;

/// Bytes as text in GiB.
pub(super) fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64)
}

/// The device's memory under a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceBudget {
    /// Bytes that this process may use.
    pub has_bytes: u64,
    /// Bytes to keep free.
    pub reserve_bytes: u64,
    /// Bytes that the driver and cuBLAS take.
    pub driver_bytes: u64,
    /// Bytes that are left for the model and its samples.
    pub usable_bytes: u64,
    /// Bytes of the model.
    pub resident_bytes: u64,
    /// Bytes that a sample holds from encoding to decoding.
    pub kept_bytes: u64,
    /// Peak while a sample is encoded, including what it keeps.
    pub encode: Peak,
    /// Peak in a step, as for `encode`.
    pub step: Peak,
    /// Part of the peak in a step that is the slots of streamed blocks.
    pub slot_bytes: u64,
    /// Peak while it is decoded, as for `encode`.
    pub decode: Peak,
    /// Bytes of the allocator's overhead.
    pub slack_bytes: u64,
    /// Bytes needed at the peak, with as many samples as were asked for.
    pub need_bytes: u64,
}

/// Host memory under a plan, if the device has its own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HostBudget {
    /// Bytes that this process may use.
    pub has_bytes: u64,
    /// Bytes to keep free.
    pub reserve_bytes: u64,
    /// Bytes of the parts that are there.
    pub resident_bytes: u64,
    /// Part of `resident_bytes` that is pinned for copies to the device; no more than this is.
    pub pinned_bytes: u64,
    /// Most bytes that loading or samples take in addition.
    pub working_bytes: u64,
    /// Bytes of files that are best kept in the page cache. No plan is refused for lack of them.
    pub mapped_bytes: u64,
    /// Bytes needed in total.
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
            // A fraction on small machines, so that a small model still fits there.
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
            slot_bytes: trace.slots,
            decode: trace.decode,
            slack_bytes,
            need_bytes: samples.saturating_add(resident_bytes).saturating_add(slack_bytes),
        }
    }

    /// Bytes that are left; None if the plan does not fit.
    pub(super) fn left(&self) -> Option<u64> {
        self.usable_bytes.checked_sub(self.need_bytes)
    }
}

impl HostBudget {
    /// `is_wide`: whether the transformer is stored in wide floats. `pinned_bytes`: what streamed layers pin.
    pub(super) fn new(
        hardware: &Hardware,
        parts: &[PartPlan],
        trace: &Trace,
        is_wide: bool,
        pinned_bytes: u64,
    ) -> Self {
        let resident_bytes: u64 = parts.iter().map(|part| part.host_bytes).sum();
        // Samples begin when loading is over, so only the larger of the two counts.
        let loading = if is_wide { LOADING_BYTES } else { LOADING_AS_STORED_BYTES };
        let working_bytes = if resident_bytes > 0 { trace.host.max(loading) } else { trace.host };
        Self {
            has_bytes: hardware.host_bytes,
            reserve_bytes: HOST_RESERVE_BYTES,
            resident_bytes,
            pinned_bytes,
            working_bytes,
            mapped_bytes: parts.iter().map(|part| part.mapped_bytes).sum(),
            need_bytes: working_bytes.saturating_add(resident_bytes),
        }
    }

    /// Bytes that a plan may use.
    pub(super) fn usable(&self) -> u64 {
        self.has_bytes.saturating_sub(self.reserve_bytes)
    }

    pub(super) fn left(&self) -> Option<u64> {
        self.usable().checked_sub(self.need_bytes)
    }
}
