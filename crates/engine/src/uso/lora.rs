//! Low-rank changes of the transformer's layers.
//!
//! The reference computes the two low-rank products separately and adds them in every step. Merged into wide weights
//! while they load, they cost nothing. Quantised weights keep them as side branches.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor, bail};

use crate::config::LoraConfig;
use crate::matrix::Branch;
use crate::model::Adapter;

/// A low-rank change of some rows of a layer: `up @ down`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// Rows of the layer's weight that change.
    pub rows: Range<usize>,
    /// (rank, input), float32, in host memory.
    pub down: Tensor,
    /// (rows, rank), float32, in host memory, including all factors.
    pub up: Tensor,
}

/// The changes of each layer, by its name without `.weight`.
#[derive(Debug, Clone, Default)]
pub struct Changes(BTreeMap<String, Vec<LowRank>>);

impl Changes {
    /// Reads a LoRA. Its factor is `alpha / rank` if the file has an alpha, else `network_alpha / rank` if the
    /// configuration has one, else 1; times the configuration's weight.
    ///
    /// # Errors
    /// If the file cannot be read, or one of its numbers is not finite.
    pub(crate) fn read(adapter: &Adapter, config: &LoraConfig) -> Result<Self> {
        Self::read_of(adapter, config, |_| true)
    }

    /// Reads the changes of a LoRA to some layers only.
    ///
    /// # Errors
    /// As [`Changes::read`].
    pub(super) fn read_of(
        adapter: &Adapter,
        config: &LoraConfig,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let weights = adapter.weights();
        let tensor = |name: &str| finite(name, weights.tensor(name, DType::F32, &Device::Cpu)?);
        let mut changes: BTreeMap<String, Vec<LowRank>> = BTreeMap::new();
        for pair in adapter.pairs().iter().filter(|pair| wanted(&pair.layer)) {
            let (down, up) = (tensor(&pair.down)?, tensor(&pair.up)?);
            let rank = down.dim(0)? as f64;
            let alpha = match &pair.alpha {
                Some(name) => Some(f64::from(tensor(name)?.flatten_all()?.get(0)?.to_scalar::<f32>()?)),
                None => config.network_alpha,
            };
            let up = (up * (alpha.map_or(1.0, |alpha| alpha / rank) * config.lora_weight))?;
            let mut from = 0;
            for rows in &pair.rows {
                let part = up.narrow(0, from, rows.len())?;
                let change = LowRank { rows: rows.clone(), down: down.clone(), up: part };
                changes.entry(pair.layer.clone()).or_default().push(change);
                from += rows.len();
            }
        }
        Ok(Self(changes))
    }

    /// The changes of some layers only.
    pub(super) fn only(&self, layers: &[String]) -> Self {
        let some = self.0.iter().filter(|(layer, _)| layers.contains(layer));
        Self(some.map(|(layer, changes)| (layer.clone(), changes.clone())).collect())
    }

    /// Adds the changes of another LoRA.
    pub fn add(&mut self, other: Self) {
        for (layer, changes) in other.0 {
            self.0.entry(layer).or_default().extend(changes);
        }
    }

    /// The changes of a layer.
    pub fn of(&self, layer: &str) -> &[LowRank] {
        self.0.get(layer).map_or(&[], Vec::as_slice)
    }
}

/// Refuses numbers that would spoil every picture, where their tensor is still known.
fn finite(name: &str, tensor: Tensor) -> Result<Tensor> {
    if tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|number| number.is_finite()) {
        return Ok(tensor);
    }
    bail!("tensor {name} has numbers that are not finite (NaN or infinity)")
}

impl IntoIterator for Changes {
    type Item = (String, Vec<LowRank>);
    type IntoIter = std::collections::btree_map::IntoIter<String, Vec<LowRank>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl LowRank {
    /// The equivalent side branch, in a compute type on a device.
    ///
    /// # Errors
    /// If it cannot be copied there.
    pub fn branch(&self, dtype: DType, device: &Device) -> Result<Branch> {
        let (down, up) = (self.down.to_device(device)?, self.up.to_device(device)?);
        Branch::new(&down, &up, 1.0, self.rows.start, dtype)
    }

    /// What it adds to the product of a layer of `all` rows with `x` (tokens, input), in float32: (tokens, all).
    ///
    /// # Errors
    /// If it does not fit.
    pub(super) fn product(&self, x: &Tensor, all: usize) -> Result<Tensor> {
        let Range { start, end } = self.rows;
        let product = x.matmul(&self.down.t()?)?.matmul(&self.up.t()?)?;
        product.pad_with_zeros(D::Minus1, start, all.saturating_sub(end))
    }

    /// `weight` with `up @ down` added to the rows that it changes.
    ///
    /// # Errors
    /// If it does not fit the weight.
    pub fn add_to(&self, weight: &Tensor) -> Result<Tensor> {
        let all = weight.dim(0)?;
        let Range { start, end } = self.rows;
        if end > all || self.down.dim(D::Minus1)? != weight.dim(1)? {
            bail!("a LoRA for rows {start} to {end} does not fit a weight of shape {:?}", weight.dims());
        }
        weight + self.up.matmul(&self.down)?.pad_with_zeros(0, start, all - end)?
    }
}
