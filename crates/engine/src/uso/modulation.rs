//! Modulations: scale, shift and gate of every layer, for all steps of a job at once.
//!
//! They depend on the timestep, the guidance and the pooled text, all known before the first step. The reference
//! computes them in every step, and reads a quarter of the transformer's weights for one row each. Here a job reads
//! these weights once, and a step reads its row of a table.

use candle_core::{DType, Device, Result, Tensor};

use super::blocks::{Blocks, Layer, Source};
use super::builder::{self, Builder};
use super::calls::MODULATIONS;
use super::fused::{gated_add, modulated_norm};
use super::layers::Probe;
use super::side_branches::SideBranches;
use crate::config::FluxConfig;
use crate::matrix::{Activations, Linear, Tier};
use crate::placement::{Keep, Place};
use crate::replace::{HasTensors, Replace};

/// Rows of a table for a stream of a double block (shift, scale and gate of two parts), for a single block
/// (those of one) and for the final layer (shift and scale).
const STREAM: usize = 6;
const SINGLE: usize = 3;
const LAST: usize = 2;

/// The weights that turn timestep, guidance and pooled text into modulations. Steps do not need them.
pub struct Modulations {
    time_in: Embedder,
    vector_in: Embedder,
    guidance_in: Option<Embedder>,
    /// Layers in the order of their rows in a table.
    pub(super) layers: Blocks<ModulationLayer>,
    rows: usize,
    double_blocks: usize,
    hidden: usize,
    dtype: DType,
    device: Device,
}

impl Modulations {
    /// Builds them from the transformer's weights with the published names. The layers, which are nearly all of the
    /// bytes, stay on the device or are streamed for each job.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape than its configuration asks for.
    pub(super) fn new(source: &Source<FluxConfig>, place: Place) -> Result<Self> {
        let config = &source.config;
        let builder = &Builder::new(&source.weights, &source.changes, &source.place);
        let hidden = config.hidden_size;
        let embedder = |input: usize, name: &str| Embedder::new(input, hidden, &builder.pp(name));
        let names: Vec<String> = layers(config).map(|(name, _)| name).collect();
        let keep = match source.place.keep {
            keep @ Keep::Tier(Tier::Bf16) => keep,
            // Never rounded to a tier: a job reads them once.
            _ => Keep::AsStored,
        };
        let activations = Activations::Exact;
        let place_of = builder::Place { keep, activations, ..source.place.clone() };
        let source = Source { changes: source.changes.only(&names), place: place_of, ..source.clone() };
        Ok(Self {
            time_in: embedder(2 * FREQUENCIES, "time_in")?,
            vector_in: embedder(config.vec_in_dim, "vector_in")?,
            guidance_in: config
                .guidance_embed
                .then(|| embedder(2 * FREQUENCIES, "guidance_in"))
                .transpose()?,
            layers: match place {
                Place::Device => source.resident(&names)?,
                Place::Host => source.streamed(&names)?,
            },
            rows: rows(config),
            double_blocks: config.depth,
            hidden,
            dtype: builder.dtype(),
            device: builder.device().clone(),
        })
    }

    /// The tables of a job whose steps begin at `timesteps`, each in 0..=1, with the pooled text (1, width).
    ///
    /// Vectors and products have the precision of the weights; the tables are in float32.
    ///
    /// # Errors
    /// If the shape of `pooled` does not fit, or the device fails.
    pub fn tables(
        &self,
        timesteps: &[f32],
        guidance: f64,
        pooled: &Tensor,
        branches: &SideBranches,
        probe: Probe<'_>,
    ) -> Result<ModulationTables> {
        MODULATIONS.add();
        let vectors = self.vectors(timesteps, guidance, pooled, branches, probe)?.silu()?;
        let steps = timesteps.len();
        let rows = Tensor::zeros((steps, self.rows, self.hidden), DType::F32, &self.device)?;
        let mut first = 0;
        self.layers.each(|_, layer| {
            let made = branches.forward(&layer.0, &vectors)?.to_dtype(DType::F32)?;
            let made = made.reshape((steps, (), self.hidden))?;
            // Copied into place one by one: concatenating would hold them twice.
            rows.slice_set(&made.broadcast_add(&ones_for_scales(made.dim(1)?, &self.device)?)?, 1, first)?;
            first += made.dim(1)?;
            Ok(())
        })?;
        Ok(ModulationTables { rows, double_blocks: self.double_blocks })
    }

    /// The linear layers of the first modulation.
    pub(super) fn some_linears(&self) -> Result<Vec<Linear>> {
        self.layers.first(|layer| layer.linears().into_iter().cloned().collect())
    }

