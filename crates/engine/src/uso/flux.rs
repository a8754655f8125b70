//! The FLUX transformer with USO's style tokens and reference tokens (`Flux` of the reference).
//!
//! What no step changes is computed once for a job and kept in a [`Conditioning`]; what a step changes
//! without seeing the latent, in [`ModulationTables`]. The reference computes both in every step.
//!
//! [`ModulationTables`]: super::modulation::ModulationTables

use candle_core::{D, DType, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};

pub use super::layers::Probe;
use super::layers::{FeedForward, QkNorm, StreamAttention};
use super::modulation::{DoubleModulation, Modulated, Modulations, StepModulation};
use super::positions::Rotary;
use crate::config::FluxConfig;

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
    pub fn new(config: &FluxConfig, vb: VarBuilder) -> Result<Self> {
        let hidden = config.hidden_size;
        let blocks = |name: &str, count: usize| (0..count).map(|i| vb.pp(name).pp(i)).collect::<Vec<_>>();
        Ok(Self {
            modulations: Modulations::new(config, &vb)?,
            img_in: linear(config.in_channels, hidden, vb.pp("img_in"))?,
            txt_in: linear(config.context_in_dim, hidden, vb.pp("txt_in"))?,
            double_blocks: blocks("double_blocks", config.depth)
                .into_iter()
                .map(|vb| DoubleBlock::new(config, vb))
                .collect::<Result<_>>()?,
            single_blocks: blocks("single_blocks", config.depth_single_blocks)
                .into_iter()
                .map(|vb| SingleBlock::new(config, vb))
                .collect::<Result<_>>()?,
            final_layer: linear(hidden, config.in_channels, vb.pp("final_layer.linear"))?,
            dtype: vb.dtype(),
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
    fn new(config: &FluxConfig, vb: &VarBuilder, name: &str) -> Result<Self> {
        let hidden = config.hidden_size;
        let part = |part: &str| vb.pp(format!("{name}_{part}"));
        Ok(Self {
            attention: StreamAttention::new(hidden, config.num_heads, config.qkv_bias, part("attn"))?,
            feed_forward: FeedForward::new(hidden, config.mlp_hidden(), part("mlp"))?,
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
    fn new(config: &FluxConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self { image: Stream::new(config, &vb, "img")?, text: Stream::new(config, &vb, "txt")? })
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
    fn new(config: &FluxConfig, vb: VarBuilder) -> Result<Self> {
        let (hidden, expanded) = (config.hidden_size, config.mlp_hidden());
        Ok(Self {
            norm: QkNorm::new(config.head_dim(), vb.pp("norm"))?,
            linear1: linear(hidden, 3 * hidden + expanded, vb.pp("linear1"))?,
            linear2: linear(hidden + expanded, hidden, vb.pp("linear2"))?,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use candle_core::{Device, Shape, bail};
    use candle_nn::Init;
    use candle_nn::var_builder::SimpleBackend;

    use super::*;

    /// Zeros that take no memory, and an account of how many were asked for under which name.
    #[derive(Clone, Default)]
    struct Account(Arc<Mutex<BTreeMap<String, usize>>>);

    impl SimpleBackend for Account {
        fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
            if self.0.lock().unwrap().insert(name.to_owned(), shape.elem_count()).is_some() {
                bail!("{name} was asked for twice");
            }
            Tensor::zeros((), dtype, device)?.broadcast_as(shape)
        }

        fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
            bail!("{name} was asked for in any shape")
        }

        fn contains_tensor(&self, _: &str) -> bool {
            true
        }
    }

    /// What `build` asks for: the numbers of each tensor.
    fn asked<T>(build: impl FnOnce(VarBuilder) -> Result<T>) -> BTreeMap<String, usize> {
        let account = Account::default();
        build(VarBuilder::from_backend(Box::new(account.clone()), DType::F32, Device::Cpu)).unwrap();
        account.0.lock().unwrap().clone()
    }

    #[test]
    fn a_step_needs_less_than_three_quarters_of_the_weights() {
        let config = FluxConfig::default();
        let all = asked(|vb| Flux::new(&config, vb));
        let once = asked(|vb| Modulations::new(&config, &vb));
        assert!(once.iter().all(|(name, numbers)| all.get(name) == Some(numbers)));
        let [all, once] = [all, once].map(|tensors| tensors.values().sum::<usize>());
        assert_eq!(all, 11_901_408_320, "FLUX.1-dev has another number of parameters");
        let needed = (all - once) as f64 / all as f64;
        assert!((0.72..0.75).contains(&needed), "{needed}");
    }

    #[test]
    fn a_model_without_guidance_asks_for_none() {
        let config = FluxConfig { guidance_embed: false, ..FluxConfig::default() };
        let asked = asked(|vb| Flux::new(&config, vb));
        assert!(asked.keys().all(|name| !name.contains("guidance")) && asked.len() > 700);
    }
}
