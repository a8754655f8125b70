//! Estimates how long work takes from its operations and the speed of the hardware.

use candle_core::DType;
use serde::Serialize;

use super::speed::Speed;
use super::trace::Op;

/// Seconds of some work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Seconds {
    /// Lower bound: all products at the device's peak and nothing else, or all copies at the peak of its link,
    /// whichever takes longer.
    pub floor: f64,
    /// Expected time with this program.
    pub expected: f64,
}

/// Time of a step and its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepCost {
    /// The whole step.
    pub step: Seconds,
    /// Its computation.
    pub computing: Seconds,
    /// Attention, a part of `computing`: candle writes all scores to memory and reads them several times.
    pub attention: Seconds,
    /// Its copies of streamed blocks, which go on while the device computes.
    pub copying: Seconds,
    /// Operations of its products.
    pub flops: f64,
}

/// Most bytes per second that candle's softmax, casts, copies and sums move, however fast the memory is. Measured on an
/// H200, where they take four fifths of a step.
const ELEMENTWISE: f64 = 1.0e12;

/// Seconds of operations one after another. Each takes as long as its products or its memory traffic, whichever is
/// longer.
pub(super) fn computing(ops: &[Op], speed: &Speed, dtype: DType) -> Seconds {
    let rate = |wide: bool| match (wide, dtype) {
        (false, _) => speed.products,
        (true, DType::F32) => speed.wide_products,
        // In TF32, see `device::set_products`.
        (true, _) => speed.products / 2.0,
    };
    let floor = flops(ops) / rate(dtype == DType::F32);
    let expected = ops.iter().map(|op| {
        let products = op.flops as f64 / (rate(op.wide) * speed.reached_products);
        let memory = op.moves as f64 / (speed.memory * speed.reached_memory).min(ELEMENTWISE);
        products.max(memory) * op.times as f64
    });
    Seconds { floor, expected: expected.sum() }
}

/// Seconds of copies between host and device.
pub(super) fn copying(bytes: u64, speed: &Speed) -> Seconds {
    let floor = bytes as f64 / speed.link;
    Seconds { floor, expected: floor / speed.reached_link }
}

/// Seconds of a step whose blocks are copied ahead of their turn.
pub(super) fn step(ops: &[Op], streamed_bytes: u64, speed: &Speed, dtype: DType) -> StepCost {
    let attention: Vec<Op> = ops.iter().filter(|op| op.in_attention).copied().collect();
    let attention = self::computing(&attention, speed, dtype);
    let (computing, copying) = (computing(ops, speed, dtype), copying(streamed_bytes, speed));
    let step = Seconds {
        floor: computing.floor.max(copying.floor),
        expected: computing.expected.max(copying.expected),
    };
    StepCost { step, computing, attention, copying, flops: flops(ops) }
}

fn flops(ops: &[Op]) -> f64 {
    ops.iter().map(|op| op.flops as f64 * op.times as f64).sum()
}
