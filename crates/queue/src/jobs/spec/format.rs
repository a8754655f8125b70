//! File formats of pictures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The quality of a JPEG or WebP whose request names none.
pub const DEFAULT_QUALITY: u8 = 90;

/// File format of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// PNG, lossless.
    Png,
    /// JPEG of some quality.
    Jpeg,
    /// Lossy WebP of some quality.
    #[serde(rename = "webp")]
    WebP,
}

impl Format {
    /// All formats, the default first.
    pub const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::WebP];

    /// The word used in requests and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::WebP => "webp",
        }
    }

    /// The ending of a file's name, without the dot.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }

    /// The format that the ending of a file's name means, in any case; `jpeg` is another ending of JPEG.
    pub fn of_ending(ending: &str) -> Option<Self> {
        let ending = ending.to_ascii_lowercase();
        Self::ALL.into_iter().find(|format| ending == format.ending() || ending == format.as_str())
    }

    /// Media type of a file.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }

    /// Whether a file has a quality: the lossy formats do.
    pub fn has_quality(self) -> bool {
        !matches!(self, Self::Png)
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn a_format_is_known_by_its_word_and_by_its_endings() {
        for format in Format::ALL {
            assert_eq!(serde_json::to_value(format).unwrap(), format.as_str());
            assert_eq!(Format::of_ending(format.ending()), Some(format));
            assert_eq!(format.media_type(), format!("image/{}", format.as_str()));
        }
        assert_eq!(Format::of_ending("JPEG"), Some(Format::Jpeg));
        assert_eq!((Format::of_ending("gif"), Format::of_ending("")), (None, None));
    }
}
