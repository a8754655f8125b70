//! `config.json` of the encoders, as Hugging Face's library writes it: the sizes that determine their shapes.

use candle_nn::Activation;
use serde::Deserialize;

/// Sizes of the T5 encoder.
#[derive(Debug, Clone, Deserialize)]
pub struct T5Config {
    /// Tokens that have an embedding.
    pub vocab_size: usize,
    /// Width of a token.
    pub d_model: usize,
    /// Width of an attention head.
    pub d_kv: usize,
    /// Width of the feed-forward layers.
    pub d_ff: usize,
    /// Blocks of the encoder.
    pub num_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Number of distance ranges, each with its own bias.
    pub relative_attention_num_buckets: usize,
    /// Distance from which on all distances share one bias.
    #[serde(default = "farthest")]
    pub relative_attention_max_distance: usize,
    /// Epsilon of the norms.
    #[serde(default = "millionth")]
    pub layer_norm_epsilon: f64,
    /// Kind of the feed-forward layers; only `gated-gelu` is supported.
    pub feed_forward_proj: String,
}

fn farthest() -> usize {
    128
}

fn millionth() -> f64 {
    1e-6
}

/// Sizes of the text half of CLIP.
#[derive(Debug, Clone, Deserialize)]
pub struct ClipConfig {
    /// Tokens that have an embedding.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Most tokens of a text.
    pub max_position_embeddings: usize,
    /// Layers of the encoder.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Activation of the feed-forward layers; only `quick_gelu` is supported.
    #[serde(default = "quick_gelu")]
    pub hidden_act: String,
    /// Id of the end token, or 2.
    #[serde(default = "published_end")]
    pub eos_token_id: u32,
}

fn quick_gelu() -> String {
    "quick_gelu".into()
}

/// The end id in the published configuration. It is not the vocabulary's: models with it take the pooled vector at the
/// largest id instead.
fn published_end() -> u32 {
    2
}

impl ClipConfig {
    /// Id of the token at which the pooled vector is taken; None for the largest id of a text.
    pub fn end_id(&self) -> Option<u32> {
        (self.eos_token_id != published_end()).then_some(self.eos_token_id)
    }
}

/// Sizes of the SigLIP vision encoder. Fields that published files leave out have the library's defaults.
#[derive(Debug, Clone, Deserialize)]
pub struct SiglipConfig {
    /// Width of a token.
    pub hidden_size: usize,
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Layers in the file.
    pub num_hidden_layers: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Colour channels.
    #[serde(default = "three")]
    pub num_channels: usize,
    /// Epsilon of the layer norms.
    #[serde(default = "millionth")]
    pub layer_norm_eps: f64,
    /// Activation of the feed-forward layers.
    #[serde(default = "gelu_tanh")]
    pub hidden_act: Activation,
}

fn three() -> usize {
    3
}

fn gelu_tanh() -> Activation {
    Activation::GeluPytorchTanh
}

impl SiglipConfig {
    /// Positions of the hidden states that USO reads, counted from the end as the reference does. Entry 0 of their list
    /// is the embedding, so -2 is the output of the second to last layer.
    pub const HIDDEN_STATES: [usize; 3] = [2, 11, 20];

    /// Number of tokens of a hidden state.
    pub fn tokens(&self) -> usize {
        let side = self.image_size / self.patch_size.max(1);
        side * side
    }

    /// Number of layers that the hidden states depend on which USO reads: all but the last.
    pub fn used_layers(&self) -> usize {
        self.num_hidden_layers.saturating_add(1).saturating_sub(Self::HIDDEN_STATES[0])
    }
}

/// A configuration that may be nested under a name in a larger one.
pub(crate) trait Nested: serde::de::DeserializeOwned {
    /// The name, if there is one.
    const NAME: Option<&'static str>;

    /// Reads the configuration, nested or not.
    fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut whole: serde_json::Value = serde_json::from_slice(bytes)?;
        let nested = Self::NAME.and_then(|name| whole.get_mut(name)).map(serde_json::Value::take);
        serde_json::from_value(nested.unwrap_or(whole))
    }

    /// Refuses values that are not supported or contradict each other.
    fn check(&self) -> Result<(), String>;
}

impl Nested for T5Config {
    const NAME: Option<&'static str> = None;

    fn check(&self) -> Result<(), String> {
        match self.feed_forward_proj.as_str() {
            "gated-gelu" => {
                count("num_layers", self.num_layers)?;
                count("num_heads", self.num_heads)
            }
            other => Err(format!("feed_forward_proj {other:?} is not supported, only gated-gelu")),
        }
    }
}

impl Nested for ClipConfig {
    const NAME: Option<&'static str> = Some("text_config");

    fn check(&self) -> Result<(), String> {
        match self.hidden_act.as_str() {
            "quick_gelu" => {
                count("num_hidden_layers", self.num_hidden_layers)?;
                count("num_attention_heads", self.num_attention_heads)
            }
            other => Err(format!("hidden_act {other:?} is not supported, only quick_gelu")),
        }
    }
}

impl Nested for SiglipConfig {
    const NAME: Option<&'static str> = Some("vision_config");

    fn check(&self) -> Result<(), String> {
        count("num_hidden_layers", self.num_hidden_layers)?;
        count("num_attention_heads", self.num_attention_heads)?;
        count("patch_size", self.patch_size)?;
        let (states, deepest) = (self.num_hidden_layers + 1, Self::HIDDEN_STATES[2]);
        if states < deepest {
            return Err(format!("num_hidden_layers {} is too few for hidden state -{deepest}", states - 1));
        }
        Ok(())
    }
}

/// Checks a number of layers, heads or pixels: at least one, and not more than any model has.
fn count(name: &str, value: usize) -> Result<(), String> {
    const MOST: usize = 1024;
    if (1..=MOST).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} {value} is not within 1 to {MOST}"))
    }
}
