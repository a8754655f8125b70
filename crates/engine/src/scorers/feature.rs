//! Features as directions: vectors of length 1.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use sha2::{Digest, Sha256};

use super::scores::Profile;
use crate::cache::{Cache, Key};
use crate::{Error, Image};

/// A vector of length 1.
pub(super) type Feature = Arc<[f32]>;

/// Bytes of features of references to keep; one has 4 KiB at most.
const CACHE_BYTES: u64 = 4 << 20;

/// Features of references by the digest of picture and profile.
pub(super) struct Features(Cache<Vec<Feature>>);

impl Features {
    pub(super) fn new() -> Self {
        Self(Cache::new(CACHE_BYTES))
    }

    /// Bytes that it may take.
    pub(super) fn capacity(&self) -> u64 {
        self.0.capacity()
    }

    /// The kept features of a picture, or those that `make` gives.
    pub(super) fn of(
        &mut self,
        profile: &Profile,
        image: &Image,
        make: impl FnOnce(&Image) -> Result<Vec<Feature>, Error>,
    ) -> Result<Vec<Feature>, Error> {
        let key = key(profile, image);
        if let Some(found) = self.0.get(&key) {
            return Ok(found);
        }
        let made = make(image)?;
        let bytes = made.iter().map(|feature| 4 * feature.len() as u64).sum();
        self.0.put(key, made.clone(), bytes);
        Ok(made)
    }

    pub(super) fn counts(&self) -> crate::CacheCounts {
        self.0.counts()
    }
}

fn key(profile: &Profile, image: &Image) -> Key {
    let mut digest = Sha256::new();
    digest.update(profile.weights.as_bytes());
    digest.update((profile.name.len() as u64).to_le_bytes());
    digest.update(profile.name.as_bytes());
    digest.update(image.width.to_le_bytes());
    digest.update(image.height.to_le_bytes());
    digest.update(&image.rgb);
    digest.finalize().into()
}

/// The direction of a feature of shape (1, width).
///
/// # Errors
/// [`Error::Weights`] if it has none: a number is not finite, or all are zero, which faulty weights give.
pub(super) fn direction(feature: &Tensor, profile: &Profile) -> Result<Feature, Error> {
    let values: Vec<f32> = feature.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        let reason = "the feature of a picture or text has no direction: its numbers are zero or not finite";
        return Err(Error::Weights { file: profile.name.clone().into(), reason: reason.into() });
    }
    Ok(values.iter().map(|value| (f64::from(*value) / length) as f32).collect())
}

/// Cosine of the angle between two directions.
pub(super) fn cosine(one: &Feature, other: &Feature) -> f32 {
    let sum: f64 = one.iter().zip(other.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    sum.clamp(-1.0, 1.0) as f32
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn profile() -> Profile {
        Profile {
            name: "x@1".into(),
            weights: "1".into(),
            preprocessing: String::new(),
            feature: String::new(),
        }
    }

    fn feature(values: &[f32]) -> Result<Feature, Error> {
        direction(&Tensor::from_slice(values, (1, values.len()), &Device::Cpu).unwrap(), &profile())
    }

    #[test]
    fn the_cosine_does_not_depend_on_lengths() {
        let (a, b, c) = (feature(&[3.0, 4.0]), feature(&[30.0, 40.0]), feature(&[-4.0, 3.0]));
        let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
        assert!((cosine(&a, &b) - 1.0).abs() < 1e-6);
        assert!(cosine(&a, &c).abs() < 1e-6);
    }

    #[test]
    fn a_feature_without_direction_is_refused() {
        for values in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            let said = feature(&values).unwrap_err().to_string();
            assert!(said.contains("x@1") && said.contains("no direction"), "{said}");
        }
    }

    #[test]
    fn features_are_kept_by_picture_and_profile() {
        let image = |level| Image { width: 1, height: 1, rgb: vec![level; 3] };
        let mut features = Features::new();
        let mut made = 0;
        let mut ask = |profile: &Profile, image: &Image| {
            let make = |_: &Image| {
                made += 1;
                Ok(vec![feature(&[1.0])?])
            };
            features.of(profile, image, make).unwrap();
        };
        let (one, other) = (profile(), Profile { name: "y@1".into(), ..profile() });
        for (profile, level) in [(&one, 1), (&one, 1), (&one, 2), (&other, 1), (&other, 1)] {
            ask(profile, &image(level));
        }
        assert_eq!(made, 3);
    }
}