    /// The conditioning vector of each step (`vec` of the reference): (steps, hidden).
    fn vectors(
        &self,
        timesteps: &[f32],
        guidance: f64,
        pooled: &Tensor,
        branches: &SideBranches,
        probe: Probe<'_>,
    ) -> Result<Tensor> {
        let sinusoidal = |values: &[f32]| sinusoidal(values, self.dtype, &self.device);
        let mut common = self.vector_in.forward(&pooled.to_dtype(self.dtype)?, branches)?;
        probe("vector_in", &common);
        if let Some(guidance_in) = &self.guidance_in {
            let guidance = guidance_in.forward(&sinusoidal(&[guidance as f32])?, branches)?;
            probe("guidance_in", &guidance);
            common = (guidance + common)?;
        }
        let time = self.time_in.forward(&sinusoidal(timesteps)?, branches)?;
        probe("time_in", &time);
        let vectors = time.broadcast_add(&common)?;
        probe("vec", &vectors);
        Ok(vectors)
    }
}

/// A layer that computes modulations.
pub(super) struct ModulationLayer(Linear);

impl Layer for ModulationLayer {
    type Config = FluxConfig;

    fn new(config: &FluxConfig, builder: &Builder) -> Result<Self> {
        let rows = layers(config).find(|(name, _)| name == builder.path());
        let rows = rows.map_or(0, |(_, rows)| rows);
        builder.linear(config.hidden_size, rows * config.hidden_size, true).map(Self)
    }

    fn linears(&self) -> Vec<&Linear> {
        vec![&self.0]
    }
}

impl HasTensors for ModulationLayer {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        self.0.replaced(by).map(Self)
    }
}

/// The modulations of a job's steps.
#[derive(Debug, Clone)]
pub struct ModulationTables {
    /// (steps, rows, hidden), float32. Scales are stored as `1 + scale`.
    rows: Tensor,
    double_blocks: usize,
}

impl ModulationTables {
    /// Bytes of the tables of a job with `steps` steps.
    #[cfg(test)]
    pub(super) fn bytes(config: &FluxConfig, steps: usize) -> usize {
        steps * rows(config) * config.hidden_size * DType::F32.size_in_bytes()
    }

    /// The same tables on a device, without a copy if they are already there.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { rows: self.rows.to_device(device)?, ..*self })
    }

    /// The modulations of a step, rounded to the compute type.
    ///
    /// # Errors
    /// If there is no such step.
    pub fn step(&self, step: usize, dtype: DType) -> Result<StepModulation> {
        let rows = self.rows.get(step)?.to_dtype(dtype)?;
        let (singles, last) = (2 * STREAM * self.double_blocks, rows.dim(0)? - LAST);
        let double = (0..singles).step_by(2 * STREAM).map(|first| DoubleModulation::read(&rows, first));
        let single = (singles..last).step_by(SINGLE).map(|first| Modulated::read(&rows, first));
        Ok(StepModulation {
            double: double.collect::<Result<_>>()?,
            single: single.collect::<Result<_>>()?,
            last: ModulatedNorm::read(&rows, last)?,
        })
    }
}

/// The modulations of all layers in one step.
pub struct StepModulation {
    pub(super) double: Vec<DoubleModulation>,
    pub(super) single: Vec<Modulated>,
    pub(super) last: ModulatedNorm,
}

/// The modulations of each stream of a double block: attention, then feed-forward.
pub(super) struct DoubleModulation {
    pub(super) image: [Modulated; 2],
    pub(super) text: [Modulated; 2],
}

impl DoubleModulation {
    fn read(rows: &Tensor, first: usize) -> Result<Self> {
        let part = |i: usize| Modulated::read(rows, first + i * SINGLE);
        Ok(Self { image: [part(0)?, part(1)?], text: [part(2)?, part(3)?] })
    }
}

/// A modulated layer norm. With one sample there is one vector of each, so it is a plain layer norm with `1 + scale` as
/// its weight and `shift` as its bias: one fused operation.
pub(super) struct ModulatedNorm {
    shift: Tensor,
    weight: Tensor,
}

impl ModulatedNorm {
    fn read(rows: &Tensor, first: usize) -> Result<Self> {
        Ok(Self { shift: rows.get(first)?, weight: rows.get(first + 1)? })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        modulated_norm(x, &self.weight, &self.shift)
    }
}

/// A part of a block between its norm and its gate (`Modulation` of the reference).
pub(super) struct Modulated {
    pub(super) norm: ModulatedNorm,
    gate: Tensor,
}

