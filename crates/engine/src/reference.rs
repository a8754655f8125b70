//! Reference images with their digests.

use std::borrow::Cow;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::purpose::Purpose;
use crate::resample::{Filter, resize};
use crate::{Error, Image, preprocess};

/// A reference image of a [`Request`](crate::Request): prepared by [`Preparation`](crate::Preparation), or made from a
/// whole [`Image`] by `into()` and prepared when an engine needs it.
///
/// Engines cache what they encode by the digest of the whole picture's pixels, even if only some of them are kept. For
/// a large picture the digest takes a good part of a second, for which a device should not wait. So preparation
/// computes it, and for an image the first caller does; it is kept from then on.
#[derive(Debug, Clone)]
pub struct Reference {
    width: u32,
    height: u32,
    digest: OnceLock<[u8; 32]>,
    image: Image,
    /// What the image was prepared for; none if it is a whole picture.
    purpose: Option<Purpose>,
}

impl Reference {
    pub(crate) fn prepared(size: (u32, u32), digest: [u8; 32], purpose: Purpose, image: Image) -> Self {
        Self { width: size.0, height: size.1, digest: digest.into(), image, purpose: Some(purpose) }
    }

    /// Width of the whole picture in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the whole picture in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes of the pixels that are kept.
    pub fn bytes(&self) -> u64 {
        self.image.rgb.len() as u64
    }

    /// SHA-256 of the size and pixels of the whole picture.
    pub fn digest(&self) -> &[u8; 32] {
        self.digest.get_or_init(|| {
            let mut digest = Sha256::new();
            digest.update(self.width.to_le_bytes());
            digest.update(self.height.to_le_bytes());
            digest.update(&self.image.rgb);
            digest.finalize().into()
        })
    }

    /// Its pixels as the content reference of a request with this `content_size`.
    pub(crate) fn content(&self, content_size: u32) -> Result<Cow<'_, Image>, Error> {
        match self.purpose {
            None => preprocess::reference(&self.image, content_size).map(Cow::Owned),
            Some(purpose) => self.as_prepared(purpose, Purpose::Content { content_size }),
        }
    }

    /// Its pixels as a style reference, a square of this side.
    pub(crate) fn style(&self, side: u32) -> Result<Cow<'_, Image>, Error> {
        match self.purpose {
            None => Ok(Cow::Owned(resize(&self.image, side, side, Filter::Bicubic))),
            Some(purpose) => self.as_prepared(purpose, Purpose::Style { side }),
        }
    }

    fn as_prepared(&self, purpose: Purpose, wanted: Purpose) -> Result<Cow<'_, Image>, Error> {
        if purpose == wanted {
            return Ok(Cow::Borrowed(&self.image));
        }
        Err(Error::Image(format!("it was prepared as {purpose:?} and is used as {wanted:?}")))
    }
}

impl From<Image> for Reference {
    fn from(image: Image) -> Self {
        Self { width: image.width, height: image.height, digest: OnceLock::new(), image, purpose: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(width: u32, rgb: &[u8]) -> [u8; 32] {
        *Reference::from(Image { width, height: rgb.len() as u32 / 3 / width, rgb: rgb.to_vec() }).digest()
    }

    #[test]
    fn the_digest_is_that_of_size_and_pixels() {
        let same = digest(2, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(same, digest(2, &[1, 2, 3, 4, 5, 6]));
        assert_ne!(same, digest(1, &[1, 2, 3, 4, 5, 6]), "two pixels beside or below each other");
        assert_ne!(same, digest(2, &[1, 2, 3, 4, 5, 7]));
    }
}
