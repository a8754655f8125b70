//! The FLUX transformer with USO's style tokens and reference tokens (`Flux` of the reference).
//!
//! Whatever does not depend on the timestep is computed once for a job and kept in a
//! [`Conditioning`]; the reference recomputes it in every step.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};

use super::layers::{Embedder, FeedForward, Modulation, QkNorm, StreamAttention, norm, sinusoidal};
use super::positions::Rotary;
use crate::config::FluxConfig;

/// The transformer's weights.
pub struct Flux {
    img_in: Linear,
    txt_in: Linear,
    time_in: Embedder,
    vector_in: Embedder,
    guidance_in: Option<Embedder>,
    double_blocks: Vec<DoubleBlock>,
    single_blocks: Vec<SingleBlock>,
    final_layer: FinalLayer,
    dtype: DType,
    device: Device,
}

/// What a job's steps have in common.
pub struct Conditioning {
    /// Style tokens, then text tokens: (1, tokens, hidden).
    pub text: Tensor,
    /// Embedded tokens of the content reference: (1, tokens, hidden).
    pub reference: Option<Tensor>,
    /// Guidance and pooled text: (1, hidden).
    pub vector: Tensor,
    /// Rotary tables of all tokens: style, text, target, reference.
    pub rotary: Rotary,
}

/// Receives named intermediate tensors of a forward pass; the names are those of the reference's
/// modules.
pub type Probe<'a> = &'a mut dyn FnMut(&str, &Tensor);