impl Modulated {
    fn read(rows: &Tensor, first: usize) -> Result<Self> {
        Ok(Self { norm: ModulatedNorm::read(rows, first)?, gate: rows.get(first + 2)? })
    }

    /// `x + gate * y`.
    pub(super) fn gated(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        gated_add(x, &self.gate, y)
    }
}

/// Name and rows of each modulation layer, in the order of a table.
fn layers(config: &FluxConfig) -> impl Iterator<Item = (String, usize)> {
    let streams = ["img_mod", "txt_mod"];
    let double = (0..config.depth)
        .flat_map(move |i| streams.map(|name| (format!("double_blocks.{i}.{name}.lin"), STREAM)));
    let single =
        (0..config.depth_single_blocks).map(|i| (format!("single_blocks.{i}.modulation.lin"), SINGLE));
    double.chain(single).chain([("final_layer.adaLN_modulation.1".to_owned(), LAST)])
}

/// Rows of a table: 344 in FLUX.1-dev.
fn rows(config: &FluxConfig) -> usize {
    layers(config).map(|(_, rows)| rows).sum()
}

/// 1 in the rows of a layer that are scales, else 0: (rows, 1).
fn ones_for_scales(rows: usize, device: &Device) -> Result<Tensor> {
    Tensor::from_iter((0..rows).map(|row| if row % 3 == 1 { 1f32 } else { 0.0 }), device)?.reshape((rows, 1))
}

/// Linear, SiLU, linear (`MLPEmbedder`).
struct Embedder {
    into: Linear,
    out: Linear,
}

impl Embedder {
    fn new(input: usize, hidden: usize, builder: &Builder) -> Result<Self> {
        Ok(Self {
            into: builder.pp("in_layer").small_linear(input, hidden)?,
            out: builder.pp("out_layer").small_linear(hidden, hidden)?,
        })
    }

    fn forward(&self, x: &Tensor, branches: &SideBranches) -> Result<Tensor> {
        branches.forward(&self.out, &branches.forward(&self.into, x)?.silu()?)
    }
}

/// Frequencies of a sinusoidal embedding.
const FREQUENCIES: usize = 128;

