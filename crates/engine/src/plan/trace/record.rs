//! Records the operations of layers as candle does them.

use candle_core::DType;

use super::tape::{Op, Tape, Values};
use crate::cpu::attention::scratch_bytes;
use crate::matrix::rule::{Activations, Product};
use crate::plan::Backend;
use crate::plan::outline::Layer;
use crate::uso::fused::SCORE_BYTES;
use crate::weights::StoredType;

/// Bytes of a float32 number.
pub(crate) const F32: u64 = 4;

/// Records what layers do on a backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorder<'t> {
    pub(crate) tape: &'t Tape,
    pub(crate) backend: Backend,
    /// The compute type.
    pub(crate) dtype: DType,
    /// What products with quantised matrices may do to activations.
    pub(crate) activations: Activations,
    /// Samples whose tokens are stacked in the inputs of linear layers.
    pub(crate) samples: u64,
}

impl<'t> Recorder<'t> {
    /// Bytes of a number in the compute type.
    pub(crate) fn size(&self) -> u64 {
        self.dtype.size_in_bytes() as u64
    }

    /// Whether the engine's own loops compute: in host memory, in float32.
    pub(crate) fn is_here(&self) -> bool {
        self.backend == Backend::Cpu && self.dtype == DType::F32
    }

    /// New numbers in the compute type.
    pub(crate) fn made(&self, name: &'static str, count: u64) -> Values<'t> {
        self.tape.moved(name, 0, count, self.size())
    }

    /// A linear layer with its bias and its side branches.
    pub(crate) fn linear(&self, x: &Values<'t>, layer: &Layer) -> Values<'t> {
        let mut y = self.product_with(x, layer, 0);
        if layer.bias {
            y = y.map("bias");
        }
        self.branches(x, y, layer)
    }

    /// A linear layer whose product adds its bias.
    pub(crate) fn linear_in_one(&self, x: &Values<'t>, layer: &Layer) -> Values<'t> {
        self.branches(x, self.product_with(x, layer, 0), layer)
    }

    /// The same, onto `y`, which has the shape of its output.
    pub(crate) fn linear_onto(&self, y: &Values<'t>, x: &Values<'t>, layer: &Layer) -> Values<'t> {
        let added = self.product_with(x, layer, y.bytes());
        self.branches(x, added, layer)
    }

    /// The product alone, which also reads `more` bytes.
    fn product_with(&self, x: &Values<'t>, layer: &Layer, more: u64) -> Values<'t> {
        let (rows, columns) = (layer.shape.0 as u64, layer.shape.1 as u64);
        let tokens = x.count / columns.max(1);
        let product = Product {
            tokens: tokens as usize,
            alone: (tokens / self.samples.max(1)) as usize,
            shape: layer.shape,
            stored: layer.kept,
            activations: self.activations,
            dtype: self.dtype,
            place: self.backend.location(),
        };
        let weight = layer.kept.bytes(&[layer.shape.0, layer.shape.1]).unwrap_or(0);
        // Numbers that are converted to the compute type are written and read once more.
        let scratch = if columns == 0 { 0 } else { product.scratch_bytes() };
        let op = Op {
            flops: 2 * tokens * rows * columns,
            wide: x.size == F32,
            launches: 1 + conversions(layer.kept),
            ..Op::named("linear", x.bytes() + weight + 2 * scratch + tokens * rows * x.size + more)
        };
        self.tape.make(op, tokens * rows, x.size, scratch)
    }

    fn branches(&self, x: &Values<'t>, mut y: Values<'t>, layer: &Layer) -> Values<'t> {
        let tokens = x.count / (layer.shape.1 as u64).max(1);
        for branch in &layer.branches {
            let down = || self.product(x, tokens, branch.columns, branch.rank, "LoRA down");
            let added = self.product(&down(), tokens, branch.rank, branch.rows, "LoRA up");
            // In place if it changes only some columns.
            let sum = y.part(added.count).with(&added, "LoRA add");
            if added.count == y.count {
                y = sum;
            }
        }
        y
    }

    /// `x` (.., rows, inner) times a matrix or matrices (inner, columns) for each of the rows.
    pub(crate) fn product(
        &self,
        x: &Values<'t>,
        rows: u64,
        inner: u64,
        columns: u64,
        name: &'static str,
    ) -> Values<'t> {
        let (count, other) = (rows * columns, inner * columns);
        let op = Op {
            flops: 2 * rows * inner * columns,
            wide: x.size == F32,
            ..Op::named(name, x.bytes() + (other + count) * x.size)
        };
        self.tape.make(op, count, x.size, 0)
    }

    /// Softmax attention as in `fused::attention`: in slices of queries, with scores in float32. `width` is the width
    /// of all heads.
    pub(crate) fn attention(
        &self,
        [query, key, value]: [&Values<'t>; 3],
        heads: u64,
        width: u64,
    ) -> Values<'t> {
        self.tape.attend(true);
        let key = key.cast(F32);
        let (tokens, keys) = (query.count / width, key.count / width);
        let most = (SCORE_BYTES as u64 / (heads * keys * F32).max(1)).clamp(1, tokens.max(1));
        let slices: Vec<_> = (0..tokens)
            .step_by(most as usize)
            .map(|start| {
                let rows = most.min(tokens - start);
                let query = query.part(rows * width).cast(F32).map("scale");
                let probabilities =
                    || self.probabilities(&query, &key, heads * rows * keys, rows * keys * width);
                self.attended(&probabilities().cast(value.size), value, rows * width, rows * keys * width)
            })
            .collect();
        let whole = if let [whole] = slices.as_slice() { whole.clone() } else { self.join(&slices) };
        self.tape.attend(false);
        whole
    }

    /// The same in one kernel of our own, which writes no scores; on the CPU, each thread has those of a tile.
    pub(crate) fn attention_in_one(
        &self,
        [query, key, value]: [&Values<'t>; 3],
        heads: u64,
        width: u64,
    ) -> Values<'t> {
        let (tokens, keys) = (query.count / width, key.count / width);
        let moves = query.bytes() + key.bytes() + value.bytes() + query.bytes();
        let op = Op {
            flops: 4 * tokens * keys * width,
            wide: query.size == F32,
            // At the speed of its products.
            is_own: !self.is_here(),
            ..Op::named("attention", moves)
        };
        let tiles = if self.is_here() {
            scratch_bytes(tokens as usize, keys as usize, (width / heads.max(1)) as usize)
        } else {
            0
        };
        self.tape.attend(true);
        let attended = self.tape.make(op, query.count, query.size, tiles);
        self.tape.attend(false);
        attended
    }

    /// A function of several tensors together and of another one, in one of our own kernels for each of them.
    pub(crate) fn in_one(&self, name: &'static str, parts: &[Values<'t>], other: &Values<'t>) -> Values<'t> {
        let count: u64 = parts.iter().map(|part| part.count).sum();
        let size = parts.first().map_or_else(|| self.size(), |part| part.size);
        let moves = 2 * count * size + other.bytes();
        let op = Op { is_own: true, launches: parts.len() as u64, ..Op::named(name, moves) };
        self.tape.make(op, count, size, 0)
    }

    /// Concatenates several tensors of one type.
    pub(crate) fn join(&self, parts: &[Values<'t>]) -> Values<'t> {
        let count: u64 = parts.iter().map(|part| part.count).sum();
        let size = parts.first().map_or_else(|| self.size(), |part| part.size);
        let op = Op { launches: parts.len() as u64, ..Op::named("concatenate", 2 * count * size) };
        self.tape.make(op, count, size, 0)
    }

    /// Scores of some rows and their softmax; the scores are dropped at the end.
    fn probabilities(&self, query: &Values<'t>, key: &Values<'t>, count: u64, products: u64) -> Values<'t> {
        let moves = query.bytes() + key.bytes() + count * F32;
        let op = Op { flops: 2 * products, wide: true, ..Op::named("scores", moves) };
        self.tape.make(op, count, F32, 0).map("softmax")
    }

    fn attended(
        &self,
        probabilities: &Values<'t>,
        value: &Values<'t>,
        count: u64,
        products: u64,
    ) -> Values<'t> {
        let moves = probabilities.bytes() + value.bytes() + count * value.size;
        let op = Op { flops: 2 * products, wide: value.size == F32, ..Op::named("attend", moves) };
        self.tape.make(op, count, value.size, 0)
    }
}

/// Kernels that convert a matrix to the compute type: blocks go through another float.
fn conversions(kept: StoredType) -> u64 {
    match kept {
        _ if kept.is_fp8() => 1,
        _ if kept.quantised().is_some() => 2,
        _ => 0,
    }
}
