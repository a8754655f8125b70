//! Pictures as bytes: what comes in is bounded before it is decoded, what goes out is PNG.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::Error;

/// A picture, 8 bits a channel, rows from the top, pixels from the left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `3 * width * height` bytes: red, green, blue.
    pub rgb: Vec<u8>,
}

/// How large a picture may be before it is refused undecoded.
#[derive(Debug, Clone)]
pub struct DecodeLimits {
    /// Pixels.
    pub max_pixels: u64,
    /// Longest side in pixels.
    pub max_side: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_pixels: 50_000_000, max_side: 16_384 }
    }
}

impl DecodeLimits {
    fn check(&self, (width, height): (u32, u32)) -> Result<(), Error> {
        let pixels = u64::from(width) * u64::from(height);
        if width.max(height) > self.max_side {
            return Err(Error::Image(format!("{width}x{height} has a side over {} pixels", self.max_side)));
        }
        if pixels > self.max_pixels {
            return Err(Error::Image(format!(
                "{width}x{height} has {pixels} pixels, the limit is {}",
                self.max_pixels
            )));
        }
        Ok(())
    }
}

impl Image {
    /// Decodes PNG, JPEG or WebP.
    ///
    /// Orientation is applied, transparency is laid on white, 16-bit values keep their high byte, an
    /// animation gives its first frame.
    ///
    /// # Errors
    /// [`Error::Image`] for any other format, for damaged data, and for a picture whose header
    /// announces more than `limits` allow.
    pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Self, Error> {
        let refused = |error: image::ImageError| Error::Image(error.to_string());
        let format = image::guess_format(bytes).ok();
        let Some(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) = format else {
            return Err(Error::Image("neither PNG nor JPEG nor WebP".into()));
        };
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        // The header is judged by our limits, which name the numbers; the decoder's own bound what
        // it may allocate beyond the pixels.
        let mut memory = Limits::no_limits();
        memory.max_alloc = Some(limits.max_pixels.saturating_mul(16));
        reader.limits(memory);
        let mut decoder = reader.into_decoder().map_err(refused)?;
        limits.check(decoder.dimensions())?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(refused)?;
        picture.apply_orientation(orientation);
        Ok(flatten(&picture))
    }

    /// Whether all pixels are the same: what weights that went wrong give.
    pub fn is_flat(&self) -> bool {
        let mut pixels = self.rgb.chunks_exact(3);
        let first = pixels.next();
        pixels.all(|pixel| Some(pixel) == first)
    }

    /// Encodes as PNG with `text` as keyword and value pairs of its own.
    ///
    /// # Errors
    /// [`Error::Image`] for an empty picture or a keyword PNG does not allow.
    pub fn to_png(&self, text: &[(String, String)]) -> Result<Vec<u8>, Error> {
        let refused = |error: png::EncodingError| Error::Image(error.to_string());
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        for (keyword, value) in text {
            // International text: prompts are not Latin-1.
            encoder.add_itxt_chunk(keyword.clone(), value.clone()).map_err(refused)?;
        }
        let mut writer = encoder.write_header().map_err(refused)?;
        writer.write_image_data(&self.rgb).map_err(refused)?;
        writer.finish().map_err(refused)?;
        Ok(bytes)
    }

    /// Encodes as JPEG of a quality from 1 to 100.
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
}

fn flatten(picture: &DynamicImage) -> Image {
    let (width, height) = (picture.width(), picture.height());
    let high = |value: &u16| (value >> 8) as u8;
    let rgb = match picture {
        DynamicImage::ImageLuma8(grey) => grey.iter().flat_map(|&v| [v; 3]).collect(),
        DynamicImage::ImageLuma16(grey) => grey.iter().flat_map(|v| [high(v); 3]).collect(),
        DynamicImage::ImageRgb8(colour) => colour.as_raw().clone(),
        DynamicImage::ImageRgb16(colour) => colour.iter().map(high).collect(),
        DynamicImage::ImageLumaA8(grey) => grey.pixels().flat_map(|p| on_white([p[0]; 3], p[1])).collect(),
        DynamicImage::ImageLumaA16(grey) => {
            grey.pixels().flat_map(|p| on_white([high(&p[0]); 3], high(&p[1]))).collect()
        }
        DynamicImage::ImageRgba16(colour) => colour
            .pixels()
            .flat_map(|p| on_white([high(&p[0]), high(&p[1]), high(&p[2])], high(&p[3])))
            .collect(),
        other => other.to_rgba8().pixels().flat_map(|p| on_white([p[0], p[1], p[2]], p[3])).collect(),
    };
    Image { width, height, rgb }
}

/// A pixel of opacity `alpha` over white, rounded to the nearest level.
fn on_white(colour: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    colour.map(|c| ((u32::from(c) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}
