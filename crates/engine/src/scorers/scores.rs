//! Scores, and the profiles that say how they were made.

use serde::Serialize;

use super::picture::PictureHash;

/// How scores are made. Scores of different profiles must not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Its name, for example `dino-vits16@0123456789ab`: the model and the first digits of the digest of its weights.
    pub name: String,
    /// Digest of the weights in hexadecimal: all bytes of small tensors, many places of large ones.
    pub weights: String,
    /// How a picture is prepared.
    pub preprocessing: String,
    /// What of the model's output is compared.
    pub feature: String,
}

/// A number and the name of the profile that it was made by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The number. Cosines are within -1 to 1; 1 is the same direction.
    pub value: f32,
    /// Name of the [`Profile`], or of a measure of pixels.
    pub profile: String,
}

/// Cosines between a picture and each style reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StyleScores {
    /// One for each style reference, in their order.
    pub each: Vec<f32>,
    /// Their mean.
    pub mean: f32,
    /// The smallest.
    pub min: f32,
    /// Name of the [`Profile`].
    pub profile: String,
}

impl StyleScores {
    /// The scores of a picture with at least one style reference.
    pub(super) fn new(each: Vec<f32>, profile: &str) -> Option<Self> {
        let min = each.iter().copied().reduce(f32::min)?;
        let mean = each.iter().sum::<f32>() / each.len() as f32;
        Some(Self { each, mean, min, profile: profile.into() })
    }
}

/// A perceptual hash and the name of the measure that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HashScore {
    /// The hash.
    pub value: PictureHash,
    /// Name of the measure.
    pub profile: String,
}

/// All scores of one picture. Those whose scorer is not loaded, or that have nothing to compare with, are absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// Cosine of CLIP's projected image features: picture and content reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_i: Option<Score>,
    /// Cosine of DINO's features: picture and content reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dino: Option<Score>,
    /// Cosines of CSD's style features: picture and each style reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csd: Option<StyleScores>,
    /// Cosine of CLIP's projected features: picture and prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_t: Option<Score>,
    /// Tokens at the end of the prompt that `clip_t` does not cover, because CLIP reads so few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_t_cut: Option<u32>,
    /// Cosine of subject features of the bundled model's vision encoder: picture and content reference. Not a published
    /// measure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub siglip_subject: Option<Score>,
    /// Cosines of style features of that encoder: picture and each style reference. Not a published measure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub siglip_style: Option<StyleScores>,
    /// [`sharpness`](super::picture::sharpness) of the picture.
    pub sharpness: Score,
    /// [`flatness`](super::picture::flatness) of the picture.
    pub flatness: Score,
    /// Perceptual hash of the picture, to find near-doubles.
    pub phash: HashScore,
    /// Names of the profiles of all loaded scorers.
    pub profiles: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_least_of_the_styles_are_kept_beside_each() {
        let scores = StyleScores::new(vec![0.5, -0.25, 0.5], "x").unwrap();
        assert_eq!((scores.mean, scores.min), (0.25, -0.25));
        assert_eq!(StyleScores::new(Vec::new(), "x"), None);
    }
}
