//! The FLUX transformer with USO's style tokens and reference tokens (`Flux` of the reference).
//!
//! Values that are the same in all steps are computed once per job and kept in a [`Conditioning`]; values that depend
//! on the step but not on the latent, in [`ModulationTables`]. The reference computes both in every step.
//!
//! [`ModulationTables`]: super::modulation::ModulationTables

use std::ops::Range;
use std::slice;

use candle_core::{D, DType, Result, Tensor};

use super::blocks::{Blocks, Layer, Source};
use super::builder::Builder;
use super::double_block::DoubleBlock;
use super::fused::{attend, gelu, split_norm_rotate};
pub use super::layers::Probe;
use super::layers::QkNorm;
use super::member::Streams;
pub use super::member::{Conditioning, Member};
use super::modulate::{gated, normed};
use super::modulation::{Modulated, Modulations, StepModulation};
use super::side_branches::SideBranches;
use super::stacked::{stack, unstack};
use super::step_cache::StepCache;
use crate::config::FluxConfig;
use crate::matrix::Linear;
use crate::placement::{self, Placement};
use crate::replace::{HasTensors, Replace};

/// The transformer's weights.
pub struct Flux {
    /// Needed once per job, before its first step.
    pub modulations: Modulations,
    img_in: Linear,
    txt_in: Linear,
    pub(super) double_blocks: Blocks<DoubleBlock>,
    pub(super) single_blocks: Blocks<SingleBlock>,
    /// The projection back to packed latents after the last modulated norm (`LastLayer`).
    final_layer: Linear,
    dtype: DType,
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
        let member = Member { latent, step, job };
        let streams = self.streams(&member, probe)?;
        let target = match cache {
            None => stack(self.blocks_from(0, vec![streams], slice::from_ref(&member), probe)?)?,
            Some(cache) => self.cached(cache, streams, &member, probe)?,
        };
        self.last(&member, &target)
    }

    /// Predicts the velocities of several samples, each as [`Flux::predict`] does without a cache. All have the same
    /// numbers of tokens and the same side branches. Weights are read once for all of them.
    ///
    /// # Errors
    /// If the device fails or the samples differ in shape.
    pub fn predict_together(&self, members: &[Member<'_>], probe: Probe<'_>) -> Result<Vec<Tensor>> {
        let streams = members.iter().map(|member| self.streams(member, probe)).collect::<Result<_>>()?;
        let targets = self.blocks_from(0, streams, members, probe)?;
        members.iter().zip(&targets).map(|(member, target)| self.last(member, target)).collect()
    }

    /// The tokens that the first block begins with.
    fn streams(&self, member: &Member<'_>, probe: Probe<'_>) -> Result<Streams> {
        let Conditioning { text, reference, branches, .. } = member.job;
        let target = self.embed_latent(member.latent, branches)?;
        probe("img_in", &target);
        let target_tokens = target.dim(1)?;
        let image = match reference {
            Some(reference) => Tensor::cat(&[&target, reference], 1)?,
            None => target,
        };
        probe("blocks_in_img", &image);
        probe("blocks_in_txt", text);
        Ok(Streams { image, text: text.clone(), target_tokens })
    }

    /// The velocity of the target's tokens after all blocks.
    fn last(&self, Member { step, job, .. }: &Member<'_>, target: &Tensor) -> Result<Tensor> {
        job.branches.forward(&self.final_layer, &step.last.forward(target)?)
    }

    /// The target's tokens after all blocks, or after the first one plus what the cache has for the others.
    fn cached(
        &self,
        cache: &mut StepCache,
        mut streams: Streams,
        member: &Member<'_>,
        probe: Probe<'_>,
    ) -> Result<Tensor> {
        let before = streams.target()?;
        self.double(0..1, slice::from_mut(&mut streams), slice::from_ref(member), probe)?;
        // A copy: a view would keep the reference's tokens alive.
        let first = streams.target()?.force_contiguous()?;
        let added = (&first - before)?;
        if let Some(others) = cache.reuse(&added)? {
            return first + others;
        }
        let last = stack(self.blocks_from(1, vec![streams], slice::from_ref(member), probe)?)?;
        cache.keep(added, (&last - first)?);
        Ok(last)
    }

    /// The target's tokens of each sample after the double blocks from `first` on and all single blocks.
    fn blocks_from(
        &self,
        first: usize,
        mut streams: Vec<Streams>,
        members: &[Member<'_>],
        probe: Probe<'_>,
    ) -> Result<Vec<Tensor>> {
        self.double(first..usize::MAX, &mut streams, members, probe)?;
        let targets = streams.iter().map(|own| Ok((own.text.dim(1)?, own.target_tokens)));
        let targets = targets.collect::<Result<Vec<_>>>()?;
        let joined = streams.into_iter().map(|Streams { image, text, .. }| Tensor::cat(&[&text, &image], 1));
        let mut tokens = joined.collect::<Result<Vec<_>>>()?;
        self.single_blocks.each(|i, block| {
            tokens = block.forward(&tokens, members, i)?;
            tokens.iter().for_each(|tokens| probe(&format!("single_{i}"), tokens));
            Ok(())
        })?;
        tokens.iter().zip(targets).map(|(tokens, (first, count))| tokens.narrow(1, first, count)).collect()
    }

    /// Runs the double blocks with these numbers on both streams of each sample.
    fn double(
        &self,
        numbers: Range<usize>,
        streams: &mut [Streams],
        members: &[Member<'_>],
        probe: Probe<'_>,
    ) -> Result<()> {
        self.double_blocks.each_of(numbers, |i, block| {
            block.forward(streams, members, i)?;
            for Streams { image, text, .. } in &*streams {
                probe(&format!("double_{i}_img"), image);
                probe(&format!("double_{i}_txt"), text);
            }
            Ok(())
        })
    }
}

/// A block with all tokens in one stream, and attention and feed-forward in parallel.
pub(super) struct SingleBlock {
    norm: QkNorm,
    /// qkv and the first feed-forward layer, fused.
    linear1: Linear,
    /// Projection and the second feed-forward layer, fused.
    linear2: Linear,
    heads: usize,
    hidden: usize,
}

impl HasTensors for SingleBlock {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        let norm = self.norm.replaced(by)?;
        Ok(Self { norm, linear1: self.linear1.replaced(by)?, linear2: self.linear2.replaced(by)?, ..*self })
    }
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

    fn linears(&self) -> Vec<&Linear> {
        vec![&self.linear1, &self.linear2]
    }
}

impl SingleBlock {
    fn forward(&self, samples: &[Tensor], members: &[Member<'_>], number: usize) -> Result<Vec<Tensor>> {
        let branches = Member::branches(members)?;
        let steps: Vec<&Modulated> = members.iter().map(|member| &member.step.single[number]).collect();
        let (normed, split) = (normed(samples, &steps)?, 3 * self.hidden);
        if !self.linear1.is_divisible(&normed) {
            let projected = branches.forward(&self.linear1, &normed)?;
            drop(normed);
            let qkv = projected.narrow(D::Minus1, 0, split)?;
            let expanded = projected.narrow(D::Minus1, split, projected.dim(D::Minus1)? - split)?;
            let parts = [self.attended(qkv, members)?, gelu(expanded)?];
            return gated(samples, branches.forward_parts(&self.linear2, &parts)?, &steps);
        }
        // In two parts, so that neither their results nor what attention makes of them exist at once.
        let (rows, _) = self.linear1.matrix().shape();
        let qkv = branches.forward_rows(&self.linear1, &normed, 0..split)?;
        let attended = self.attended(qkv, members)?;
        let expanded = branches.gelu_rows(&self.linear1, &normed, split..rows)?;
        drop(normed);
        gated(samples, branches.forward_parts(&self.linear2, &[attended, expanded])?, &steps)
    }

    /// Attention of each sample for itself: (samples, tokens, hidden). `qkv`: (samples, tokens, 3 * hidden).
    fn attended(&self, qkv: Tensor, members: &[Member<'_>]) -> Result<Tensor> {
        let attended = unstack(qkv)?.into_iter().zip(members).map(|(qkv, member)| {
            attend(&split_norm_rotate(vec![self.norm.of(qkv)], self.heads, &member.job.rotary)?)
        });
        stack(attended.collect::<Result<_>>()?)
    }
}
