//! Prepares reference images for the model.

use serde::Deserialize;

use crate::resample::{Filter, resize};
use crate::{Error, Image, ModelFiles};

/// Sides of a content reference are multiples of this many pixels.
const CELL: u32 = 16;

/// Prepares a content reference (`preprocess_ref` of the reference): Lanczos scales the longest side to `content_size`,
/// then a centre crop makes both sides multiples of 16.
///
/// # Errors
/// [`Error::Request`] if the image is so narrow that nothing would be left.
pub fn reference(image: &Image, content_size: u32) -> Result<Image, Error> {
    let (width, height) = resized(image.width, image.height, content_size)?;
    Ok(crop_to_cells(resize(image, width, height, Filter::Lanczos)))
}

/// Width and height in pixels of a content reference before the centre crop of [`reference`].
pub(crate) fn resized(width: u32, height: u32, content_size: u32) -> Result<(u32, u32), Error> {
    if (width, height) == (CELL, CELL) {
        return Ok((width, height));
    }
    let to = scaled(width, height, content_size);
    if to.0 < CELL || to.1 < CELL {
        let reason = format!(
            "{content_size} leaves {}x{} of a {width}x{height} content reference, each side must keep {CELL} pixels",
            to.0, to.1
        );
        return Err(Error::Request { parameter: "content_size", reason });
    }
    Ok(to)
}

/// Width and height of a content reference of `width` x `height` pixels after [`reference`]; none if it would be
/// refused.
pub(crate) fn reference_size(width: u32, height: u32, content_size: u32) -> Option<(u32, u32)> {
    let (width, height) = resized(width, height, content_size).ok()?;
    Some((width / CELL * CELL, height / CELL * CELL))
}

/// Scales the longest side to `content_size`.
fn scaled(width: u32, height: u32, content_size: u32) -> (u32, u32) {
    let scale = f64::from(content_size) / f64::from(width.max(height));
    let scaled = |side: u32, other: u32| {
        if side >= other { content_size } else { (scale * f64::from(side)) as u32 }
    };
    (scaled(width, height), scaled(height, width))
}

/// Pixels for SigLIP: resized to a square of `side` by bicubic interpolation without keeping proportions, normalised,
/// in channel, row, column order.
pub fn siglip(image: &Image, side: u32, normalisation: &Normalisation) -> Vec<f32> {
    normalised(&resize(image, side, side, Filter::Bicubic), normalisation)
}

/// The same for a square that already has SigLIP's side.
pub(crate) fn normalised(square: &Image, normalisation: &Normalisation) -> Vec<f32> {
    let channel = |c: usize| {
        let values = normalisation.values(c);
        square.rgb.iter().skip(c).step_by(3).map(move |&byte| values[usize::from(byte)])
    };
    (0..3).flat_map(channel).collect()
}

/// Size of a picture that keeps the proportions of its content reference. `width` and `height` are those of the
/// prepared reference, and `content_size` pixels of it become `base`. Not yet rounded down to multiples of 16.
pub fn keep_size(width: u32, height: u32, content_size: u32, base: u32) -> (u32, u32) {
    let factor = f64::from(base) / f64::from(content_size);
    let scaled = |side: u32| (f64::from(side) * factor) as u32;
    (scaled(width), scaled(height))
}

/// Normalisation of bytes by the SigLIP processor.
#[derive(Debug, Clone, Deserialize)]
pub struct Normalisation {
    rescale_factor: f64,
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

impl Normalisation {
    /// Reads a `preprocessor_config.json`.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if it is missing or does not parse.
    pub fn read(files: &ModelFiles, file: &str) -> Result<Self, Error> {
        files.read_json(file)
    }

    /// The normalisation of the published SigLIP.
    pub fn published() -> Self {
        Self { image_mean: [0.5; 3], image_std: [0.5; 3], rescale_factor: 1.0 / 255.0 }
    }

    /// Bytes divided by 255, less `mean`, divided by `std`, for each of red, green and blue.
    pub(crate) fn of(mean: [f32; 3], std: [f32; 3]) -> Self {
        Self { image_mean: mean, image_std: std, rescale_factor: 1.0 / 255.0 }
    }

    /// The value for each byte of a channel. Rounded to single precision after the rescaling, as in the processor.
    pub fn values(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = (self.image_mean[channel], self.image_std[channel]);
        std::array::from_fn(|byte| ((byte as f64 * self.rescale_factor) as f32 - mean) / std)
    }
}

/// The centre crop whose sides are multiples of [`CELL`].
pub(crate) fn crop_to_cells(image: Image) -> Image {
    let cut = |side: u32| side / CELL * CELL;
    let (width, height) = (cut(image.width), cut(image.height));
    if (width, height) == (image.width, image.height) {
        return image;
    }
    let (left, top) = ((image.width - width) / 2, (image.height - height) / 2);
    let stride = image.width as usize * 3;
    let rows = image.rgb.chunks_exact(stride).skip(top as usize).take(height as usize);
    let rgb = rows.flat_map(|row| &row[left as usize * 3..(left + width) as usize * 3]).copied().collect();
    Image { width, height, rgb }
}
