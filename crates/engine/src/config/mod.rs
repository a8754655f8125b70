//! `config.json` of a model folder: every size that the engine uses. What it leaves out has FLUX.1-dev's value.

mod encoders;
pub(crate) mod limits;

use candle_transformers::models::flux::{autoencoder, model as flux};
use serde::Deserialize;

pub(crate) use self::encoders::Nested;
pub use self::encoders::{ClipConfig, SiglipConfig, T5Config};
use self::limits::{MOST_LAYERS, MOST_WIDTH, at_most, divides, equal, within};
use crate::{Error, ModelFiles};

/// Groups of each norm of the autoencoder.
pub(crate) const NORM_GROUPS: usize = 32;

/// Channels of a latent: as many as its start noise and [`PreviewConfig`] have.
const LATENT_CHANNELS: usize = 16;
/// Cells of a latent that make a token of the transformer: 2 x 2.
const TOKEN_CELLS: usize = 4;

/// Sizes and defaults of a model.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ModelConfig {
    /// The transformer.
    pub flux: FluxConfig,
    /// The autoencoder.
    pub ae: AutoencoderConfig,
    /// The style projector.
    pub projector: ProjectorConfig,
    /// The LoRA.
    pub lora: LoraConfig,
    /// Token counts of the text encoders.
    #[serde(flatten)]
    pub text: TextLengths,
    /// Defaults for parameters that a request leaves out.
    pub defaults: Defaults,
    /// How a latent's channels are turned into colours for previews.
    pub preview: PreviewConfig,
}

impl ModelConfig {
    /// Reads `config.json`, or gives FLUX.1-dev's sizes if the folder has none.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if the file is there but unreadable or contradicts itself.
    pub fn read(files: &ModelFiles) -> Result<Self, Error> {
        const FILE: &str = "config.json";
        if !files.contains(FILE) {
            return Ok(Self::default());
        }
        let config: Self = files.read_json(FILE)?;
        config.check().map_err(|reason| crate::files::missing(FILE, reason))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.flux.check()?;
        self.ae.check()?;
        self.projector.check()?;
        let (token, channels) = (self.flux.in_channels, self.ae.z_channels);
        if token != TOKEN_CELLS * channels {
            return Err(format!(
                "flux.in_channels {token} is not {TOKEN_CELLS} times ae.z_channels {channels}"
            ));
        }
        if channels != LATENT_CHANNELS {
            return Err(format!("ae.z_channels {channels} is not supported, only {LATENT_CHANNELS}"));
        }
        let width = ("projector.hidden_size", self.projector.hidden_size);
        equal(width, ("flux.hidden_size", self.flux.hidden_size))
    }

    /// Refuses encoders that give something else than the parts behind them take.
    pub(crate) fn check_encoders(
        &self,
        t5: &T5Config,
        clip: &ClipConfig,
        siglip: &SiglipConfig,
    ) -> Result<(), String> {
        let Self { flux, projector, text, .. } = self;
        equal(("flux.context_in_dim", flux.context_in_dim), ("d_model of T5", t5.d_model))?;
        equal(("flux.vec_in_dim", flux.vec_in_dim), ("hidden_size of CLIP", clip.hidden_size))?;
        let width = ("projector.siglip_token_dims", projector.siglip_token_dims);
        equal(width, ("hidden_size of SigLIP", siglip.hidden_size))?;
        let tokens = ("projector.siglip_token_nums", projector.siglip_token_nums);
        equal(tokens, ("the number of SigLIP's patches,", siglip.tokens()))?;
        let (length, most) = (text.clip, clip.max_position_embeddings);
        if length > most {
            return Err(format!(
                "clip_max_length {length} is more than max_position_embeddings {most} of CLIP"
            ));
        }
        Ok(())
    }
}

/// Defaults of a request that depend on the model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// Longest side of the content reference in pixels.
    pub content_size: u32,
    /// Side in pixels of the picture that `keep_size` makes of a content reference whose side is `content_size`.
    pub keep_size_base: u32,
    /// Sampling steps.
    pub steps: u32,
    /// Guidance strength.
    pub guidance: f64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { width: 1024, height: 1024, content_size: 512, keep_size_base: 1024, steps: 25, guidance: 4.0 }
    }
}

/// Number of tokens for each text encoder, padding included.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub struct TextLengths {
    /// T5 tokens.
    #[serde(rename = "t5_max_length")]
    pub t5: usize,
    /// CLIP tokens.
    #[serde(rename = "clip_max_length")]
    pub clip: usize,
}

impl Default for TextLengths {
    fn default() -> Self {
        Self { t5: 512, clip: 77 }
    }
}

