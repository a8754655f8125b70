//! Softmax attention in tiles that stay in a processor's own cache.
//!
//! A task has some queries; it goes through the keys in blocks, with the running maximum and sum of each query (online
//! softmax: Milakov and Gimelshein, arXiv 1805.02867; Rabe and Staats, arXiv 2112.05682). The scores of a tile lie key by
//! key, so that everything between the two products works on all queries at once.

use std::ops::Deref;

use super::product::{Columns, Old, Shape, View, by_tiles, multiply};
use super::vector::{LANES, exp, widest};
use super::{Numbers, are_here, numbers};
use candle_core::{Result, Storage, Tensor, bail};

/// Most queries of a tile.
const QUERIES: usize = 128;
/// Most keys of a tile: its scores take a quarter of the usual 1 MiB of cache.
const KEYS: usize = 512;

/// Most bytes that attention takes besides its result.
pub(crate) fn scratch_bytes(queries: usize, keys: usize, width: usize) -> u64 {
    let numbers = lanes(queries) * (2 * width + keys.min(KEYS) + 3);
    (rayon::current_num_threads() * numbers * size_of::<f32>()) as u64
}

/// Queries of a tile. Not by the number of threads: products of few rows round differently.
fn lanes(queries: usize) -> usize {
    queries.next_multiple_of(LANES).min(QUERIES)
}

/// What is attended between.
pub(crate) struct Attention<'a> {
    /// Each (1, heads, tokens, width), in any layout whose numbers of a token lie beside one another.
    pub(crate) query: &'a Tensor,
    pub(crate) key: &'a Tensor,
    pub(crate) value: &'a Tensor,
    /// Factor of the scores.
    pub(crate) scale: f32,
    /// What is added to the scores, (1, heads, keys, queries).
    pub(crate) bias: Option<&'a Tensor>,
}

impl Attention<'_> {
    /// Whether [`Attention::attend`] can compute it.
    pub(crate) fn is_here(&self) -> bool {
        let tensors = [self.query, self.key, self.value];
        are_here(tensors.into_iter().chain(self.bias))
            && tensors.iter().all(|x| x.stride().last() == Some(&1))
    }

    /// The values of all heads, weighted by the softmax of the scores: (1, queries, heads * width).
    ///
    /// # Errors
    /// If a shape does not fit, or numbers are elsewhere.
    pub(crate) fn attend(&self) -> Result<Tensor> {
        let (batch, heads, queries, width) = self.query.dims4()?;
        let keys = self.key.dim(2)?;
        let of = |count| [1, heads, count, width];
        if batch != 1 || self.key.dims() != of(keys) || self.value.dims() != of(keys) {
            bail!("attention between {:?}, {:?} and {:?}", self.query, self.key, self.value);
        }
        if let Some(bias) = self.bias
            && bias.dims() != [1, heads, keys, queries]
        {
            bail!("{bias:?} for {heads} heads, {keys} keys and {queries} queries");
        }
        let parts = [self.query, self.key, self.value].map(numbers);
        let bias = self.bias.map(numbers);
        let tiles = Tiles {
            query: Part::of(&parts[0])?,
            key: Part::of(&parts[1])?,
            value: Part::of(&parts[2])?,
            bias: bias.as_ref().map(|bias| bias.in_order()).transpose()?,
            scale: self.scale,
            heads,
            queries,
            keys,
            width,
        };
        Tensor::from_vec(tiles.attend(), (1, queries, heads * width), self.query.device())
    }
}

/// Queries, keys or values.
#[derive(Clone, Copy)]
struct Part<'a> {
    values: &'a [f32],
    head_step: usize,
    token_step: usize,
}

impl<'a> Part<'a> {
    fn of(numbers: &'a Numbers<'_, impl Deref<Target = Storage>>) -> Result<Self> {
        match *numbers.steps() {
            [_, head_step, token_step, 1] => Ok(Self { values: numbers.onwards()?, head_step, token_step }),
            ref steps => bail!("the numbers of a token lie apart: {steps:?}"),
        }
    }

    /// Some tokens of a head: (tokens, width).
    fn rows(self, head: usize, first: usize, rows: usize, width: usize) -> View<'a> {
        let values = &self.values[head * self.head_step + first * self.token_step..];
        View::new(values, Shape { rows, columns: width, row_step: self.token_step, column_step: 1 })
    }
}

