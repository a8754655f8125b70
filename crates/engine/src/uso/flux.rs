//! The FLUX transformer with USO's style tokens and reference tokens (`Flux` of the reference).
//!
//! What no step changes is computed once for a job and kept in a [`Conditioning`]; what a step changes
//! without seeing the latent, in [`ModulationTables`]. The reference computes both in every step.
//!
//! [`ModulationTables`]: super::modulation::ModulationTables

use candle_core::{D, DType, Result, Tensor};

use super::builder::Builder;
pub use super::layers::Probe;
use super::layers::{FeedForward, QkNorm, StreamAttention};
use super::modulation::{DoubleModulation, Modulated, Modulations, StepModulation};
use super::positions::Rotary;
use super::together::built;
use crate::config::FluxConfig;
use crate::matrix::Linear;

/// The transformer's weights.
pub struct Flux {
    /// What a job needs once, before its first step.
    pub modulations: Modulations,
    img_in: Linear,
    txt_in: Linear,
    double_blocks: Vec<DoubleBlock>,
    single_blocks: Vec<SingleBlock>,
    /// The projection back to packed latents behind the last modulated norm (`LastLayer`).
    final_layer: Linear,
    dtype: DType,
}

/// What a job's steps have in common.
pub struct Conditioning {
    /// Style tokens, then text tokens: (1, tokens, hidden).
    pub text: Tensor,
    /// Embedded tokens of the content reference: (1, tokens, hidden).
    pub reference: Option<Tensor>,
    /// Rotary tables of all tokens: style, text, target, reference.
    pub rotary: Rotary,
}

impl Flux {
    /// Builds the transformer from weights with the published names.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape than `config` asks for.
    pub fn new(config: &FluxConfig, builder: &Builder) -> Result<Self> {
        let hidden = config.hidden_size;
        let blocks = |name: &str, count: usize| {
            let blocks = builder.pp(name);
            (0..count).map(move |i| blocks.pp(i))
        };
        Ok(Self {
            modulations: Modulations::new(config, builder)?,
            img_in: builder.pp("img_in").small_linear(config.in_channels, hidden)?,
            txt_in: builder.pp("txt_in").small_linear(config.context_in_dim, hidden)?,
            double_blocks: built(builder.device(), blocks("double_blocks", config.depth), |builder| {
                DoubleBlock::new(config, &builder)
            })?,
            single_blocks: built(
                builder.device(),
                blocks("single_blocks", config.depth_single_blocks),
                |builder| SingleBlock::new(config, &builder),
            )?,
            final_layer: builder.pp("final_layer.linear").small_linear(hidden, config.in_channels)?,
            dtype: builder.dtype(),
        })
    }

    /// Embeds packed latents (1, tokens, channels) into (1, tokens, hidden).
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn embed_latent(&self, packed: &Tensor) -> Result<Tensor> {
        self.img_in.forward(&packed.to_dtype(self.dtype)?)
    }

    /// Embeds T5 states (1, tokens, width) and puts the style tokens before them.
    ///
    /// # Errors
    /// If a shape does not fit.
    pub fn embed_text(&self, states: &Tensor, style: &[Tensor], probe: Probe<'_>) -> Result<Tensor> {
        let text = self.txt_in.forward(&states.to_dtype(self.dtype)?)?;
        probe("txt_in", &text);
        let mut parts = style.iter().map(|style| style.to_dtype(self.dtype)).collect::<Result<Vec<_>>>()?;
        parts.push(text);
        Tensor::cat(&parts, 1)
    }

