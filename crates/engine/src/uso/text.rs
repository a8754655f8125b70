//! The two text encoders: T5 states for the transformer's text stream, CLIP's pooled vector.
//!
//! Neither is given an attention mask: padding takes part, as in the reference.

use candle_core::{DType, Device, IndexOp, Result, Tensor};
use candle_transformers::models::{clip::text_model, t5};
use serde::Deserialize;

use crate::weights::Weights;
use crate::{Error, ModelFiles};

/// Opens the weights of a Hugging Face folder: safetensors or pickle, whole or in shards.
///
/// # Errors
/// [`Error::ModelFile`] if the folder has neither.
pub fn open(files: &ModelFiles, folder: &str) -> std::result::Result<Weights, Error> {
    let paths = ["model.safetensors", "pytorch_model.bin"].map(|name| format!("{folder}/{name}"));
    Weights::open_first(files, &[&paths[0], &paths[1]])
}

/// The T5 encoder.
pub struct T5 {
    model: t5::T5EncoderModel,
    vocabulary: usize,
    device: Device,
}

impl T5 {
    /// Loads the encoder from `folder` of the model.
    ///
    /// # Errors
    /// [`Error::ModelFile`] or [`Error::Weights`] naming what is missing or misshapen.
    pub fn load(
        files: &ModelFiles,
        folder: &str,
        dtype: DType,
        device: &Device,
    ) -> std::result::Result<Self, Error> {
        let config: t5::Config = files.read_json(&format!("{folder}/config.json"))?;
        let weights = open(files, folder)?;
        let model = t5::T5EncoderModel::load(weights.builder(dtype, device), &config)
            .map_err(|error| weights.fault(&error))?;
        super::load::report_unused(&weights);
        Ok(Self { model, vocabulary: config.vocab_size, device: device.clone() })
    }

    /// How many ids it has embeddings for, from 0 on.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// States of padded token ids: (1, tokens, width).
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the device fails.
    pub fn encode(&mut self, ids: &[u32]) -> Result<Tensor> {
        self.model.forward(&Tensor::from_slice(ids, (1, ids.len()), &self.device)?)
    }
}

/// The text half of CLIP.
pub struct Clip {
    model: text_model::ClipTextTransformer,
    vocabulary: usize,
    end_id: Option<u32>,
    device: Device,
}

#[derive(Deserialize)]
struct ClipConfig {
    text_config: Option<ClipTextConfig>,
    #[serde(flatten)]
    flat: Option<ClipTextConfig>,
}

#[derive(Deserialize)]
struct ClipTextConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default = "quick_gelu")]
    hidden_act: String,
    #[serde(default = "published_end")]
    eos_token_id: u32,
}

fn quick_gelu() -> String {
    "quick_gelu".into()
}

/// The published configuration's end id. It is not the vocabulary's: models with it take the pooled
/// vector at the largest id instead.
fn published_end() -> u32 {
    2
}

impl Clip {
    /// Loads the text encoder from `folder` of the model; its `config.json` may be nested or flat.
    ///
    /// # Errors
    /// [`Error::ModelFile`] or [`Error::Weights`] naming what is missing or misshapen.
    pub fn load(
        files: &ModelFiles,
        folder: &str,
        dtype: DType,
        device: &Device,
    ) -> std::result::Result<Self, Error> {
        let file = format!("{folder}/config.json");
        let ClipConfig { text_config, flat } = files.read_json(&file)?;
        let config = text_config
            .or(flat)
            .ok_or_else(|| crate::files::missing(&file, "has no CLIP text configuration"))?;
        if config.hidden_act != "quick_gelu" {
            let reason = format!("hidden_act {:?} is not supported, only quick_gelu", config.hidden_act);
            return Err(crate::files::missing(file, reason));
        }
        let weights = open(files, folder)?;
        let model = text_model::ClipTextTransformer::new(
            weights.builder(dtype, device).pp("text_model"),
            &config.sizes(),
        )
        .map_err(|error| weights.fault(&error))?;
        super::load::report_unused(&weights);
        let end_id = (config.eos_token_id != published_end()).then_some(config.eos_token_id);
        Ok(Self { model, vocabulary: config.vocab_size, end_id, device: device.clone() })
    }

    /// How many ids it has embeddings for, from 0 on.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The pooled vector of padded token ids: (1, width), after the final norm, not projected.
    ///
    /// # Errors
    /// If there are more ids than positions, an id is outside the vocabulary, or the device fails.
    pub fn encode(&self, ids: &[u32]) -> Result<Tensor> {
        let tokens = Tensor::from_slice(ids, (1, ids.len()), &self.device)?;
        let states = self.model.forward_with_mask(&tokens, usize::MAX)?;
        states.i((.., self.pooled_at(ids)))
    }

    fn pooled_at(&self, ids: &[u32]) -> usize {
        let end = self.end_id.or_else(|| ids.iter().copied().max());
        ids.iter().position(|id| Some(*id) == end).unwrap_or(0)
    }
}

impl ClipTextConfig {
    fn sizes(&self) -> text_model::ClipTextConfig {
        text_model::ClipTextConfig {
            vocab_size: self.vocab_size,
            embed_dim: self.hidden_size,
            activation: text_model::Activation::QuickGelu,
            intermediate_size: self.intermediate_size,
            max_position_embeddings: self.max_position_embeddings,
            pad_with: None,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            projection_dim: self.hidden_size,
        }
    }
}