struct Tiles<'a> {
    query: Part<'a>,
    key: Part<'a>,
    value: Part<'a>,
    bias: Option<&'a [f32]>,
    scale: f32,
    heads: usize,
    queries: usize,
    keys: usize,
    width: usize,
}

impl Tiles<'_> {
    fn attend(&self) -> Vec<f32> {
        let hidden = self.heads * self.width;
        let mut out = vec![0f32; self.queries * hidden];
        let lanes = lanes(self.queries);
        let room = || Tile::new(lanes, self.keys.min(KEYS), self.width);
        let cost = 2 * self.queries * self.keys * (hidden + 16 * self.heads);
        by_tiles(&mut out, hidden, (lanes, self.width), cost, room, |tile, out| self.tile(tile, out));
        out
    }

    /// Some queries of one head.
    fn tile(&self, tile: &mut Tile, out: &mut Columns<'_>) {
        let (head, first, count) = (out.first / self.width, out.first_row, out.rows);
        tile.load(&self.query, head, first, count, self.scale);
        for start in (0..self.keys).step_by(KEYS) {
            let keys = KEYS.min(self.keys - start);
            let scores = Shape { rows: count, columns: keys, row_step: 1, column_step: tile.lanes };
            let key = self.key.rows(head, start, keys, self.width).transposed();
            let (queries, room) = tile.queries_and_scores(count);
            multiply(queries, key, room, scores, Old::Replaced);
            if let Some(bias) = self.bias {
                let of_head = &bias[(head * self.keys + start) * self.queries..];
                tile.add(of_head, self.queries, first, count, keys);
            }
            tile.weigh(keys);
            let value = self.value.rows(head, start, keys, self.width);
            let (weights, sums) = tile.weights_and_sums(count, keys);
            multiply(weights, value, sums, Shape { rows: count, columns: self.width, ..scores }, Old::Kept);
        }
        for i in 0..count {
            let factor = 1.0 / tile.total[i];
            let columns = tile.sums.chunks_exact(tile.lanes);
            for (value, column) in out.row(i, 0..self.width).iter_mut().zip(columns) {
                *value = column[i] * factor;
            }
        }
    }
}

/// Memory of a task. All is laid out with the queries beside one another.
struct Tile {
    /// Room for so many queries. Those that a task does not have are computed along.
    lanes: usize,
    /// Scaled queries: (width, lanes).
    query: Vec<f32>,
    /// Scores, then weights: (keys, lanes).
    scores: Vec<f32>,
    /// Sums of weighted values: (width, lanes).
    sums: Vec<f32>,
    /// The largest score so far, and the sum of all weights relative to it.
    most: Vec<f32>,
    total: Vec<f32>,
    /// What the sums are multiplied by because there is a larger score.
    factor: Vec<f32>,
}

impl Tile {
    fn new(lanes: usize, keys: usize, width: usize) -> Self {
        let zeros = |count| vec![0f32; count * lanes];
        Self {
            lanes,
            query: zeros(width),
            scores: zeros(keys),
            sums: zeros(width),
            most: zeros(1),
            total: zeros(1),
            factor: zeros(1),
        }
    }

    fn load(&mut self, query: &Part<'_>, head: usize, first: usize, count: usize, scale: f32) {
        let start = head * query.head_step + first * query.token_step;
        for i in 0..count {
            let row = &query.values[start + i * query.token_step..];
            for (to, value) in self.query.chunks_exact_mut(self.lanes).zip(row) {
                to[i] = value * scale;
            }
        }
        self.sums.fill(0.0);
        self.total.fill(0.0);
        self.most.fill(f32::NEG_INFINITY);
    }

    /// Queries (queries, width), and the scores that they go into.
    fn queries_and_scores(&mut self, count: usize) -> (View<'_>, &mut [f32]) {
        let columns = self.query.len() / self.lanes;
        let shape = Shape { rows: count, columns, row_step: 1, column_step: self.lanes };
        (View::new(&self.query, shape), &mut self.scores)
    }

    /// Weights (queries, keys), and the sums that they go into.
    fn weights_and_sums(&mut self, count: usize, keys: usize) -> (View<'_>, &mut [f32]) {
        let shape = Shape { rows: count, columns: keys, row_step: 1, column_step: self.lanes };
        (View::new(&self.scores, shape), &mut self.sums)
    }

