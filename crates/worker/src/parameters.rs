//! What a picture was made from, as it is written into the picture and beside it.

use serde::Serialize;
use uso_engine::{FileFormat, Image, PictureText, Request};
use uso_queue::{DEFAULT_QUALITY, Format, PromptTokens, UsedLora};

use crate::{loras, tokens};

/// Everything that is needed to make the same picture again, and how much of its prompt was used.
#[derive(Debug, Clone, Serialize)]
pub struct Parameters {
    /// Program and version.
    pub software: &'static str,
    /// Name of the model folder.
    pub model: String,
    /// What was asked for.
    pub prompt: String,
    /// Name of the content reference.
    pub content: Option<String>,
    /// Names of the style references.
    pub styles: Vec<String>,
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// Whether the size was taken from the content reference.
    pub keep_size: bool,
    /// Longest side of the content reference in pixels.
    pub content_size: u32,
    /// Sampling steps.
    pub steps: u32,
    /// Guidance strength.
    pub guidance: f64,
    /// Seed of the start noise.
    pub seed: u64,
    /// How the content reference's positions were moved: `d`, `h`, `w` or `o`.
    pub position_shift: String,
    /// LoRAs of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<UsedLora>,
    /// The step cache; none if it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_cache: Option<f64>,
    /// How much of the prompt was used; none if the engine does not read prompts.
    pub prompt_tokens: Option<PromptTokens>,
}

impl Parameters {
    /// Parameters of `image`, which `model` made from `request`; the references by their names.
    pub fn new(
        model: &str,
        request: &Request,
        image: &Image,
        content: Option<String>,
        styles: Vec<String>,
        prompt_tokens: Option<uso_engine::PromptTokens>,
    ) -> Self {
        Self {
            software: concat!("uso-fleet ", env!("CARGO_PKG_VERSION")),
            model: model.to_owned(),
            prompt: request.prompt.clone(),
            content,
            styles,
            width: image.width,
            height: image.height,
            keep_size: request.keep_size,
            content_size: request.content_size,
            steps: request.steps,
            guidance: request.guidance,
            seed: request.seed,
            position_shift: request.position_shift.to_string(),
            loras: loras::used(request),
            step_cache: step_cache(request),
            prompt_tokens: prompt_tokens.map(tokens::recorded),
        }
    }

    /// The text for the picture's file: all of this as JSON, and the short form that image viewers of the field show.
    pub fn text(&self) -> PictureText {
        let parameters = format!(
            "{}\nSteps: {}, Sampler: Euler, Guidance: {}, Seed: {}, Size: {}x{}, Model: {}, Version: {}",
            self.prompt,
            self.steps,
            self.guidance,
            self.seed,
            self.width,
            self.height,
            self.model,
            self.software
        );
        PictureText { parameters, json: serde_json::to_string(self).unwrap_or_default() }
    }
}

/// The file format that a job asks for, with its quality if it has one.
pub fn file_format(format: Format, quality: Option<u8>) -> FileFormat {
    let quality = quality.unwrap_or(DEFAULT_QUALITY);
    match format {
        Format::Png => FileFormat::Png,
        Format::Jpeg => FileFormat::Jpeg { quality },
        Format::WebP => FileFormat::WebP { quality },
    }
}

/// The step cache that a request asks for, if it does.
pub(crate) fn step_cache(request: &Request) -> Option<f64> {
    (request.step_cache > 0.0).then_some(request.step_cache)
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    #[test]
    fn the_queue_takes_what_the_engine_can_generate() {
        let whole = |range: RangeInclusive<u32>| i64::from(*range.start())..=i64::from(*range.end());
        assert_eq!(uso_queue::SIDE, whole(uso_engine::SIDE));
        assert_eq!(uso_queue::STEPS, whole(uso_engine::STEPS));
        assert_eq!(uso_queue::GUIDANCE, uso_engine::GUIDANCE);
        assert_eq!(uso_queue::STEP_CACHE, uso_engine::STEP_CACHE);
        assert_eq!(uso_queue::LORA_WEIGHT, uso_engine::LORA_WEIGHT);
        assert_eq!(uso_queue::MAX_STYLES, uso_engine::MAX_STYLES);
        assert_eq!(uso_queue::MAX_LORAS, uso_engine::MAX_LORAS);
    }
}
