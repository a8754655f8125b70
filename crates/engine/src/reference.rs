//! A reference image and the digest it is known by.

use std::ops::Deref;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::Image;

/// A reference image of a [`Request`](crate::Request), made from an [`Image`] by `into()`.
///
/// Engines keep what they encoded by the digest of the pixels. Of a large reference that takes a good
/// part of a second, for which a device should not wait: the digest is computed by whoever asks first
/// and then stays, since the pixels cannot be changed any more. A caller that has threads to spare has
/// [`Request::digest`](crate::Request::digest) called on one of them before the request goes to the
/// engine; without that, the engine does it itself.
#[derive(Debug, Clone)]
pub struct Reference {
    image: Image,
    digest: OnceLock<[u8; 32]>,
}

impl Reference {
    /// SHA-256 of size and pixels.
    pub fn digest(&self) -> &[u8; 32] {
        self.digest.get_or_init(|| {
            let Image { width, height, rgb } = &self.image;
            let mut digest = Sha256::new();
            digest.update(width.to_le_bytes());
            digest.update(height.to_le_bytes());
            digest.update(rgb);
            digest.finalize().into()
        })
    }
}

impl From<Image> for Reference {
    fn from(image: Image) -> Self {
        Self { image, digest: OnceLock::new() }
    }
}

impl Deref for Reference {
    type Target = Image;

    fn deref(&self) -> &Image {
        &self.image
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
