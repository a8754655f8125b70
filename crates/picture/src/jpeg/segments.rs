//! Splits a JPEG file into segments: markers and their content.

use crate::Error;

pub(crate) const SOI: u8 = 0xd8;
pub(crate) const EOI: u8 = 0xd9;
pub(crate) const SOS: u8 = 0xda;
pub(crate) const DQT: u8 = 0xdb;
pub(crate) const DHT: u8 = 0xc4;
pub(crate) const DRI: u8 = 0xdd;
pub(crate) const APP0: u8 = 0xe0;
pub(crate) const APP1: u8 = 0xe1;
pub(crate) const APP14: u8 = 0xee;
pub(crate) const RST0: u8 = 0xd0;

/// A marker and its content.
pub(crate) struct Segment<'a> {
    pub(crate) marker: u8,
    pub(crate) content: &'a [u8],
    /// Offset of the next segment or of coded data.
    pub(crate) end: usize,
}

impl Segment<'_> {
    /// Whether it begins a frame; some of these numbers are tables.
    pub(crate) fn is_frame(&self) -> bool {
        matches!(self.marker, 0xc0..=0xcf) && !matches!(self.marker, DHT | 0xc8 | 0xcc)
    }
}

/// The next marker from an offset on, and the offset after it. Other bytes before it are skipped, as in other decoders.
pub(crate) fn marker(bytes: &[u8], at: usize) -> Result<(u8, usize), Error> {
    let mut after_ff = false;
    for (i, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            0xff => after_ff = true,
            0 => after_ff = false,
            marker if after_ff => return Ok((*marker, i + 1)),
            _ => {}
        }
    }
    Err(Error::EndsEarly)
}

/// The next segment from an offset on.
pub(crate) fn next(bytes: &[u8], at: usize) -> Result<Segment<'_>, Error> {
    let (marker, begin) = marker(bytes, at)?;
    // Markers without a length.
    if matches!(marker, 0x01 | RST0..=EOI) {
        return Ok(Segment { marker, content: &[], end: begin });
    }
    let Some([high, low]) = crate::bytes::array(bytes, begin) else { return Err(Error::EndsEarly) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < 2 {
        return Err(Error::damaged("a segment without a length"));
    }
    let content = bytes.get(begin + 2..begin + length).ok_or(Error::EndsEarly)?;
    Ok(Segment { marker, content, end: begin + length })
}