    /// Predicts the velocity of `latent` (1, tokens, channels) in a step of a job: same shape.
    ///
    /// # Errors
    /// If the device fails or the conditioning was made for another size.
    pub fn predict(
        &self,
        latent: &Tensor,
        step: &StepModulation,
        job: &Conditioning,
        probe: Probe<'_>,
    ) -> Result<Tensor> {
        let target = self.embed_latent(latent)?;
        probe("img_in", &target);
        let target_tokens = target.dim(1)?;
        let mut image = match &job.reference {
            Some(reference) => Tensor::cat(&[&target, reference], 1)?,
            None => target,
        };
        let mut text = job.text.clone();
        probe("blocks_in_img", &image);
        probe("blocks_in_txt", &text);
        for (i, (block, modulation)) in self.double_blocks.iter().zip(&step.double).enumerate() {
            (image, text) = block.forward(&image, &text, modulation, &job.rotary)?;
            probe(&format!("double_{i}_img"), &image);
            probe(&format!("double_{i}_txt"), &text);
        }
        let text_tokens = text.dim(1)?;
        let mut tokens = Tensor::cat(&[&text, &image], 1)?;
        for (i, (block, modulated)) in self.single_blocks.iter().zip(&step.single).enumerate() {
            tokens = block.forward(&tokens, modulated, &job.rotary)?;
            probe(&format!("single_{i}"), &tokens);
        }
        let target = tokens.narrow(1, text_tokens, target_tokens)?;
        self.final_layer.forward(&step.last.forward(&target)?)
    }
}

/// Text and image streams with layers of their own, joined in attention.
struct DoubleBlock {
    image: Stream,
    text: Stream,
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

    /// What comes after attention: projection and feed-forward, each gated.
    fn finish(&self, x: &Tensor, attended: &Tensor, [first, second]: &[Modulated; 2]) -> Result<Tensor> {
        let x = first.gated(x, &self.attention.proj.forward(attended)?)?;
        let y = self.feed_forward.forward(&second.norm.forward(&x)?)?;
        second.gated(&x, &y)
    }
}

impl DoubleBlock {
    fn new(config: &FluxConfig, builder: &Builder) -> Result<Self> {
        Ok(Self { image: Stream::new(config, builder, "img")?, text: Stream::new(config, builder, "txt")? })
    }

    fn forward(
        &self,
        image: &Tensor,
        text: &Tensor,
        modulation: &DoubleModulation,
        rotary: &Rotary,
    ) -> Result<(Tensor, Tensor)> {
        let image_qkv = self.image.attention.project(&modulation.image[0].norm.forward(image)?)?;
        let text_qkv = self.text.attention.project(&modulation.text[0].norm.forward(text)?)?;
        let attended = text_qkv.join(&image_qkv)?.attend(rotary)?;
        let (text_tokens, image_tokens) = (text.dim(1)?, image.dim(1)?);
        let text_attended = attended.narrow(1, 0, text_tokens)?;
        let image_attended = attended.narrow(1, text_tokens, image_tokens)?;
        Ok((
            self.image.finish(image, &image_attended, &modulation.image)?,
            self.text.finish(text, &text_attended, &modulation.text)?,
        ))
    }
}

/// All tokens in one stream, attention and feed-forward side by side.
struct SingleBlock {
    norm: QkNorm,
    /// qkv and the first feed-forward layer in one.
    linear1: Linear,
    /// Projection and the second feed-forward layer in one.
    linear2: Linear,
    heads: usize,
    hidden: usize,
}

impl SingleBlock {
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

    fn forward(&self, x: &Tensor, modulated: &Modulated, rotary: &Rotary) -> Result<Tensor> {
        let projected = self.linear1.forward(&modulated.norm.forward(x)?)?;
        let qkv = projected.narrow(D::Minus1, 0, 3 * self.hidden)?;
        let expanded =
            projected.narrow(D::Minus1, 3 * self.hidden, projected.dim(D::Minus1)? - 3 * self.hidden)?;
        let attended = self.norm.split(&qkv, self.heads)?.attend(rotary)?;
        let joined = Tensor::cat(&[attended, expanded.gelu()?], D::Minus1)?;
        modulated.gated(x, &self.linear2.forward(&joined)?)
    }
}