/// Sinusoidal embeddings of numbers in 0..=1 or of guidance strengths: (values, 256), cosines first.
///
/// `timestep_embedding` of the reference with its factor of 1000. As there, every operation is in float32, because an
/// angle of thousands of radians magnifies each rounding error.
fn sinusoidal(values: &[f32], dtype: DType, device: &Device) -> Result<Tensor> {
    let frequency = |i: usize| (-(10_000f64.ln() as f32) * i as f32 / FREQUENCIES as f32).exp();
    let angles = |value: f32| (0..FREQUENCIES).map(move |i| 1000.0 * value * frequency(i));
    let row = |&value: &f32| angles(value).map(f32::cos).chain(angles(value).map(f32::sin));
    let rows: Vec<f32> = values.iter().flat_map(row).collect();
    Tensor::from_vec(rows, (values.len(), 2 * FREQUENCIES), device)?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::expected;
    use crate::uso::lora::Changes;
    use crate::weights::random_weights;

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Two double and three single blocks with random weights.
    fn random() -> (FluxConfig, Modulations) {
        random_in(Place::Device)
    }

    fn random_in(where_they_lie: Place) -> (FluxConfig, Modulations) {
        let config = FluxConfig {
            hidden_size: 16,
            num_heads: 1,
            vec_in_dim: 8,
            depth: 2,
            depth_single_blocks: 3,
            ..FluxConfig::default()
        };
        let weights = random_weights(expected::transformer(&config));
        let (none, place) = (Changes::default(), builder::Place::new(Device::Cpu, DType::F32));
        let source = Source { config: config.clone(), weights, changes: none, place };
        let modulations = Modulations::new(&source, where_they_lie).unwrap();
        (config, modulations)
    }

    fn pooled() -> Tensor {
        Tensor::arange(0f32, 8.0, &Device::Cpu).unwrap().reshape((1, 8)).unwrap()
    }

    fn tables(modulations: &Modulations, timesteps: &[f32]) -> ModulationTables {
        modulations.tables(timesteps, 3.5, &pooled(), &SideBranches::default(), &mut |_, _| {}).unwrap()
    }

    #[test]
    fn a_step_gets_what_its_timestep_alone_would_give() {
        let (config, modulations) = random();
        let timesteps = [1.0, 0.75, 0.1];
        let all = tables(&modulations, &timesteps);
        assert_eq!(all.rows.elem_count() * size_of::<f32>(), ModulationTables::bytes(&config, 3));
        for (i, timestep) in timesteps.into_iter().enumerate() {
            let alone = tables(&modulations, &[timestep]);
            let [ours, alone] = [all.rows.get(i), alone.rows.get(0)].map(|rows| values(&rows.unwrap()));
            assert!(ours.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5), "step {i}");
        }
        assert_ne!(values(&all.rows.get(0).unwrap()), values(&all.rows.get(2).unwrap()));
    }

    #[test]
    fn each_layer_gets_the_modulations_of_its_own_weights() {
        let (_, modulations) = random();
        let step = tables(&modulations, &[0.5]).step(0, DType::F32).unwrap();
        let none = SideBranches::default();
        let vector = modulations.vectors(&[0.5], 3.5, &pooled(), &none, &mut |_, _| {}).unwrap();
        let vector = vector.silu().unwrap();
        let Blocks::Resident(layers) = &modulations.layers else { panic!("they lie on the device") };
        let told = |layer: usize| {
            let rows = layers[layer].0.forward(&vector).unwrap().reshape(((), 16)).unwrap();
            rows.to_vec2::<f32>().unwrap()
        };
        let same = |norm: &ModulatedNorm, rows: &[Vec<f32>], name: &str| {
            assert_eq!(values(&norm.shift), rows[0], "{name}");
            let scaled: Vec<f32> = rows[1].iter().map(|scale| scale + 1.0).collect();
            assert_eq!(values(&norm.weight), scaled, "{name}");
        };
        let part = |modulated: &Modulated, rows: &[Vec<f32>], name: &str| {
            same(&modulated.norm, rows, name);
            assert_eq!(values(&modulated.gate), rows[2], "{name}");
        };
        for (i, DoubleModulation { image, text }) in step.double.iter().enumerate() {
            for (stream, rows) in [(image, told(2 * i)), (text, told(2 * i + 1))] {
                part(&stream[0], &rows[..3], &format!("attention of block {i}"));
                part(&stream[1], &rows[3..], &format!("feed-forward part of block {i}"));
            }
        }
        for (i, modulated) in step.single.iter().enumerate() {
            part(modulated, &told(4 + i), &format!("single block {i}"));
        }
        same(&step.last, &told(7), "the final layer");
        assert_eq!((step.double.len(), step.single.len()), (2, 3));
    }

    #[test]
    fn weights_that_are_read_for_each_job_give_the_same() {
        let timesteps = [1.0, 0.25];
        let [resident, read] =
            [Place::Device, Place::Host].map(|place| values(&tables(&random_in(place).1, &timesteps).rows));
        assert_eq!(resident, read);
    }

    #[test]
    fn there_is_a_row_for_every_step_and_no_more() {
        let (_, modulations) = random();
        let tables = tables(&modulations, &[1.0, 0.5]);
        assert!(tables.step(1, DType::F32).is_ok());
        assert!(tables.step(2, DType::F32).is_err());
    }

    #[test]
    fn scales_are_rounded_after_one_was_added() {
        let (_, modulations) = random();
        let tables = tables(&modulations, &[0.5]);
        let [exact, ours] = [DType::F32, DType::BF16].map(|dtype| tables.step(0, dtype).unwrap().last.weight);
        assert_eq!(ours.dtype(), DType::BF16);
        let rounded = exact.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        assert_eq!(values(&ours.to_dtype(DType::F32).unwrap()), values(&rounded));
    }

    #[test]
    fn tables_that_lie_where_they_should_are_not_copied() {
        let (_, modulations) = random();
        let tables = tables(&modulations, &[0.5]);
        assert_eq!(tables.to_device(&Device::Cpu).unwrap().rows.id(), tables.rows.id());
    }

    #[test]
    fn a_step_needs_less_than_three_quarters_of_the_weights() {
        let config = FluxConfig::default();
        let numbers = |tensors: &[(String, Vec<usize>)]| -> usize {
            tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        let all = expected::transformer(&config);
        assert_eq!(numbers(&all), 11_901_408_320, "FLUX.1-dev has another number of parameters");
        let once = layers(&config)
            .map(|(name, _)| name)
            .chain(["time_in", "vector_in", "guidance_in"].map(String::from));
        let once: Vec<String> = once.map(|name| name + ".").collect();
        let needed: Vec<_> =
            all.iter().filter(|(name, _)| !once.iter().any(|once| name.starts_with(once))).cloned().collect();
        let share = numbers(&needed) as f64 / numbers(&all) as f64;
        assert!((0.72..0.75).contains(&share), "{share}");
    }
}