    /// Adds a bias whose keys are `step` apart.
    fn add(&mut self, bias: &[f32], step: usize, first: usize, count: usize, keys: usize) {
        for (scores, bias) in self.scores.chunks_exact_mut(self.lanes).zip(bias.chunks(step)).take(keys) {
            for (score, bias) in scores.iter_mut().zip(&bias[first..first + count]) {
                *score += bias;
            }
        }
    }

    /// Turns scores into weights relative to the largest score so far, and brings the sums to it.
    fn weigh(&mut self, keys: usize) {
        let Self { lanes, scores, sums, most, total, factor, .. } = self;
        let scores = &mut scores[..keys * *lanes];
        widest(
            #[inline(always)]
            || {
                // For now, the old maxima.
                factor.copy_from_slice(most);
                for row in scores.chunks_exact(*lanes) {
                    for (most, score) in most.iter_mut().zip(row) {
                        *most = if *score > *most { *score } else { *most };
                    }
                }
                for ((factor, total), most) in factor.iter_mut().zip(total.iter_mut()).zip(most.iter()) {
                    *factor = exp(*factor - most);
                    *total *= *factor;
                }
                for row in scores.chunks_exact_mut(*lanes) {
                    for ((score, total), most) in row.iter_mut().zip(total.iter_mut()).zip(most.iter()) {
                        *score = exp(*score - most);
                        *total += *score;
                    }
                }
                for row in sums.chunks_exact_mut(*lanes) {
                    row.iter_mut().zip(factor.iter()).for_each(|(sum, factor)| *sum *= factor);
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device};

    use super::*;
    use crate::noise::normal;

    fn random(seed: u64, shape: (usize, usize, usize, usize)) -> Tensor {
        let (a, b, c, d) = shape;
        Tensor::from_vec(normal(seed, a * b * c * d), shape, &Device::Cpu).unwrap()
    }

    /// As candle computes it, with all scores at once.
    fn plain(attention: &Attention<'_>) -> Tensor {
        let Attention { query, key, value, scale, bias } = attention;
        let [query, key, value] = [query, key, value].map(|x| x.contiguous().unwrap());
        let mut scores = (query.matmul(&key.t().unwrap()).unwrap() * f64::from(*scale)).unwrap();
        if let Some(bias) = bias {
            scores = (scores + bias.transpose(2, 3).unwrap()).unwrap();
        }
        let attended = candle_nn::ops::softmax_last_dim(&scores).unwrap().matmul(&value).unwrap();
        attended.transpose(1, 2).unwrap().flatten_from(D::Minus2).unwrap()
    }

    #[test]
    fn it_is_candles_for_any_size() {
        // Tails of queries, keys and widths; several blocks of keys, and more queries than a tile has.
        for (heads, queries, keys, width) in
            [(1, 1, 1, 4), (2, 19, 77, 72), (3, 300, 600, 16), (1, 40, 1100, 128)]
        {
            let query = random(1, (1, heads, queries, width));
            // As a projection lies: token by token.
            let key = random(2, (1, keys, heads, width)).transpose(1, 2).unwrap();
            let value = random(3, (1, keys, heads, width)).transpose(1, 2).unwrap();
            let bias = random(4, (1, heads, keys, queries));
            for (scale, bias) in [(1.0, None), (0.3, Some(&bias)), (3.0, None)] {
                let attention = Attention { query: &query, key: &key, value: &value, scale, bias };
                assert!(attention.is_here());
                let (ours, theirs) = (attention.attend().unwrap(), plain(&attention));
                let apart = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
                let apart = apart.to_scalar::<f32>().unwrap();
                assert!(apart < 2e-4, "{apart} for {heads}, {queries}, {keys}, {width} at {scale}");
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let (query, key) = (random(1, (1, 2, 5, 8)), random(2, (1, 2, 6, 8)));
        let short = random(3, (1, 2, 4, 8));
        let attention = Attention { query: &query, key: &key, value: &short, scale: 1.0, bias: None };
        assert!(attention.attend().is_err());
        let attention = Attention { value: &key, bias: Some(&short), ..attention };
        assert!(attention.attend().is_err());
    }
}
