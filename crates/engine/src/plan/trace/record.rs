//! Records the operations of layers as candle does them.

use candle_core::DType;

use super::tape::{Op, Tape, Values};
use crate::cpu::attention::scratch_bytes;
use crate::matrix::rule::{Activations, Product};
use crate::plan::Backend;
use crate::plan::outline::{Branch, Layer};
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
        let mut y = self.product_with(x, layer);
        if layer.bias {
            y = y.map("bias");
        }
        self.branches(x, y, layer)
    }

    /// A linear layer by the engine's own loops, which add its bias to the product.
    pub(crate) fn linear_here(&self, x: &Values<'t>, layer: &Layer) -> Values<'t> {
        self.branches(x, self.product_with(x, layer), layer)
    }

    /// What a product does with a layer's matrix.
    fn describe(&self, tokens: u64, layer: &Layer) -> Product {
        Product {
            tokens: tokens as usize,
            alone: (tokens / self.samples.max(1)) as usize,
            shape: layer.shape,
            stored: layer.kept,
            activations: self.activations,
            dtype: self.dtype,
            place: self.backend.location(),
        }
    }

    /// The product alone.
    fn product_with(&self, x: &Values<'t>, layer: &Layer) -> Values<'t> {
        let (rows, columns) = (layer.shape.0 as u64, layer.shape.1 as u64);
        let tokens = x.count / columns.max(1);
        let product = self.describe(tokens, layer);
        let weight = layer.kept.bytes(&[layer.shape.0, layer.shape.1]).unwrap_or(0);
        // Numbers that are converted to the compute type are written and read once more.
        let scratch = if columns == 0 { 0 } else { product.scratch_bytes() };
        let op = Op {
            flops: 2 * tokens * rows * columns,
            wide: x.size == F32,
            launches: 1 + conversions(layer.kept),
            ..Op::named("linear", x.bytes() + weight + 2 * scratch + tokens * rows * x.size)
        };
        self.tape.make(op, tokens * rows, x.size, scratch)
    }

    /// Whether cuBLASLt multiplies a layer's matrix: not blocks as they are, nor integers that are converted, which large
    /// matrices are band by band.
    pub(crate) fn has_product(&self, tokens: u64, layer: &Layer) -> bool {
        let as_blocks = layer.kept.quantised().is_some() && !self.describe(tokens, layer).dequantise_first();
        !as_blocks && (layer.kept != StoredType::I8 || self.activations == Activations::Rounded)
    }

    /// Whether some rows of a layer's matrix are multiplied apart from the others (`Linear::is_divisible`).
    pub(crate) fn is_divisible(&self, layer: &Layer) -> bool {
        if self.is_here() {
            return layer.kept.is_wide_float();
        }
        layer.kept.quantised().is_none() && self.has_product(0, layer)
    }

    /// A linear layer by cuBLASLt (`Linear::by_products`): a product for each part of its input. The first adds the
    /// bias, each other one the sum so far.
    pub(crate) fn linear_in_one(&self, parts: &[&Values<'t>], layer: &Layer) -> Values<'t> {
        let (rows, columns) = (layer.shape.0 as u64, layer.shape.1 as u64);
        let tokens = parts.iter().map(|part| part.count).sum::<u64>() / columns.max(1);
        let size = parts.first().map_or_else(|| self.size(), |part| part.size);
        let eight_bits = matches!(layer.kept, StoredType::F8E4M3 | StoredType::I8).then_some(layer.kept);
        let eight_bits = eight_bits.filter(|_| self.activations == Activations::Rounded);
        if eight_bits == Some(StoredType::I8) {
            return self.linear_in_int8(parts, layer);
        }
        let rounds = eight_bits.is_some();
        let converted = if rounds { None } else { self.converted(tokens, layer) };
        let codes: Vec<_> = parts.iter().filter(|_| rounds).map(|part| self.rounded(part)).collect();
        let mut sum: Option<Values<'t>> = None;
        for part in parts {
            let width = part.count / tokens.max(1);
            let (input, weight) = if rounds { (part.count, 1) } else { (part.bytes(), size) };
            let before = sum.as_ref().map_or(0, Values::bytes);
            let op = Op {
                flops: 2 * part.count * rows,
                wide: size == F32,
                eight_bits,
                ..Op::named("linear", input + width * rows * weight + tokens * rows * size + before)
            };
            // Each other product writes where the first one has written.
            match &sum {
                None => sum = Some(self.tape.make(op, tokens * rows, size, 0)),
                Some(_) => drop(self.tape.make(op, 0, size, 0)),
            }
        }
        drop((converted, codes));
        let y = sum.unwrap_or_else(|| self.tape.make(Op::idle("linear"), 0, size, 0));
        match parts {
            [x] => self.branches(x, y, layer),
            several => {
                several.iter().fold(y, |y, part| self.branches(part, y, &narrowed(layer, part, tokens)))
            }
        }
    }

    /// The same with integers: scales and codes of each part's tokens, their product in 32 bits, and its scales with the
    /// bias or the sum so far.
    fn linear_in_int8(&self, parts: &[&Values<'t>], layer: &Layer) -> Values<'t> {
        let (rows, columns) = (layer.shape.0 as u64, layer.shape.1 as u64);
        let tokens = parts.iter().map(|part| part.count).sum::<u64>() / columns.max(1);
        let size = parts.first().map_or_else(|| self.size(), |part| part.size);
        let mut sum: Option<Values<'t>> = None;
        for part in parts {
            let round =
                Op { launches: 2, is_own: true, ..Op::named("round to int8", 2 * part.bytes() + part.count) };
            let codes = self.tape.make(round, part.count, 1, 4 * tokens);
            let weight = part.count / tokens.max(1) * rows;
            let product = Op {
                flops: 2 * part.count * rows,
                eight_bits: Some(StoredType::I8),
                ..Op::named("linear", codes.count + weight + 4 * tokens * rows)
            };
            let sums = self.tape.make(product, tokens * rows, 4, 0);
            let before = sum.as_ref().map_or(0, Values::bytes);
            let moves = sums.bytes() + tokens * rows * size + before;
            let scale = Op { is_own: true, ..Op::named("scale and add", moves) };
            sum = Some(self.tape.make(scale, tokens * rows, size, 0));
        }
        sum.unwrap_or_else(|| self.tape.make(Op::idle("linear"), 0, size, 0))
    }

    /// The numbers of a matrix in the compute type, if they have to be converted.
    fn converted(&self, tokens: u64, layer: &Layer) -> Option<Values<'t>> {
        let scratch = self.describe(tokens, layer).scratch_bytes();
        let launches = conversions(layer.kept);
        let (rows, columns) = layer.shape;
        let weight = layer.kept.bytes(&[rows, columns]).unwrap_or(0);
        let plain = (rows * columns) as u64 * self.size();
        // Through float16, which is written and read once more. The product reads the result.
        let moves = weight + 2 * scratch - plain.min(2 * scratch);
        (launches > 0)
            .then(|| self.tape.make(Op { launches, ..Op::named("convert weights", moves) }, scratch, 1, 0))
    }

    /// An input in e4m3: its largest number, the scale, the codes.
    fn rounded(&self, x: &Values<'t>) -> Values<'t> {
        let op = Op { launches: 3, is_own: true, ..Op::named("round to fp8", 2 * x.bytes() + x.count) };
        self.tape.make(op, x.count, 1, 0)
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

/// A layer whose side branches read one part of its input.
fn narrowed(layer: &Layer, part: &Values<'_>, tokens: u64) -> Layer {
    let columns = part.count / tokens.max(1);
    let branches = layer.branches.iter().map(|branch| Branch { columns, ..*branch }).collect();
    Layer { shape: (layer.shape.0, columns as usize), branches, ..layer.clone() }
}

/// Kernels that convert a matrix to the compute type: blocks go through another float.
fn conversions(kept: StoredType) -> u64 {
    match kept {
        _ if kept.is_fp8() => 1,
        // To float32, the sign, the scale, the compute type.
        StoredType::I8 => 6,
        _ if kept.quantised().is_some() => 2,
        _ => 0,
    }
}