impl Flux {
    /// Builds the transformer from weights with the published names.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape than `config` asks for.
    pub fn new(config: &FluxConfig, vb: VarBuilder) -> Result<Self> {
        let hidden = config.hidden_size;
        let blocks = |name: &str, count: usize| (0..count).map(|i| vb.pp(name).pp(i)).collect::<Vec<_>>();
        let guidance = config.guidance_embed.then(|| Embedder::new(256, hidden, vb.pp("guidance_in")));
        Ok(Self {
            img_in: linear(config.in_channels, hidden, vb.pp("img_in"))?,
            txt_in: linear(config.context_in_dim, hidden, vb.pp("txt_in"))?,
            time_in: Embedder::new(256, hidden, vb.pp("time_in"))?,
            vector_in: Embedder::new(config.vec_in_dim, hidden, vb.pp("vector_in"))?,
            guidance_in: guidance.transpose()?,
            double_blocks: blocks("double_blocks", config.depth)
                .into_iter()
                .map(|vb| DoubleBlock::new(config, vb))
                .collect::<Result<_>>()?,
            single_blocks: blocks("single_blocks", config.depth_single_blocks)
                .into_iter()
                .map(|vb| SingleBlock::new(config, vb))
                .collect::<Result<_>>()?,
            final_layer: FinalLayer::new(config, vb.pp("final_layer"))?,
            dtype: vb.dtype(),
            device: vb.device().clone(),
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

    /// The part of the conditioning vector that no step changes: guidance plus pooled text.
    ///
    /// # Errors
    /// If the shape of `pooled`, (1, width), does not fit.
    pub fn embed_vector(&self, pooled: &Tensor, guidance: f64, probe: Probe<'_>) -> Result<Tensor> {
        let vector = self.vector_in.forward(&pooled.to_dtype(self.dtype)?)?;
        probe("vector_in", &vector);
        let Some(guidance_in) = &self.guidance_in else { return Ok(vector) };
        let guidance = guidance_in.forward(&sinusoidal(guidance as f32, self.dtype, &self.device)?)?;
        probe("guidance_in", &guidance);
        guidance + vector
    }

    /// Predicts the velocity of `latent` (1, tokens, channels) at timestep `t` in 0..=1: same shape.
    ///
    /// # Errors
    /// If the device fails or the conditioning was made for another size.
    pub fn predict(&self, latent: &Tensor, t: f32, job: &Conditioning, probe: Probe<'_>) -> Result<Tensor> {
        let target = self.embed_latent(latent)?;
        probe("img_in", &target);
        let time = self.time_in.forward(&sinusoidal(t, self.dtype, &self.device)?)?;
        probe("time_in", &time);
        let vector = (time + &job.vector)?;
        probe("vec", &vector);
        let vector = vector.silu()?;

        let target_tokens = target.dim(1)?;
        let mut image = match &job.reference {
            Some(reference) => Tensor::cat(&[&target, reference], 1)?,
            None => target,
        };
        let mut text = job.text.clone();
        probe("blocks_in_img", &image);
        probe("blocks_in_txt", &text);
        for (i, block) in self.double_blocks.iter().enumerate() {
            (image, text) = block.forward(&image, &text, &vector, &job.rotary)?;
            probe(&format!("double_{i}_img"), &image);
            probe(&format!("double_{i}_txt"), &text);
        }
        let text_tokens = text.dim(1)?;
        let mut tokens = Tensor::cat(&[&text, &image], 1)?;
        for (i, block) in self.single_blocks.iter().enumerate() {
            tokens = block.forward(&tokens, &vector, &job.rotary)?;
            probe(&format!("single_{i}"), &tokens);
        }
        let target = tokens.narrow(1, text_tokens, target_tokens)?;
        self.final_layer.forward(&target, &vector)
    }
}

/// Text and image streams with layers of their own, joined in attention.
struct DoubleBlock {
    image: Stream,
    text: Stream,
}

struct Stream {
    modulation: Modulation,
    attention: StreamAttention,
    feed_forward: FeedForward,
}

impl Stream {
    fn new(config: &FluxConfig, vb: &VarBuilder, name: &str) -> Result<Self> {
        let hidden = config.hidden_size;
        let part = |part: &str| vb.pp(format!("{name}_{part}"));
        Ok(Self {
            modulation: Modulation::new(hidden, 2, part("mod"))?,
            attention: StreamAttention::new(hidden, config.num_heads, config.qkv_bias, part("attn"))?,
            feed_forward: FeedForward::new(hidden, config.mlp_hidden(), part("mlp"))?,
        })
    }

    /// What comes after attention: projection and feed-forward, each gated.
    fn finish(
        &self,
        x: &Tensor,
        attended: &Tensor,
        modulated: &[super::layers::Modulated],
    ) -> Result<Tensor> {
        let x = modulated[0].gated(x, &self.attention.proj.forward(attended)?)?;
        let y = self.feed_forward.forward(&modulated[1].norm(&x)?)?;
        modulated[1].gated(&x, &y)
    }
}

impl DoubleBlock {
    fn new(config: &FluxConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self { image: Stream::new(config, &vb, "img")?, text: Stream::new(config, &vb, "txt")? })
    }

    fn forward(
        &self,
        image: &Tensor,
        text: &Tensor,
        vector: &Tensor,
        rotary: &Rotary,
    ) -> Result<(Tensor, Tensor)> {
        let image_modulated = self.image.modulation.forward(vector)?;
        let text_modulated = self.text.modulation.forward(vector)?;
        let image_qkv = self.image.attention.project(&image_modulated[0].norm(image)?)?;
        let text_qkv = self.text.attention.project(&text_modulated[0].norm(text)?)?;
        let attended = text_qkv.join(&image_qkv)?.attend(rotary)?;
        let (text_tokens, image_tokens) = (text.dim(1)?, image.dim(1)?);
        let text_attended = attended.narrow(1, 0, text_tokens)?;
        let image_attended = attended.narrow(1, text_tokens, image_tokens)?;
        Ok((
            self.image.finish(image, &image_attended, &image_modulated)?,
            self.text.finish(text, &text_attended, &text_modulated)?,
        ))
    }
}

/// All tokens in one stream, attention and feed-forward side by side.
struct SingleBlock {
    modulation: Modulation,
    norm: QkNorm,
    /// qkv and the first feed-forward layer in one.
    linear1: Linear,
    /// Projection and the second feed-forward layer in one.
    linear2: Linear,
    heads: usize,
    hidden: usize,
}

impl SingleBlock {
    fn new(config: &FluxConfig, vb: VarBuilder) -> Result<Self> {
        let (hidden, expanded) = (config.hidden_size, config.mlp_hidden());
        Ok(Self {
            modulation: Modulation::new(hidden, 1, vb.pp("modulation"))?,
            norm: QkNorm::new(config.head_dim(), vb.pp("norm"))?,
            linear1: linear(hidden, 3 * hidden + expanded, vb.pp("linear1"))?,
            linear2: linear(hidden + expanded, hidden, vb.pp("linear2"))?,
            heads: config.num_heads,
            hidden,
        })
    }

    fn forward(&self, x: &Tensor, vector: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        let modulated = self.modulation.forward(vector)?;
        let projected = self.linear1.forward(&modulated[0].norm(x)?)?;
        let qkv = projected.narrow(D::Minus1, 0, 3 * self.hidden)?;
        let expanded =
            projected.narrow(D::Minus1, 3 * self.hidden, projected.dim(D::Minus1)? - 3 * self.hidden)?;
        let attended = self.norm.split(&qkv, self.heads)?.attend(rotary)?;
        let joined = Tensor::cat(&[attended, expanded.gelu()?], D::Minus1)?;
        modulated[0].gated(x, &self.linear2.forward(&joined)?)
    }
}

/// The last modulated norm and the projection back to packed latents (`LastLayer`).
struct FinalLayer {
    modulation: Linear,
    linear: Linear,
}

impl FinalLayer {
    fn new(config: &FluxConfig, vb: VarBuilder) -> Result<Self> {
        let hidden = config.hidden_size;
        Ok(Self {
            modulation: linear(hidden, 2 * hidden, vb.pp("adaLN_modulation.1"))?,
            linear: linear(hidden, config.in_channels, vb.pp("linear"))?,
        })
    }

    fn forward(&self, x: &Tensor, vector: &Tensor) -> Result<Tensor> {
        let rows = self.modulation.forward(vector)?.reshape((2, x.dim(2)?))?;
        let (shift, weight) = (rows.get(0)?, (rows.get(1)? + 1.0)?);
        self.linear.forward(&norm(x, &weight, &shift)?)
    }
}
