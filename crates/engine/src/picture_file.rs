//! Pictures as files: the formats that there are, and what a picture was made from, inside them.

use img_parts::jpeg::{Jpeg, JpegSegment, markers};
use img_parts::riff::{RiffChunk, RiffContent};
use img_parts::webp::{CHUNK_EXIF, CHUNK_XMP, WebP};
use img_parts::{Bytes, ImageEXIF, ImageICC};

use crate::metadata::{exif, xmp};
use crate::resample::{Filter, resize};
use crate::{Error, Image};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// PNG, lossless.
    Png,
    /// Baseline JPEG with full colour resolution (4:4:4).
    Jpeg {
        /// From 1 to 100, as libjpeg has it.
        quality: u8,
    },
    /// Lossy WebP (VP8, whose colour resolution is 4:2:0).
    WebP {
        /// From 1 to 100, as libwebp has it.
        quality: u8,
    },
}

/// What a picture was made from, as it is written into its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureText {
    /// The text that image viewers of the field show.
    pub parameters: String,
    /// The same and more as a JSON object.
    pub json: String,
}

/// Most bytes of a JPEG segment besides its length.
const JPEG_SEGMENT: usize = 65_533;
/// What EXIF in a JPEG begins with, as `img-parts` writes it.
const JPEG_EXIF: usize = 6;
/// What XMP in a JPEG begins with (XMP specification, part 3, section 1.1.3).
const JPEG_XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

impl Image {
    /// Encodes as a file with its text. A PNG has `parameters` and `uso` (the JSON) as international text; JPEG and
    /// WebP have the former as EXIF's `UserComment`, where programs of the field look for it, and the JSON as XMP's
    /// `uso:parameters`.
    ///
    /// A JPEG has room for 64 KiB of either; what is longer is left out.
    ///
    /// # Errors
    /// [`Error::Image`] for an empty picture.
    pub fn to_file(&self, format: FileFormat, text: &PictureText) -> Result<Vec<u8>, Error> {
        match format {
            FileFormat::Png => self.to_png(&[
                ("parameters".to_owned(), text.parameters.clone()),
                ("uso".to_owned(), text.json.clone()),
            ]),
            FileFormat::Jpeg { quality } => add_to_jpeg(self.to_jpeg(quality)?, text),
            FileFormat::WebP { quality } => add_to_webp(self.to_webp(quality)?, text),
        }
    }

    /// The picture made smaller, so that its longest side has `side` pixels; none if it has no more now. Neither side
    /// becomes 0.
    pub fn thumbnail(&self, side: u32) -> Option<Self> {
        let longest = self.width.max(self.height);
        let scale = |length: u32| {
            let scaled =
                (u64::from(length) * u64::from(side) + u64::from(longest) / 2) / u64::from(longest.max(1));
            (scaled as u32).max(1)
        };
        (longest > side).then(|| resize(self, scale(self.width), scale(self.height), Filter::Bicubic))
    }
}

fn add_to_jpeg(file: Vec<u8>, text: &PictureText) -> Result<Vec<u8>, Error> {
    let mut jpeg = Jpeg::from_bytes(file.into()).map_err(refused)?;
    // Both go behind the JFIF segment, the second before the first: readers expect EXIF there.
    let xmp = [JPEG_XMP, xmp(&text.json).as_bytes()].concat();
    if fits("XMP", xmp.len()) {
        let after_jfif = jpeg.segments().iter().position(|segment| segment.marker() != markers::APP0);
        let segment = JpegSegment::new_with_contents(markers::APP1, xmp.into());
        jpeg.segments_mut().insert(after_jfif.unwrap_or(0), segment);
    }
    let exif = exif(&text.parameters);
    if fits("EXIF", JPEG_EXIF + exif.len()) {
        jpeg.set_exif(Some(exif.into()));
    }
    Ok(jpeg.encoder().bytes().into())
}

/// Whether a JPEG segment can hold so many bytes. A picture without its text is better than none.
fn fits(what: &str, bytes: usize) -> bool {
    if bytes > JPEG_SEGMENT {
        tracing::warn!(bytes, limit = JPEG_SEGMENT, "the parameters are too long for the {what} of a JPEG");
    }
    bytes <= JPEG_SEGMENT
}

fn add_to_webp(file: Vec<u8>, text: &PictureText) -> Result<Vec<u8>, Error> {
    let mut webp = WebP::from_bytes(file.into()).map_err(refused)?;
    let chunk = |id, bytes: Vec<u8>| RiffChunk::new(id, RiffContent::Data(Bytes::from(bytes)));
    webp.chunks_mut().push(chunk(CHUNK_EXIF, exif(&text.parameters)));
    webp.chunks_mut().push(chunk(CHUNK_XMP, xmp(&text.json).into_bytes()));
    // There is no profile; this makes the header that says what is in the file.
    webp.set_icc_profile(None);
    Ok(webp.encoder().bytes().into())
}

fn refused(error: img_parts::Error) -> Error {
    Error::Image(error.to_string())
}
