//! The FLUX transformer with USO's style tokens and reference tokens (`Flux` of the reference).
//!
//! Values that are the same in all steps are computed once per job and kept in a [`Conditioning`]; values that depend
//! on the step but not on the latent, in [`ModulationTables`]. The reference computes both in every step.
//!
//! [`ModulationTables`]: super::modulation::ModulationTables

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::blocks::{Blocks, Layer, Source};
use super::builder::Builder;
use super::fused::{attend, gelu, split_norm_rotate};
pub use super::layers::Probe;
use super::layers::{FeedForward, QkNorm, StreamAttention};
use super::modulation::{DoubleModulation, Modulated, Modulations, StepModulation};
use super::positions::Rotary;
use super::side_branches::SideBranches;
use super::step_cache::StepCache;
use crate::config::FluxConfig;
use crate::matrix::Linear;
use crate::placement::{self, Placement};

/// The transformer's weights.
pub struct Flux {
    /// Needed once per job, before its first step.
    pub modulations: Modulations,
    img_in: Linear,
    txt_in: Linear,
    double_blocks: Blocks<DoubleBlock>,
    single_blocks: Blocks<SingleBlock>,
    /// The projection back to packed latents after the last modulated norm (`LastLayer`).
    final_layer: Linear,
    dtype: DType,
}

/// Values that all steps of a job share.
#[derive(Clone)]
pub struct Conditioning {
    /// Style tokens, then text tokens: (1, tokens, hidden).
    pub text: Tensor,
    /// Embedded tokens of the content reference: (1, tokens, hidden).
    pub reference: Option<Tensor>,
    /// Rotary tables of all tokens: style, text, target, reference.
    pub rotary: Rotary,
    /// The request's own LoRAs. In host memory while the sample is set aside.
    pub branches: SideBranches,
}

impl Conditioning {
    /// The same with its side branches on a device.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { branches: self.branches.to_device(device)?, ..self.clone() })
    }
}

impl Flux {
    /// Builds the transformer from weights with the published names.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape than its configuration asks for.
    pub(super) fn new(source: &Source<FluxConfig>, placement: &Placement) -> Result<Self> {
        let config = &source.config;
        let builder = &Builder::new(&source.weights, &source.changes, &source.place);
        let hidden = config.hidden_size;
        let names = |kind: &str, count: usize| (0..count).map(|i| format!("{kind}.{i}")).collect::<Vec<_>>();
        let double = names("double_blocks", config.depth);
        let single = names("single_blocks", config.depth_single_blocks);
        let (double_blocks, single_blocks) = match placement.blocks {
            placement::Blocks::Resident => (source.resident(&double)?, source.resident(&single)?),
            placement::Blocks::Streamed => (source.streamed(&double)?, source.streamed(&single)?),
        };
        Ok(Self {
            modulations: Modulations::new(source, placement.modulations)?,
            img_in: builder.pp("img_in").small_linear(config.in_channels, hidden)?,
            txt_in: builder.pp("txt_in").small_linear(config.context_in_dim, hidden)?,
            double_blocks,
            single_blocks,
            final_layer: builder.pp("final_layer.linear").small_linear(hidden, config.in_channels)?,
            dtype: builder.dtype(),
        })
    }

    /// The linear layers of the first block of each kind, and of the first modulation.
    ///
    /// # Errors
    /// If they cannot be copied to the device.
    pub(super) fn some_linears(&self) -> Result<Vec<Linear>> {
        let double = self.double_blocks.first(|block| block.linears().into_iter().cloned().collect())?;
        let single = self.single_blocks.first(|block| block.linears().into_iter().cloned().collect())?;
        let linears: [Vec<Linear>; 3] = [double, single, self.modulations.some_linears()?];
        Ok(linears.concat())
    }

    /// Embeds packed latents (1, tokens, channels) into (1, tokens, hidden).
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn embed_latent(&self, packed: &Tensor, branches: &SideBranches) -> Result<Tensor> {
        branches.forward(&self.img_in, &packed.to_dtype(self.dtype)?)
    }

    /// Embeds T5 states (1, tokens, width) and prepends the style tokens.
    ///
    /// # Errors
    /// If a shape does not fit.
    pub fn embed_text(
        &self,
        states: &Tensor,
        style: &[Tensor],
        branches: &SideBranches,
        probe: Probe<'_>,
    ) -> Result<Tensor> {
        let text = branches.forward(&self.txt_in, &states.to_dtype(self.dtype)?)?;
        probe("txt_in", &text);
        let mut parts = style.iter().map(|style| style.to_dtype(self.dtype)).collect::<Result<Vec<_>>>()?;
        parts.push(text);
        Tensor::cat(&parts, 1)
    }

