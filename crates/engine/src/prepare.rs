//! Turns the bytes of a reference into the pixels that are needed, and keeps nothing else.

use sha2::{Digest, Sha256};
use uso_picture::{DecodeLimits, Picture};

use crate::purpose::Purpose;
use crate::resample::{Filter, Resizing};
use crate::{Error, Reference, preprocess};

/// A reference whose header has been read.
pub struct Preparation<'a> {
    picture: Picture<'a>,
    purpose: Purpose,
    /// Width and height in pixels to resize to.
    to: (u32, u32),
}

impl<'a> Preparation<'a> {
    /// Reads only the header.
    ///
    /// # Errors
    /// [`Error::Image`] if the bytes are not a picture, or one beyond `limits`; [`Error::Request`] if it is so narrow
    /// that nothing would be left of it.
    pub fn new(bytes: &'a [u8], purpose: Purpose, limits: &DecodeLimits) -> Result<Self, Error> {
        let picture = Picture::open(bytes, limits)?;
        let (width, height) = picture.size();
        let to = match purpose {
            Purpose::Content { content_size } => preprocess::resized(width, height, content_size)?,
            Purpose::Style { side } => (side, side),
        };
        Ok(Self { picture, purpose, to })
    }

    /// Most bytes that [`Preparation::run`] takes besides the file. A caller that prepares several references at a time
    /// must make sure that there is enough memory.
    pub fn bytes(&self) -> u64 {
        let result = 3 * u64::from(self.to.0) * u64::from(self.to.1);
        self.picture.memory() + Resizing::bytes(self.picture.size(), self.to) + 2 * result
    }

    /// Decodes the reference; keeps the pixels that are needed, and the digest of all pixels.
    ///
    /// # Errors
    /// [`Error::Image`] for damaged data.
    pub fn run(self) -> Result<Reference, Error> {
        let (width, height) = self.picture.size();
        let filter = match self.purpose {
            Purpose::Content { .. } => Filter::Lanczos,
            Purpose::Style { .. } => Filter::Bicubic,
        };
        let mut resizing = None;
        let mut digest = Sha256::new();
        digest.update(width.to_le_bytes());
        digest.update(height.to_le_bytes());
        self.picture.rows(&mut |row| {
            digest.update(row);
            resizing.get_or_insert_with(|| Resizing::new((width, height), self.to, filter)).push(row);
        })?;
        let resized = resizing.map(Resizing::finish).ok_or_else(|| Error::Image("it has no rows".into()))?;
        let image = match self.purpose {
            Purpose::Content { .. } => preprocess::crop_to_cells(resized),
            Purpose::Style { .. } => resized,
        };
        Ok(Reference::prepared((width, height), digest.finalize().into(), self.purpose, image))
    }
}
