//! `config.json` of the encoders, as Hugging Face's library writes it: the sizes that determine their shapes.

use candle_nn::Activation;
use serde::Deserialize;

use super::limits::{MOST_LAYERS, MOST_PIXELS, MOST_TOKENS, MOST_WIDTH, at_most, divides, within};

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
        let proj = &self.feed_forward_proj;
        if proj != "gated-gelu" {
            return Err(format!("feed_forward_proj {proj:?} is not supported, only gated-gelu"));
        }
        let (buckets, farthest) = (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        at_most(
            MOST_LAYERS,
            &[
                ("num_layers", self.num_layers),
                ("num_heads", self.num_heads),
                ("relative_attention_num_buckets", buckets),
            ],
        )?;
        let widths = [("d_model", self.d_model), ("d_kv", self.d_kv), ("d_ff", self.d_ff)];
        at_most(MOST_WIDTH, &widths)?;
        at_most(MOST_TOKENS, &[("vocab_size", self.vocab_size), (FARTHEST, farthest)])?;
        within("layer_norm_epsilon", self.layer_norm_epsilon, 0.0..=1.0)?;
        // A quarter of the ranges are single distances.
        if buckets < 4 || farthest <= buckets / 4 {
            return Err(format!(
                "relative_attention_num_buckets {buckets} is not from 4 to less than four times {FARTHEST} {farthest}"
            ));
        }
        Ok(())
    }
}

const FARTHEST: &str = "relative_attention_max_distance";

impl Nested for ClipConfig {
    const NAME: Option<&'static str> = Some("text_config");

    fn check(&self) -> Result<(), String> {
        if self.hidden_act != "quick_gelu" {
            return Err(format!("hidden_act {:?} is not supported, only quick_gelu", self.hidden_act));
        }
        let heads = ("num_attention_heads", self.num_attention_heads);
        let width = ("hidden_size", self.hidden_size);
        at_most(MOST_LAYERS, &[("num_hidden_layers", self.num_hidden_layers), heads])?;
        at_most(MOST_WIDTH, &[width, ("intermediate_size", self.intermediate_size)])?;
        let positions = ("max_position_embeddings", self.max_position_embeddings);
        at_most(MOST_TOKENS, &[("vocab_size", self.vocab_size), positions])?;
        if positions.1 < 2 {
            return Err(format!("{} {} is too few: a text has a start and an end", positions.0, positions.1));
        }
        divides(width, heads)
    }
}

impl Nested for SiglipConfig {
    const NAME: Option<&'static str> = Some("vision_config");

    fn check(&self) -> Result<(), String> {
        let heads = ("num_attention_heads", self.num_attention_heads);
        let (width, side) = (("hidden_size", self.hidden_size), ("image_size", self.image_size));
        let patch = ("patch_size", self.patch_size);
        let channels = ("num_channels", self.num_channels);
        at_most(MOST_LAYERS, &[("num_hidden_layers", self.num_hidden_layers), heads, patch, channels])?;
        at_most(MOST_PIXELS, &[side])?;
        at_most(MOST_WIDTH, &[width, ("intermediate_size", self.intermediate_size)])?;
        within("layer_norm_eps", self.layer_norm_eps, 0.0..=1.0)?;
        divides(width, heads)?;
        if self.image_size < self.patch_size {
            return Err(format!("image_size {} is less than patch_size {}", side.1, patch.1));
        }
        let (states, deepest) = (self.num_hidden_layers + 1, Self::HIDDEN_STATES[2]);
        if states < deepest {
            return Err(format!("num_hidden_layers {} is too few for hidden state -{deepest}", states - 1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::small::Published;

    /// What the published configuration is refused for, with this field changed.
    fn refused<C: Published>(field: &str, value: Value) -> String {
        let mut config: Value = serde_json::from_slice(C::JSON).unwrap();
        let part = match C::NAME {
            Some(name) if config.get(name).is_some() => &mut config[name],
            _ => &mut config,
        };
        part[field] = value;
        C::from_json(&serde_json::to_vec(&config).unwrap()).unwrap().check().unwrap_err()
    }

    #[test]
    fn numbers_beyond_any_model_are_refused_by_name_and_limit() {
        const HUGE: u64 = 1 << 62;
        fn each<C: Published>(fields: &[&str]) {
            for field in fields {
                for value in [0, HUGE] {
                    let said = refused::<C>(field, json!(value));
                    assert!(said.starts_with(&format!("{field} {value} is not within 1 to ")), "{said}");
                }
            }
        }
        each::<T5Config>(&["d_kv", "d_model", "d_ff", "num_layers", "num_heads", "vocab_size"]);
        each::<T5Config>(&["relative_attention_num_buckets", "relative_attention_max_distance"]);
        each::<ClipConfig>(&["vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings"]);
        each::<ClipConfig>(&["num_hidden_layers", "num_attention_heads"]);
        each::<SiglipConfig>(&["hidden_size", "image_size", "intermediate_size", "num_attention_heads"]);
        each::<SiglipConfig>(&["num_hidden_layers", "patch_size", "num_channels"]);
        let said = refused::<T5Config>("layer_norm_epsilon", json!(-1.0));
        assert_eq!(said, "layer_norm_epsilon -1.0 is not within 0 to 1");
        let said = refused::<T5Config>("relative_attention_num_buckets", json!(3));
        assert!(said.contains("relative_attention_max_distance 128"), "{said}");
    }

    #[test]
    fn heads_that_do_not_divide_the_width_are_refused_by_both_names() {
        let said = refused::<ClipConfig>("num_attention_heads", json!(5));
        assert_eq!(said, "hidden_size 768 is not a multiple of num_attention_heads 5");
        let said = refused::<SiglipConfig>("num_attention_heads", json!(7));
        assert_eq!(said, "hidden_size 1152 is not a multiple of num_attention_heads 7");
    }
}
