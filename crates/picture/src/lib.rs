#![doc = include_str!("../README.md")]

mod bytes;
mod error;
mod exif;
mod flatten;
mod header;
mod jpeg;
mod kind;
mod png;
mod turn;
mod webp;

pub use error::Error;
use header::Header;
pub use kind::{PictureKind, other_kind};

/// Limits on the size of a picture. A larger one is refused without decoding it.
#[derive(Debug, Clone)]
pub struct DecodeLimits {
    /// Most pixels.
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
        if pixels == 0 {
            return Err(Error::Damaged("it has no pixels".into()));
        }
        if width.max(height) > self.max_side {
            return Err(Error::TooLarge(format!(
                "{width}x{height} has a side over {} pixels",
                self.max_side
            )));
        }
        if pixels > self.max_pixels {
            let limit = self.max_pixels;
            return Err(Error::TooLarge(format!(
                "{width}x{height} has {pixels} pixels, the limit is {limit}"
            )));
        }
        Ok(())
    }
}

/// A picture whose header was read and is within its limits.
pub struct Picture<'a> {
    bytes: &'a [u8],
    kind: PictureKind,
    header: Header,
}

impl<'a> Picture<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error`] for any other format, a damaged header, and a picture beyond `limits`.
    pub fn open(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Self, Error> {
        let kind = PictureKind::of_bytes(bytes).ok_or(Error::OtherKind)?;
        let header = match kind {
            PictureKind::Png => png::header(bytes),
            PictureKind::Jpeg => jpeg::header(bytes),
            PictureKind::WebP => webp::header(bytes),
        }?;
        limits.check(header.size)?;
        Ok(Self { bytes, kind, header })
    }

    /// Width and height in pixels, upright.
    pub fn size(&self) -> (u32, u32) {
        self.header.turn.upright(self.header.size)
    }

    /// Most bytes that [`Picture::rows`] holds besides the file. Known from the header, and at most 11 per pixel plus a
    /// few rows.
    pub fn memory(&self) -> u64 {
        let (width, height) = self.header.size;
        let turned = if self.header.turn.needs_all() { 3 * u64::from(width) * u64::from(height) } else { 0 };
        const ROWS: u64 = 64;
        self.header.memory + turned + ROWS * 4 * u64::from(width.max(height))
    }

    /// Decodes the picture. Calls `sink` with each row from the top, three bytes per pixel: red, green, blue.
    ///
    /// Orientation is applied, transparency is composited on white, 16-bit values keep their high byte, and an
    /// animation gives its first frame.
    ///
    /// # Errors
    /// [`Error`] for damaged data and unsupported features. Rows that `sink` got before are not valid then.
    pub fn rows(&self, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        let mut decode = |sink: &mut dyn FnMut(&[u8])| match self.kind {
            PictureKind::Png => png::rows(self.bytes, sink),
            PictureKind::Jpeg => jpeg::rows(self.bytes, sink),
            PictureKind::WebP => webp::rows(self.bytes, sink),
        };
        self.header.turn.rows(self.header.size, &mut decode, sink)
    }
}