    /// Predicts the velocity of `latent` (1, tokens, channels) in a step of a job, in the same shape. With a cache, all
    /// blocks but the first may be skipped.
    ///
    /// # Errors
    /// If the device fails or the conditioning was made for another size.
    pub fn predict(
        &self,
        latent: &Tensor,
        step: &StepModulation,
        job: &Conditioning,
        cache: Option<&mut StepCache>,
        probe: Probe<'_>,
    ) -> Result<Tensor> {
        let target = self.embed_latent(latent, &job.branches)?;
        probe("img_in", &target);
        let target_tokens = target.dim(1)?;
        let image = match &job.reference {
            Some(reference) => Tensor::cat(&[&target, reference], 1)?,
            None => target,
        };
        let text = job.text.clone();
        probe("blocks_in_img", &image);
        probe("blocks_in_txt", &text);
        let streams = Streams { image, text, target_tokens };
        let target = match cache {
            None => self.blocks_from(0, streams, step, job, probe)?,
            Some(cache) => self.cached(cache, streams, step, job, probe)?,
        };
        job.branches.forward(&self.final_layer, &step.last.forward(&target)?)
    }

    /// The target's tokens after all blocks, or after the first one plus what the cache has for the others.
    fn cached(
        &self,
        cache: &mut StepCache,
        mut streams: Streams,
        step: &StepModulation,
        job: &Conditioning,
        probe: Probe<'_>,
    ) -> Result<Tensor> {
        let before = streams.target()?;
        self.double(0..1, &mut streams, step, job, probe)?;
        // A copy: a view would keep the reference's tokens alive.
        let first = streams.target()?.contiguous()?;
        let added = (&first - before)?;
        if let Some(others) = cache.reuse(&added)? {
            return first + others;
        }
        let last = self.blocks_from(1, streams, step, job, probe)?;
        cache.keep(added, (&last - first)?);
        Ok(last)
    }

    /// The target's tokens after the double blocks from `first` on and all single blocks.
    fn blocks_from(
        &self,
        first: usize,
        mut streams: Streams,
        step: &StepModulation,
        job: &Conditioning,
        probe: Probe<'_>,
    ) -> Result<Tensor> {
        self.double(first..usize::MAX, &mut streams, step, job, probe)?;
        let Streams { image, text, target_tokens } = streams;
        let text_tokens = text.dim(1)?;
        let mut tokens = Tensor::cat(&[&text, &image], 1)?;
        self.single_blocks.each(|i, block| {
            tokens = block.forward(&tokens, &step.single[i], job)?;
            probe(&format!("single_{i}"), &tokens);
            Ok(())
        })?;
        tokens.narrow(1, text_tokens, target_tokens)
    }

    /// Runs the double blocks with these numbers on both streams.
    fn double(
        &self,
        numbers: Range<usize>,
        Streams { image, text, .. }: &mut Streams,
        step: &StepModulation,
        job: &Conditioning,
        probe: Probe<'_>,
    ) -> Result<()> {
        self.double_blocks.each_of(numbers, |i, block| {
            (*image, *text) = block.forward(image, text, &step.double[i], job)?;
            probe(&format!("double_{i}_img"), image);
            probe(&format!("double_{i}_txt"), text);
            Ok(())
        })
    }
}

/// The two streams of double blocks.
struct Streams {
    /// Target tokens, then those of the reference: (1, tokens, hidden).
    image: Tensor,
    text: Tensor,
    target_tokens: usize,
}

impl Streams {
    /// The target's tokens.
    fn target(&self) -> Result<Tensor> {
        self.image.narrow(1, 0, self.target_tokens)
    }
}

/// A block whose text and image streams have their own layers and a common attention.
struct DoubleBlock {
    image: Stream,
    text: Stream,
    heads: usize,
}

struct Stream {
    attention: StreamAttention,
    feed_forward: FeedForward,
}

impl Stream {
    fn new(config: &FluxConfig, builder: &Builder, name: &str) -> Result<Self> {
        let hidden = config.hidden_size;
        let part = |part: &str| builder.pp(format!("{name}_{part}"));
        Ok(Self {
            attention: StreamAttention::new(hidden, config.num_heads, config.qkv_bias, &part("attn"))?,
            feed_forward: FeedForward::new(hidden, config.mlp_hidden(), &part("mlp"))?,
        })
    }

    fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self {
            attention: self.attention.to_device(device)?,
            feed_forward: self.feed_forward.to_device(device)?,
        })
    }

    fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.attention.linears().into_iter().chain(self.feed_forward.linears())
    }

    /// The part after attention: projection and feed-forward, each gated.
    fn finish(
        &self,
        x: &Tensor,
        attended: &Tensor,
        [first, second]: &[Modulated; 2],
        branches: &SideBranches,
    ) -> Result<Tensor> {
        let x = first.gated(x, &branches.forward(&self.attention.proj, attended)?)?;
        let y = self.feed_forward.forward(&second.norm.forward(&x)?, branches)?;
        second.gated(&x, &y)
    }
}

impl Layer for DoubleBlock {
    type Config = FluxConfig;

    fn new(config: &FluxConfig, builder: &Builder) -> Result<Self> {
        let stream = |name| Stream::new(config, builder, name);
        Ok(Self { image: stream("img")?, text: stream("txt")?, heads: config.num_heads })
    }

    fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { image: self.image.to_device(device)?, text: self.text.to_device(device)?, ..*self })
    }

    fn linears(&self) -> Vec<&Linear> {
        [&self.image, &self.text].into_iter().flat_map(Stream::linears).collect()
    }
}

impl DoubleBlock {
    fn forward(
        &self,
        image: &Tensor,
        text: &Tensor,
        modulation: &DoubleModulation,
        Conditioning { rotary, branches, .. }: &Conditioning,
    ) -> Result<(Tensor, Tensor)> {
        let image_qkv = self.image.attention.project(&modulation.image[0].norm.forward(image)?, branches)?;
        let text_qkv = self.text.attention.project(&modulation.text[0].norm.forward(text)?, branches)?;
        let attended = attend(&split_norm_rotate(vec![text_qkv, image_qkv], self.heads, rotary)?)?;
        let (text_tokens, image_tokens) = (text.dim(1)?, image.dim(1)?);
        let text_attended = attended.narrow(1, 0, text_tokens)?;
        let image_attended = attended.narrow(1, text_tokens, image_tokens)?;
        Ok((
            self.image.finish(image, &image_attended, &modulation.image, branches)?,
            self.text.finish(text, &text_attended, &modulation.text, branches)?,
        ))
    }
}

/// A block with all tokens in one stream, and attention and feed-forward in parallel.
struct SingleBlock {
    norm: QkNorm,
    /// qkv and the first feed-forward layer, fused.
    linear1: Linear,
    /// Projection and the second feed-forward layer, fused.
    linear2: Linear,
    heads: usize,
    hidden: usize,
}

impl Layer for SingleBlock {
    type Config = FluxConfig;

    fn new(config: &FluxConfig, builder: &Builder) -> Result<Self> {
        let (hidden, expanded) = (config.hidden_size, config.mlp_hidden());
        Ok(Self {
            norm: QkNorm::new(config.head_dim(), &builder.pp("norm"))?,
            linear1: builder.pp("linear1").linear(hidden, 3 * hidden + expanded, true)?,
            linear2: builder.pp("linear2").linear(hidden + expanded, hidden, true)?,
            heads: config.num_heads,
            hidden,
        })
    }

    fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self {
            norm: self.norm.to_device(device)?,
            linear1: self.linear1.to_device(device)?,
            linear2: self.linear2.to_device(device)?,
            ..*self
        })
    }

    fn linears(&self) -> Vec<&Linear> {
        vec![&self.linear1, &self.linear2]
    }
}

impl SingleBlock {
    fn forward(
        &self,
        x: &Tensor,
        modulated: &Modulated,
        Conditioning { rotary, branches, .. }: &Conditioning,
    ) -> Result<Tensor> {
        let (normed, split) = (modulated.norm.forward(x)?, 3 * self.hidden);
        if !self.linear1.is_divisible(&normed) {
            let projected = branches.forward(&self.linear1, &normed)?;
            let qkv = projected.narrow(D::Minus1, 0, split)?;
            let expanded = projected.narrow(D::Minus1, split, projected.dim(D::Minus1)? - split)?;
            let attended = attend(&split_norm_rotate(vec![self.norm.of(qkv)], self.heads, rotary)?)?;
            let joined = Tensor::cat(&[attended, gelu(expanded)?], D::Minus1)?;
            return modulated.gated(x, &branches.forward(&self.linear2, &joined)?);
        }
        // In two parts, so that neither their results nor what attention makes of them exist at once.
        let (rows, _) = self.linear1.matrix().shape();
        let qkv = branches.forward_rows(&self.linear1, &normed, 0..split)?;
        let attended = attend(&split_norm_rotate(vec![self.norm.of(qkv)], self.heads, rotary)?)?;
        let expanded = gelu(branches.forward_rows(&self.linear1, &normed, split..rows)?)?;
        drop(normed);
        modulated.gated(x, &branches.forward_parts(&self.linear2, &[attended, expanded])?)
    }
}
