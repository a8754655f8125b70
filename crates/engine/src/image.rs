//! Decoded pictures. Input is bounded before it is decoded; output is PNG, JPEG or WebP.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use uso_picture::{DecodeLimits, Picture};

use crate::Error;

/// A picture with 8 bits per channel, rows from the top, pixels from the left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `3 * width * height` bytes: red, green, blue.
    pub rgb: Vec<u8>,
}

impl Image {
    /// Decodes PNG, JPEG or WebP as [`Picture::rows`] says.
    ///
    /// # Errors
    /// [`Error::Image`] for any other format, for damaged data, and for a picture beyond `limits`.
    pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Self, Error> {
        let picture = Picture::open(bytes, limits)?;
        let (width, height) = picture.size();
        let mut rgb = Vec::with_capacity(3 * width as usize * height as usize);
        picture.rows(&mut |row| rgb.extend_from_slice(row))?;
        Ok(Self { width, height, rgb })
    }

    /// Bytes that [`Image::decode`] takes at most besides the file, by its header alone.
    ///
    /// # Errors
    /// As [`Image::decode`], where the header tells.
    pub fn decoding_bytes(bytes: &[u8], limits: &DecodeLimits) -> Result<u64, Error> {
        let picture = Picture::open(bytes, limits)?;
        let (width, height) = picture.size();
        Ok(picture.memory() + 3 * u64::from(width) * u64::from(height))
    }

    /// Whether all pixels are the same, which is what broken weights give.
    pub fn is_flat(&self) -> bool {
        let mut pixels = self.rgb.chunks_exact(3);
        let first = pixels.next();
        pixels.all(|pixel| Some(pixel) == first)
    }

    /// Encodes as PNG with `text` as pairs of keyword and value.
    ///
    /// # Errors
    /// [`Error::Image`] for an empty picture or a keyword that PNG does not allow.
    pub fn to_png(&self, text: &[(String, String)]) -> Result<Vec<u8>, Error> {
        let refused = |error: png::EncodingError| Error::Image(error.to_string());
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        // Two dozen times as fast as the default, and files as large within a few percent.
        encoder.set_compression(png::Compression::Fast);
        for (keyword, value) in text {
            // International text: prompts are not Latin-1.
            encoder.add_itxt_chunk(keyword.clone(), value.clone()).map_err(refused)?;
        }
        let mut writer = encoder.write_header().map_err(refused)?;
        writer.write_image_data(&self.rgb).map_err(refused)?;
        writer.finish().map_err(refused)?;
        Ok(bytes)
    }

    /// Encodes as baseline JPEG of a quality from 1 to 100, with full colour resolution (4:4:4).
    ///
    /// # Errors
    /// [`Error::Image`] for an empty picture.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
        encoder
            .encode(&self.rgb, self.width, self.height, ExtendedColorType::Rgb8)
            .map_err(|error| Error::Image(error.to_string()))?;
        Ok(bytes)
    }

    /// Encodes as lossy WebP of a quality from 1 to 100.
    ///
    /// # Errors
    /// [`Error::Image`] for an empty picture.
    pub fn to_webp(&self, quality: u8) -> Result<Vec<u8>, Error> {
        self.encode_webp(quality, Effort::Normal)
    }

    /// The same, sooner and in a few percent more bytes.
    ///
    /// # Errors
    /// [`Error::Image`] for an empty picture.
    pub fn to_webp_quickly(&self, quality: u8) -> Result<Vec<u8>, Error> {
        self.encode_webp(quality, Effort::Least)
    }

    fn encode_webp(&self, quality: u8, effort: Effort) -> Result<Vec<u8>, Error> {
        // The encoder panics for fewer bytes.
        if self.rgb.len() as u64 != 3 * u64::from(self.width) * u64::from(self.height) {
            return Err(Error::Image(format!(
                "{} bytes are no {}x{} picture",
                self.rgb.len(),
                self.width,
                self.height
            )));
        }
        let refused = |reason: String| Error::Image(format!("WebP: {reason}"));
        let mut config = webp::WebPConfig::new().map_err(|()| refused("no settings".into()))?;
        config.quality = quality.into();
        config.method = effort as i32;
        let encoder = webp::Encoder::from_rgb(&self.rgb, self.width, self.height);
        let encoded = encoder.encode_advanced(&config);
        encoded.map(|bytes| bytes.to_vec()).map_err(|error| refused(format!("{error:?}")))
    }
}

/// How hard libwebp tries to make a file smaller, as its `method`.
#[derive(Clone, Copy)]
enum Effort {
    Least = 0,
    Normal = 4,
}
