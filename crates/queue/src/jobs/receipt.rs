//! What a picture took.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the time of the attempt that succeeded went, and what it was made on. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Receipt {
    /// From the job's acceptance to the attempt's claim.
    pub wait_ms: u64,
    /// Fetching the references.
    pub fetch_ms: u64,
    /// Turning prompt and references into what the device samples from.
    pub encode_ms: u64,
    /// All that the device did for the job: encoding, steps, previews, copies and decoding.
    pub device_ms: u64,
    /// The steps alone.
    pub sample_ms: u64,
    /// Steps done in this attempt.
    pub steps: u32,
    /// Most pictures of which this attempt did a step together, this one among them; none if it did every step alone.
    /// Steps together can change a value by one level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub together: Option<u32>,
    /// The step of the checkpoint from which it was resumed; 0 if it began anew.
    pub resumed_from: u32,
    /// Turning what was sampled into a picture.
    pub decode_ms: u64,
    /// Storing the picture.
    pub upload_ms: u64,
    /// Bytes of the fetched references.
    pub fetched_bytes: u64,
    /// Bytes of the stored picture.
    pub stored_bytes: u64,
    /// Prompts and references whose features were there from earlier jobs of the same tenant.
    pub cache_hits: u32,
    /// How much of the prompt was used; none if the engine does not read prompts.
    pub prompt_tokens: Option<PromptTokens>,
    /// How often it was set aside for another job.
    pub set_aside: u32,
    /// Attempts begun, this one included.
    pub attempts: u32,
    /// The device it was generated on, for example `cuda:0`.
    pub worker: String,
    /// Name of the model.
    pub model: String,
    /// What the engine is known by: a digest of its weights, precision, kind of device and build. Pictures with different
    /// ones may come of different models. None from workers of a version before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The LoRAs that the job asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<UsedLora>,
    /// The step cache that the job asked for; none if it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_cache: Option<f64>,
    /// Steps of this attempt that were skipped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_steps: Option<u32>,
    /// Pictures that were sampled for the job, in earlier attempts too; none if nobody scored them. `device_ms` has the
    /// time of all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// Whether the engine was a scripted one, which generates nothing real.
    pub scripted: bool,
}

/// A LoRA that a picture was generated with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsedLora {
    /// What the job called it.
    pub name: String,
    /// What its changes were multiplied by.
    pub weight: f64,
    /// What its numbers are known by.
    pub digest: String,
}

/// How many tokens a prompt had for each of the model's two text encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PromptTokens {
    /// For T5, which takes hundreds of tokens; what is cut here is lost.
    pub t5: TokenCount,
    /// For CLIP, which gives one vector for the whole prompt and takes so few tokens that it cuts every long one.
    pub clip: TokenCount,
}

/// How many tokens a text had, and how many of them were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TokenCount {
    /// All tokens of the text with the special ones around it, before it was cut.
    pub tokens: u32,
    /// Tokens at the end of the text that the encoder was not given.
    pub cut: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_from_before_tokens_were_counted_can_be_read() {
        let receipt: Receipt = serde_json::from_str(r#"{"steps": 25, "worker": "cuda:0"}"#).unwrap();
        assert_eq!(receipt, Receipt { steps: 25, worker: "cuda:0".into(), ..Receipt::default() });
        assert_eq!(receipt.prompt_tokens, None);
    }

    #[test]
    fn what_was_cut_is_written_and_read() {
        let prompt_tokens = Some(PromptTokens {
            t5: TokenCount { tokens: 600, cut: 88 },
            clip: TokenCount { tokens: 610, cut: 533 },
        });
        let written = serde_json::to_value(Receipt { prompt_tokens, ..Receipt::default() }).unwrap();
        assert_eq!(written["prompt_tokens"]["t5"], serde_json::json!({ "tokens": 600, "cut": 88 }));
        assert_eq!(serde_json::from_value::<Receipt>(written).unwrap().prompt_tokens, prompt_tokens);
    }
}