/// `FluxParams` of the reference.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct FluxConfig {
    /// Channels of a packed latent token.
    pub in_channels: usize,
    /// Width of the pooled CLIP vector.
    pub vec_in_dim: usize,
    /// Width of a T5 token.
    pub context_in_dim: usize,
    /// Width of a token inside the transformer.
    pub hidden_size: usize,
    /// Width of the feed-forward layers, in `hidden_size`s.
    pub mlp_ratio: f64,
    /// Attention heads.
    pub num_heads: usize,
    /// Double-stream blocks.
    pub depth: usize,
    /// Single-stream blocks.
    pub depth_single_blocks: usize,
    /// Rotary dimensions of a head for each position axis.
    pub axes_dim: Vec<usize>,
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// Whether the qkv projections of the double blocks have a bias.
    pub qkv_bias: bool,
    /// Whether guidance is an embedded input.
    pub guidance_embed: bool,
}

impl Default for FluxConfig {
    fn default() -> Self {
        let dev = flux::Config::dev();
        Self {
            in_channels: dev.in_channels,
            vec_in_dim: dev.vec_in_dim,
            context_in_dim: dev.context_in_dim,
            hidden_size: dev.hidden_size,
            mlp_ratio: dev.mlp_ratio,
            num_heads: dev.num_heads,
            depth: dev.depth,
            depth_single_blocks: dev.depth_single_blocks,
            axes_dim: dev.axes_dim,
            theta: dev.theta as f64,
            qkv_bias: dev.qkv_bias,
            guidance_embed: dev.guidance_embed,
        }
    }
}

impl FluxConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Width of the feed-forward layers.
    pub fn mlp_hidden(&self) -> usize {
        (self.hidden_size as f64 * self.mlp_ratio) as usize
    }

    fn check(&self) -> Result<(), String> {
        let (width, heads) = (("flux.hidden_size", self.hidden_size), ("flux.num_heads", self.num_heads));
        at_most(
            MOST_LAYERS,
            &[heads, ("flux.depth", self.depth), ("flux.depth_single_blocks", self.depth_single_blocks)],
        )?;
        at_most(
            MOST_WIDTH,
            &[
                width,
                ("flux.in_channels", self.in_channels),
                ("flux.vec_in_dim", self.vec_in_dim),
                ("flux.context_in_dim", self.context_in_dim),
            ],
        )?;
        within("flux.mlp_ratio", self.mlp_ratio, 0.01..=64.0)?;
        within("flux.theta", self.theta, 1.0..=1e12)?;
        divides(width, heads)?;
        for dim in &self.axes_dim {
            at_most(MOST_WIDTH, &[("flux.axes_dim", *dim)])?;
        }
        let rotary: usize = self.axes_dim.iter().sum();
        if self.axes_dim.len() != 3 || rotary != self.head_dim() {
            return Err(format!(
                "flux.axes_dim {:?} must be three numbers with the sum {}",
                self.axes_dim,
                self.head_dim()
            ));
        }
        match self.axes_dim.iter().find(|dim| **dim % 2 == 1) {
            Some(odd) => Err(format!("flux.axes_dim: {odd} is odd")),
            None => Ok(()),
        }
    }
}

/// `AutoEncoderParams` of the reference.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct AutoencoderConfig {
    /// Colour channels in.
    pub in_channels: usize,
    /// Channels of the first level.
    pub ch: usize,
    /// Colour channels out.
    pub out_ch: usize,
    /// Channels of each level, in `ch`s.
    pub ch_mult: Vec<usize>,
    /// Residual blocks per level.
    pub num_res_blocks: usize,
    /// Channels of a latent.
    pub z_channels: usize,
    /// Factor that turns the shifted posterior mean into the transformer's latent.
    pub scale_factor: f64,
    /// Offset to subtract from the posterior mean before multiplying.
    pub shift_factor: f64,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        let dev = autoencoder::Config::dev();
        Self {
            in_channels: dev.in_channels,
            ch: dev.ch,
            out_ch: dev.out_ch,
            ch_mult: dev.ch_mult,
            num_res_blocks: dev.num_res_blocks,
            z_channels: dev.z_channels,
            scale_factor: dev.scale_factor,
            shift_factor: dev.shift_factor,
        }
    }
}

impl AutoencoderConfig {
    /// How often the encoder halves the sides of a picture.
    pub fn halvings(&self) -> usize {
        self.ch_mult.len().saturating_sub(1)
    }

    /// Side of a latent's cell in pixels.
    pub fn cell(&self) -> usize {
        1 << self.halvings()
    }

