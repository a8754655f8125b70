//! Checks that the loaded numbers contain USO's LoRA.

use std::ops::RangeInclusive;

use candle_core::{DType, Device, Tensor};

use super::fault::fault;
use crate::Error;
use crate::matrix::Linear;
use crate::model::{Model, PACKED_LORA, Part};
use crate::noise::normal;
use crate::uso::Uso;
use crate::uso::lora::{Changes, LowRank};

/// Allowed share of the LoRA's exact effect in a layer's products: all of it, with a tolerance for rounding to eight
/// bits or fewer.
const SHARE: RangeInclusive<f64> = 0.5..=1.5;

/// Compares the first layer that the LoRA changes, as loaded, with the numbers of the transformer's file.
///
/// # Errors
/// [`Error::SelfTest`] names a LoRA that changes nothing, or the layer that lacks it.
pub(super) fn counts(uso: &Uso) -> Result<(), Error> {
    let model = Model::open(&uso.files)?;
    if model.packed(PACKED_LORA).is_some() {
        tracing::info!("USO's LoRA was merged when this model was packed, so its effect cannot be checked");
        return Ok(());
    }
    let layers = uso.flux.some_linears()?;
    let (weights, lora) = (model.weights(Part::Transformer)?, model.weights(Part::Lora)?);
    let wanted = |name: &str| layers.iter().any(|layer| layer.name() == name);
    let changes = Changes::read_of(model.lora()?, &model.config().lora, wanted);
    let changes = changes.map_err(|error| lora.fault(&error))?;
    let file = lora.file().display();
    for layer in &layers {
        let name = layer.name();
        let effect = effect(layer.matrix().shape(), changes.of(name), uso.dtype)?;
        if effect.is_nil()? {
            continue;
        }
        let stored = weights.tensor(&format!("{name}.weight"), DType::F32, &Device::Cpu);
        let share = effect.share(layer, &stored.map_err(|error| weights.fault(&error))?)?;
        if SHARE.contains(&share) {
            return Ok(());
        }
        return Err(fault(format!(
            "{:.0} % of what USO's LoRA in {file} changes is in layer {name}",
            100.0 * share
        )));
    }
    Err(fault(format!("USO's LoRA in {file} changes nothing")))
}

/// The effect of a LoRA on a layer's products.
struct Effect {
    /// The input: (tokens, input), in the compute type.
    x: Tensor,
    /// (tokens, rows), float32.
    exact: Tensor,
}

fn effect((rows, columns): (usize, usize), changes: &[LowRank], dtype: DType) -> Result<Effect, Error> {
    const TOKENS: usize = 40;
    let x =
        Tensor::from_vec(normal(13, TOKENS * columns), (TOKENS, columns), &Device::Cpu)?.to_dtype(dtype)?;
    let rounded = x.to_dtype(DType::F32)?;
    let nothing = Tensor::zeros((TOKENS, rows), DType::F32, &Device::Cpu)?;
    let exact = changes.iter().try_fold(nothing, |sum, change| sum + change.product(&rounded, rows)?)?;
    Ok(Effect { x, exact })
}

impl Effect {
    fn is_nil(&self) -> Result<bool, Error> {
        Ok(dot(&self.exact, &self.exact)? == 0.0)
    }

    /// The share of the effect that a loaded layer shows, compared with the numbers in its file.
    fn share(&self, layer: &Linear, stored: &Tensor) -> Result<f64, Error> {
        let x = self.x.to_device(&layer.matrix().device())?;
        // The difference removes the bias.
        let ours = ((layer.forward(&x)? - layer.forward(&x.neg()?)?)? / 2.0)?;
        let ours = ours.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let theirs = self.x.to_dtype(DType::F32)?.matmul(&stored.t()?)?;
        Ok(dot(&(ours - theirs)?, &self.exact)? / dot(&self.exact, &self.exact)?)
    }
}

fn dot(one: &Tensor, other: &Tensor) -> Result<f64, Error> {
    Ok(f64::from((one * other)?.sum_all()?.to_scalar::<f32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Matrix, Tier};

    const SHAPE: (usize, usize) = (96, 64);

    fn random(seed: u64, shape: (usize, usize), size: f64) -> Tensor {
        let numbers = Tensor::from_vec(normal(seed, shape.0 * shape.1), shape, &Device::Cpu).unwrap();
        (numbers * size).unwrap()
    }

    /// The share of the effect of a LoRA for 64 of a layer's rows, in the layer that `load` makes from its weights and
    /// the LoRA.
    fn share(load: impl Fn(&Tensor, &LowRank) -> Linear) -> f64 {
        let weight = random(1, SHAPE, 0.1);
        let change =
            LowRank { rows: 8..72, down: random(2, (4, SHAPE.1), 0.1), up: random(3, (64, 4), 0.05) };
        let layer = load(&weight, &change);
        effect(SHAPE, &[change], DType::F32).unwrap().share(&layer, &weight).unwrap()
    }

    fn plain(weight: &Tensor) -> Linear {
        let bias = random(4, (1, SHAPE.0), 3.0).flatten_all().unwrap();
        Linear::new(Matrix::Dense(weight.clone()), Some(bias)).unwrap()
    }

    #[test]
    fn a_lora_is_seen_merged_rounded_and_beside_the_weights() {
        let merged = share(|weight, change| plain(&change.add_to(weight).unwrap()));
        assert!((merged - 1.0).abs() < 1e-3, "{merged}");
        let beside = share(|weight, change| {
            plain(weight).with_branch(change.branch(DType::F32, &Device::Cpu).unwrap()).unwrap()
        });
        assert!((beside - 1.0).abs() < 1e-3, "{beside}");
        let rounded = share(|weight, change| {
            let sum = change.add_to(weight).unwrap();
            let matrix = Matrix::from_tensor(&sum, Tier::Q8_0, DType::F32, &Device::Cpu).unwrap();
            Linear::new(matrix, None).unwrap()
        });
        assert!(SHARE.contains(&rounded), "{rounded}");
    }

    #[test]
    fn a_lora_that_was_lost_or_added_twice_is_not() {
        let lost = share(|weight, _| plain(weight));
        assert!(!SHARE.contains(&lost), "{lost}");
        let twice = share(|weight, change| plain(&change.add_to(&change.add_to(weight).unwrap()).unwrap()));
        assert!(!SHARE.contains(&twice), "{twice}");
    }
}
