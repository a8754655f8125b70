//! The blocks whose text and image streams have their own layers.

use candle_core::{Result, Tensor};

use super::blocks::Layer;
use super::builder::Builder;
use super::fused::{attend, split_norm_rotate};
use super::layers::{FeedForward, StreamAttention};
use super::member::{Member, Streams};
use super::modulate::{gated, normed};
use super::modulation::{DoubleModulation, Modulated};
use super::side_branches::SideBranches;
use super::stacked::stack;
use crate::config::FluxConfig;
use crate::matrix::Linear;
use crate::replace::{HasTensors, Replace};

/// A block whose text and image streams have their own layers and a common attention.
pub(super) struct DoubleBlock {
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

    fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.attention.linears().into_iter().chain(self.feed_forward.linears())
    }

    /// The part after attention: projection and feed-forward, each gated. `attended` has what all samples attended to.
    fn finish(
        &self,
        samples: &[&Tensor],
        attended: &Tensor,
        [first, second]: &[Vec<&Modulated>; 2],
        branches: &SideBranches,
    ) -> Result<Vec<Tensor>> {
        let projected = branches.forward(&self.attention.proj, attended)?;
        let samples = gated(samples.iter().copied(), projected, first)?;
        let y = self.feed_forward.forward(&normed(&samples, second)?, branches)?;
        gated(&samples, y, second)
    }
}

impl HasTensors for Stream {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { attention: self.attention.replaced(by)?, feed_forward: self.feed_forward.replaced(by)? })
    }
}

impl HasTensors for DoubleBlock {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { image: self.image.replaced(by)?, text: self.text.replaced(by)?, ..*self })
    }
}

impl Layer for DoubleBlock {
    type Config = FluxConfig;

    fn new(config: &FluxConfig, builder: &Builder) -> Result<Self> {
        let stream = |name| Stream::new(config, builder, name);
        Ok(Self { image: stream("img")?, text: stream("txt")?, heads: config.num_heads })
    }

    fn linears(&self) -> Vec<&Linear> {
        [&self.image, &self.text].into_iter().flat_map(Stream::linears).collect()
    }
}

impl DoubleBlock {
    /// The block on both streams of each sample; `number` is its own among the double blocks.
    pub(super) fn forward(
        &self,
        streams: &mut [Streams],
        members: &[Member<'_>],
        number: usize,
    ) -> Result<()> {
        let branches = Member::branches(members)?;
        let part = |of: fn(&DoubleModulation) -> &Modulated| {
            members.iter().map(|member| of(&member.step.double[number])).collect::<Vec<_>>()
        };
        let image_steps = [part(|step| &step.image[0]), part(|step| &step.image[1])];
        let text_steps = [part(|step| &step.text[0]), part(|step| &step.text[1])];
        let images: Vec<&Tensor> = streams.iter().map(|own| &own.image).collect();
        let texts: Vec<&Tensor> = streams.iter().map(|own| &own.text).collect();
        let normed = |samples: &[&Tensor], steps: &[&Modulated]| normed(samples.iter().copied(), steps);
        let image_qkv = self.image.attention.project(&normed(&images, &image_steps[0])?, branches)?;
        let text_qkv = self.text.attention.project(&normed(&texts, &text_steps[0])?, branches)?;
        let attended = text_qkv.into_iter().zip(image_qkv).zip(members).map(|((text, image), member)| {
            attend(&split_norm_rotate(vec![text, image], self.heads, &member.job.rotary)?)
        });
        let attended = attended.collect::<Result<Vec<_>>>()?;
        let text_tokens = texts.first().map_or(Ok(0), |text| text.dim(1))?;
        let image_tokens = images.first().map_or(Ok(0), |image| image.dim(1))?;
        let part = |first, count| {
            stack(attended.iter().map(|own| own.narrow(1, first, count)).collect::<Result<_>>()?)
        };
        let (text_attended, image_attended) = (part(0, text_tokens)?, part(text_tokens, image_tokens)?);
        drop(attended);
        let images = self.image.finish(&images, &image_attended, &image_steps, branches)?;
        let texts = self.text.finish(&texts, &text_attended, &text_steps, branches)?;
        for ((own, image), text) in streams.iter_mut().zip(images).zip(texts) {
            (own.image, own.text) = (image, text);
        }
        Ok(())
    }
}