    /// Refuses values that other parts rely on not to occur, and sizes that no memory could hold.
    fn check(&self) -> Result<(), String> {
        if self.ch_mult.len() != 4 {
            return Err(format!("ae.ch_mult {:?} must be four numbers: a cell has 8 pixels", self.ch_mult));
        }
        at_most(MOST_LAYERS, &[("ae.num_res_blocks", self.num_res_blocks)])?;
        at_most(
            MOST_WIDTH,
            &[
                ("ae.ch", self.ch),
                ("ae.in_channels", self.in_channels),
                ("ae.out_ch", self.out_ch),
                ("ae.z_channels", self.z_channels),
            ],
        )?;
        for factor in &self.ch_mult {
            at_most(MOST_WIDTH, &[("ae.ch times ae.ch_mult", factor.saturating_mul(self.ch))])?;
        }
        divides(("ae.ch", self.ch), ("the groups of a norm,", NORM_GROUPS))?;
        within("ae.scale_factor", self.scale_factor, 1e-6..=1e6)?;
        within("ae.shift_factor", self.shift_factor, -1e6..=1e6)
    }
}

/// Sizes of `SigLIPMultiFeatProjModel`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct ProjectorConfig {
    /// Tokens of a SigLIP hidden state.
    pub siglip_token_nums: usize,
    /// Style tokens made from each of the three hidden states.
    pub style_token_nums: usize,
    /// Width of a SigLIP token.
    pub siglip_token_dims: usize,
    /// Width of a style token: the transformer's.
    pub hidden_size: usize,
    /// Whether a layer norm comes before the projection.
    pub context_layer_norm: bool,
}

impl Default for ProjectorConfig {
    fn default() -> Self {
        Self {
            siglip_token_nums: 729,
            style_token_nums: 64,
            siglip_token_dims: 1152,
            hidden_size: 3072,
            context_layer_norm: true,
        }
    }
}

impl ProjectorConfig {
    fn check(&self) -> Result<(), String> {
        at_most(
            MOST_WIDTH,
            &[
                ("projector.siglip_token_nums", self.siglip_token_nums),
                ("projector.style_token_nums", self.style_token_nums),
                ("projector.siglip_token_dims", self.siglip_token_dims),
                ("projector.hidden_size", self.hidden_size),
            ],
        )
    }
}

/// A linear map from the 16 channels of a latent to red, green and blue from -1 to 1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PreviewConfig {
    /// A row of factors for each colour.
    pub weights: [[f32; 16]; 3],
    /// Offset of each colour.
    pub bias: [f32; 3],
}

/// FLUX.1's, as previews across the field use it (`latent_rgb_factors` of ComfyUI's
/// `comfy/latent_formats.py`).
impl Default for PreviewConfig {
    fn default() -> Self {
        Self {
            weights: [
                [
                    -0.0346, 0.0034, 0.0275, -0.0174, 0.0859, 0.0004, 0.0405, -0.0236, -0.0245, 0.1008,
                    -0.0515, 0.0428, 0.0817, -0.1264, -0.0280, -0.1262,
                ],
                [
                    0.0244, 0.0210, -0.0668, 0.0160, 0.0721, 0.0383, 0.0861, -0.0185, 0.0250, 0.0755, 0.0201,
                    -0.0012, 0.0765, -0.0522, -0.0881, -0.0982,
                ],
                [
                    0.0681, 0.0687, -0.0433, 0.0617, 0.0329, 0.0115, 0.0915, -0.0259, 0.1180, -0.0421,
                    0.0011, -0.0036, 0.0749, -0.1103, -0.0499, -0.0778,
                ],
            ],
            bias: [-0.0329, -0.0718, -0.0851],
        }
    }
}

