//! Estimates how long work takes from its operations and the speed of the hardware.

use candle_core::DType;
use serde::Serialize;

use super::kernels::Kernels;
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
    /// Attention, a part of `computing`. Candle writes all scores to memory and reads them several times.
    pub attention: Seconds,
    /// Its copies of streamed blocks, which go on while the device computes.
    pub copying: Seconds,
    /// Operations of its products.
    pub flops: f64,
    /// Bytes that its operations read and write in the device's memory.
    pub moves: f64,
    /// Kernels that it launches, products among them.
    pub launches: u64,
    /// Most bytes that it holds at a time and gives back, besides streamed blocks.
    pub temporaries: u64,
    /// The kernels that all of this is for.
    pub kernels: Kernels,
    /// Expected seconds of the whole step if candle's kernels do everything.
    pub with_candle: f64,
}

/// Operations of one name in a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OpCost {
    /// What they do.
    pub name: &'static str,
    /// Whether a kernel of our own does it.
    pub is_own: bool,
    /// Operations of their products.
    pub flops: f64,
    /// Bytes that they read and write.
    pub moves: f64,
    /// Kernels that they launch.
    pub launches: u64,
    /// Most bytes that one of them allocates.
    pub allocates: u64,
    /// Their expected seconds; none for a card of unknown speed.
    pub expected: Option<f64>,
}

/// Most bytes per second that candle's softmax, casts, copies and sums move, however fast the memory is. Measured on an
/// H200, where they take four fifths of a step.
pub(super) const ELEMENTWISE: f64 = 1.0e12;

/// Part of the device's products per second that attention in one kernel reaches. An assumption: FlashAttention-2, whose
/// form ours has, reaches 0.50 to 0.73 on an A100 (arXiv 2307.08691, section 4.1) and 0.35 on an H100 (arXiv 2407.08608).
pub(super) const FUSED_ATTENTION: f64 = 0.4;

/// Seconds from one kernel to the next, however little it does. A usual value, not measured here.
pub(super) const LAUNCH: f64 = 4.0e-6;

/// Prices operations on a device.
#[derive(Clone, Copy)]
struct Price<'a> {
    speed: &'a Speed,
    dtype: DType,
}

impl Price<'_> {
    /// Products per second at the device's peak.
    fn rate(self, op: &Op) -> f64 {
        match (op.wide, self.dtype) {
            (false, _) => op.eight_bits.map_or(self.speed.products, |stored| self.speed.eight_bits(stored)),
            (true, DType::F32) => self.speed.wide_products,
            // In TF32, see `device::set_products`.
            (true, _) => self.speed.products / 2.0,
        }
    }

    /// Least seconds: all products at the peak for numbers of the compute type, or of eight bits.
    fn floor(self, op: &Op) -> f64 {
        let op = Op { wide: self.dtype == DType::F32, ..*op };
        op.flops as f64 * op.times as f64 / self.rate(&op)
    }

    /// Expected seconds. Each operation takes as long as its products, its memory traffic or its launches, whichever is
    /// longest.
    fn expected(self, op: &Op) -> f64 {
        let speed = self.speed;
        let reached = if op.in_attention && op.is_own { FUSED_ATTENTION } else { speed.reached_products };
        let products = op.flops as f64 / (self.rate(op) * reached);
        let memory = speed.memory * speed.reached_memory;
        let memory = op.moves as f64 / if op.is_own { memory } else { memory.min(ELEMENTWISE) };
        products.max(memory).max(op.launches as f64 * LAUNCH) * op.times as f64
    }
}

/// Seconds of operations one after another.
pub(super) fn computing(ops: &[Op], speed: &Speed, dtype: DType) -> Seconds {
    let price = Price { speed, dtype };
    let floor = ops.iter().map(|op| price.floor(op)).sum();
    Seconds { floor, expected: ops.iter().map(|op| price.expected(op)).sum() }
}

/// Seconds of copies between host and device.
pub(super) fn copying(bytes: u64, speed: &Speed) -> Seconds {
    let floor = bytes as f64 / speed.link;
    Seconds { floor, expected: floor / speed.reached_link }
}

/// The operations of a step on both roads.
pub(super) struct Step<'a> {
    pub(super) kernels: Kernels,
    /// With these kernels.
    pub(super) ops: &'a [Op],
    /// Most bytes that they hold at a time and give back.
    pub(super) temporaries: u64,
    /// As candle does everything.
    pub(super) candle: &'a [Op],
    /// Bytes of blocks that are copied ahead of their turn.
    pub(super) streamed_bytes: u64,
}

impl Step<'_> {
    pub(super) fn cost(&self, speed: &Speed, dtype: DType) -> StepCost {
        let attention: Vec<Op> = self.ops.iter().filter(|op| op.in_attention).copied().collect();
        let copying = copying(self.streamed_bytes, speed);
        let computing = |ops| self::computing(ops, speed, dtype);
        let whole = |computing: Seconds| Seconds {
            floor: computing.floor.max(copying.floor),
            expected: computing.expected.max(copying.expected),
        };
        StepCost {
            step: whole(computing(self.ops)),
            computing: computing(self.ops),
            attention: computing(&attention),
            copying,
            flops: flops(self.ops),
            moves: self.ops.iter().map(|op| op.moves as f64 * op.times as f64).sum(),
            launches: self.ops.iter().map(|op| op.launches * op.times).sum(),
            temporaries: self.temporaries,
            kernels: self.kernels,
            with_candle: whole(computing(self.candle)).expected,
        }
    }
}

/// Operations by their names, in the order in which each first runs.
pub(super) fn by_name(ops: &[Op], speed: Option<&Speed>, dtype: DType) -> Vec<OpCost> {
    let mut costs: Vec<OpCost> = Vec::new();
    for op in ops {
        let times = op.times as f64;
        let expected = speed.map(|speed| Price { speed, dtype }.expected(op));
        let (flops, moves) = (op.flops as f64 * times, op.moves as f64 * times);
        let (launches, allocates) = (op.launches * op.times, op.allocates);
        match costs.iter_mut().find(|cost| (cost.name, cost.is_own) == (op.name, op.is_own)) {
            Some(cost) => {
                cost.flops += flops;
                cost.moves += moves;
                cost.launches += launches;
                cost.allocates = cost.allocates.max(allocates);
                cost.expected = cost.expected.zip(expected).map(|(before, more)| before + more);
            }
            None => {
                let (name, is_own) = (op.name, op.is_own);
                costs.push(OpCost { name, is_own, flops, moves, launches, allocates, expected });
            }
        }
    }
    costs
}

fn flops(ops: &[Op]) -> f64 {
    ops.iter().map(|op| op.flops as f64 * op.times as f64).sum()
}
