//! The sizes of the request that a plan is made for.

use serde::Serialize;

use crate::config::ModelConfig;
use crate::request::{MAX_STYLES, SIDE, STEPS};
use crate::uso::latents::TOKEN_PIXELS;
use crate::{Defaults, Error};

/// Sizes of a request that memory and time depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// Width in pixels, a multiple of 16.
    pub width: u32,
    /// Height in pixels, a multiple of 16.
    pub height: u32,
    /// Width and height of the prepared content reference in pixels; None without one.
    pub content: Option<(u32, u32)>,
    /// Number of style references.
    pub styles: u32,
    /// Sampling steps.
    pub steps: u32,
}

impl Picture {
    /// The largest picture with the model's defaults: a square content reference, and as many styles as USO was trained
    /// with.
    pub fn of(defaults: &Defaults) -> Self {
        const TRAINED_STYLES: u32 = 2;
        let cut = |side: u32| side / TOKEN_PIXELS as u32 * TOKEN_PIXELS as u32;
        let content = cut(defaults.content_size);
        Self {
            width: cut(defaults.width),
            height: cut(defaults.height),
            content: (content > 0).then_some((content, content)),
            styles: TRAINED_STYLES,
            steps: defaults.steps,
        }
    }

    /// The same with all sizes rounded down to what is computed.
    ///
    /// # Errors
    /// [`Error::Request`] for a size outside the limits of requests.
    pub fn checked(self) -> Result<Self, Error> {
        let (least, most) = (SIDE.start(), SIDE.end());
        let side = |parameter, side: u32| {
            if SIDE.contains(&side) {
                return Ok(side / TOKEN_PIXELS as u32 * TOKEN_PIXELS as u32);
            }
            Err(Error::Request { parameter, reason: format!("{side} is not within {least} to {most}") })
        };
        if self.styles as usize > MAX_STYLES {
            let reason = format!("{} is not within 0 to {MAX_STYLES}", self.styles);
            return Err(Error::Request { parameter: "styles", reason });
        }
        if !STEPS.contains(&self.steps) {
            let reason = format!("{} is not within {} to {}", self.steps, STEPS.start(), STEPS.end());
            return Err(Error::Request { parameter: "steps", reason });
        }
        let content = self.content.map(|(width, height)| {
            Ok::<_, Error>((side("content_size", width)?, side("content_size", height)?))
        });
        let (width, height) = (side("width", self.width)?, side("height", self.height)?);
        Ok(Self { width, height, content: content.transpose()?, ..self })
    }

    /// Number of tokens in the transformer.
    pub(crate) fn tokens(&self, config: &ModelConfig) -> Tokens {
        let token = TOKEN_PIXELS as u64;
        let of = |width: u32, height: u32| u64::from(width) / token * (u64::from(height) / token);
        Tokens {
            style: u64::from(self.styles) * 3 * config.projector.style_token_nums as u64,
            text: config.text.t5 as u64,
            target: of(self.width, self.height),
            reference: self.content.map_or(0, |(width, height)| of(width, height)),
        }
    }
}

/// Tokens of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) style: u64,
    pub(crate) text: u64,
    pub(crate) target: u64,
    pub(crate) reference: u64,
}

impl Tokens {
    /// Tokens of the text stream: styles, then text.
    pub(crate) fn text_stream(self) -> u64 {
        self.style + self.text
    }

    /// Tokens of the image stream: target, then reference.
    pub(crate) fn image_stream(self) -> u64 {
        self.target + self.reference
    }

    pub(crate) fn all(self) -> u64 {
        self.text_stream() + self.image_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_flux_are_6016_tokens() {
        let config = ModelConfig::default();
        let picture = Picture::of(&config.defaults).checked().unwrap();
        let tokens = picture.tokens(&config);
        assert_eq!((tokens.text_stream(), tokens.target, tokens.reference), (896, 4096, 1024));
        assert_eq!(tokens.all(), 6016);
    }

    #[test]
    fn sizes_that_no_request_may_have_are_refused_by_name() {
        let picture = Picture::of(&Defaults::default());
        let refused = |picture: Picture| picture.checked().unwrap_err().to_string();
        assert_eq!(refused(Picture { width: 8, ..picture }), "width: 8 is not within 16 to 2048");
        assert_eq!(refused(Picture { height: 4096, ..picture }), "height: 4096 is not within 16 to 2048");
        assert_eq!(refused(Picture { styles: 5, ..picture }), "styles: 5 is not within 0 to 4");
        assert_eq!(refused(Picture { steps: 0, ..picture }), "steps: 0 is not within 1 to 100");
        let content = Some((3000, 512));
        assert_eq!(refused(Picture { content, ..picture }), "content_size: 3000 is not within 16 to 2048");
        assert_eq!(Picture { width: 1000, ..picture }.checked().unwrap().width, 992);
    }
}
