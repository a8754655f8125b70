//! Low-rank changes of the transformer's layers, merged into weights while they load.
//!
//! The reference keeps the two low-rank products apart and adds them in every step; merged, they cost nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{D, DType, Device, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use crate::config::LoraConfig;
use crate::model::Adapter;
use crate::weights::Weights;

/// A low-rank change of some rows of a layer: `up @ down`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// Rows of the layer's weight that change.
    pub rows: Range<usize>,
    /// (rank, input), float32, in host memory.
    pub down: Tensor,
    /// (rows, rank), float32, in host memory, with all factors in it.
    pub up: Tensor,
}

/// The changes of each layer, by its name without `.weight`.
#[derive(Debug, Clone, Default)]
pub struct Changes(BTreeMap<String, Vec<LowRank>>);

impl Changes {
    /// Reads a LoRA. Its factor is `alpha / rank` where the file has an alpha, or else `network_alpha / rank` where
    /// the configuration has one, or else 1; times the configuration's weight.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn read(adapter: &Adapter, config: &LoraConfig) -> Result<Self> {
        let weights = adapter.weights();
        let tensor = |name: &str| weights.tensor(name, DType::F32, &Device::Cpu);
        let mut changes: BTreeMap<String, Vec<LowRank>> = BTreeMap::new();
        for pair in adapter.pairs() {
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

    /// The changes of a layer.
    pub fn of(&self, layer: &str) -> &[LowRank] {
        self.0.get(layer).map_or(&[], Vec::as_slice)
    }
}

/// A builder over `base` whose weights carry the changes.
pub fn merged(base: &Weights, changes: Changes, dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Merged { base: base.clone(), changes }), dtype, device.clone())
}

struct Merged {
    base: Weights,
    changes: Changes,
}

impl SimpleBackend for Merged {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let changes = name.strip_suffix(".weight").map_or(&[][..], |layer| self.changes.of(layer));
        if changes.is_empty() {
            return self.base.get(shape, name, init, dtype, device);
        }
        // The sum is formed in float32: a half-precision sum would lose most of a small delta.
        let weight = self.base.get(shape, name, init, DType::F32, device)?;
        let changed = changes.iter().try_fold(weight, |weight, change| add(&weight, change, device))?;
        changed.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.base.get_unchecked(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.base.contains_tensor(name)
    }
}

/// `weight` with `up @ down` added to the rows that it changes.
fn add(weight: &Tensor, change: &LowRank, device: &Device) -> Result<Tensor> {
    let all = weight.dim(0)?;
    let Range { start, end } = change.rows;
    if end > all || change.down.dim(D::Minus1)? != weight.dim(1)? {
        bail!("a LoRA for rows {start} to {end} does not fit a weight of shape {:?}", weight.dims());
    }
    let delta = change.up.to_device(device)?.matmul(&change.down.to_device(device)?)?;
    weight + delta.pad_with_zeros(0, start, all - end)?
}