/// How to merge the LoRA. Its rank is read from the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct LoraConfig {
    /// `alpha` of the kohya convention: the delta is scaled by `alpha / rank`.
    pub network_alpha: Option<f64>,
    /// Strength of the whole LoRA.
    pub lora_weight: f64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { network_alpha: None, lora_weight: 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::small::Published;

    fn checked(part: &str, field: &str, value: Value) -> Result<(), String> {
        let config: ModelConfig = serde_json::from_value(json!({ part: { field: value } })).unwrap();
        config.check()
    }

    #[test]
    fn numbers_beyond_any_model_are_refused_by_name_and_limit() {
        ModelConfig::default().check().unwrap();
        for (part, fields) in [
            ("flux", ["in_channels", "vec_in_dim", "context_in_dim", "hidden_size", "num_heads"].as_slice()),
            ("flux", &["depth", "depth_single_blocks"]),
            ("ae", &["in_channels", "ch", "out_ch", "num_res_blocks", "z_channels"]),
            ("projector", &["siglip_token_nums", "style_token_nums", "siglip_token_dims", "hidden_size"]),
        ] {
            for field in fields {
                for value in [0, 1_u64 << 62] {
                    let said = checked(part, field, json!(value)).unwrap_err();
                    assert!(
                        said.starts_with(&format!("{part}.{field} {value} is not within 1 to ")),
                        "{said}"
                    );
                }
            }
        }
        for (part, field) in
            [("flux", "mlp_ratio"), ("flux", "theta"), ("ae", "scale_factor"), ("ae", "shift_factor")]
        {
            let said = checked(part, field, json!(1e300)).unwrap_err();
            assert!(
                said.starts_with(&format!("{part}.{field} 1")) && said.contains("is not within"),
                "{said}"
            );
        }
        let said = checked("ae", "ch_mult", json!([1, 2, 4, 1_u64 << 62])).unwrap_err();
        assert!(said.starts_with("ae.ch times ae.ch_mult"), "{said}");
        let said = checked("flux", "axes_dim", json!([1_u64 << 63, 1_u64 << 63, 8])).unwrap_err();
        assert!(said.starts_with("flux.axes_dim"), "{said}");
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused_by_both_names() {
        for (part, field, value, said) in [
            ("flux", "in_channels", 60, "flux.in_channels 60 is not 4 times ae.z_channels 16"),
            ("ae", "z_channels", 8, "flux.in_channels 64 is not 4 times ae.z_channels 8"),
            ("projector", "hidden_size", 64, "projector.hidden_size 64 differs from flux.hidden_size 3072"),
        ] {
            assert_eq!(checked(part, field, json!(value)), Err(said.to_owned()));
        }
        let config = json!({ "flux": { "in_channels": 32 }, "ae": { "z_channels": 8 } });
        let config: ModelConfig = serde_json::from_value(config).unwrap();
        assert_eq!(config.check(), Err("ae.z_channels 8 is not supported, only 16".to_owned()));
    }

    /// The published configuration of an encoder, with this field changed.
    fn encoder<C: Published>(field: &str, value: usize) -> C {
        let mut config: Value = serde_json::from_slice(C::JSON).unwrap();
        let part = match C::NAME {
            Some(name) if config.get(name).is_some() => &mut config[name],
            _ => &mut config,
        };
        part[field] = value.into();
        C::from_json(&serde_json::to_vec(&config).unwrap()).unwrap()
    }

    #[test]
    fn encoders_that_give_something_else_than_is_taken_are_refused_by_both_names() {
        let checked = |t5: &T5Config, clip: &ClipConfig, siglip: &SiglipConfig| {
            ModelConfig::default().check_encoders(t5, clip, siglip)
        };
        let t5 = encoder::<T5Config>("d_model", 4096);
        let clip = encoder::<ClipConfig>("hidden_size", 768);
        let siglip = encoder::<SiglipConfig>("hidden_size", 1152);
        assert_eq!(checked(&t5, &clip, &siglip), Ok(()), "the published sizes");
        for (refused, said) in [
            (
                checked(&encoder::<T5Config>("d_model", 2048), &clip, &siglip),
                "flux.context_in_dim 4096 differs from d_model of T5 2048",
            ),
            (
                checked(&t5, &encoder::<ClipConfig>("hidden_size", 1280), &siglip),
                "flux.vec_in_dim 768 differs from hidden_size of CLIP 1280",
            ),
            (
                checked(&t5, &encoder::<ClipConfig>("max_position_embeddings", 64), &siglip),
                "clip_max_length 77 is more than max_position_embeddings 64 of CLIP",
            ),
            (
                checked(&t5, &clip, &encoder::<SiglipConfig>("hidden_size", 768)),
                "projector.siglip_token_dims 1152 differs from hidden_size of SigLIP 768",
            ),
            (
                checked(&t5, &clip, &encoder::<SiglipConfig>("image_size", 224)),
                "projector.siglip_token_nums 729 differs from the number of SigLIP's patches, 256",
            ),
        ] {
            assert_eq!(refused, Err(said.to_owned()));
        }
    }

    #[test]
    fn what_does_not_divide_is_refused_by_both_names() {
        let said = checked("flux", "num_heads", json!(7)).unwrap_err();
        assert_eq!(said, "flux.hidden_size 3072 is not a multiple of flux.num_heads 7");
        let said = checked("ae", "ch", json!(48)).unwrap_err();
        assert_eq!(said, "ae.ch 48 is not a multiple of the groups of a norm, 32");
    }
}
