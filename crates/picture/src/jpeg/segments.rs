//! A JPEG file as it is divided: markers, and what belongs to them.

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
    /// Where the next one, or coded data, begins.
    pub(crate) end: usize,
}

impl Segment<'_> {
    /// Whether it begins a frame; the tables among these numbers do not.
    pub(crate) fn is_frame(&self) -> bool {
        matches!(self.marker, 0xc0..=0xcf) && !matches!(self.marker, DHT | 0xc8 | 0xcc)
    }
}

/// The next marker from a place on and what stands behind it. Anything else before it is skipped, as everybody does.
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

/// The next segment from a place on.
pub(crate) fn next(bytes: &[u8], at: usize) -> Result<Segment<'_>, Error> {
    let (marker, begin) = marker(bytes, at)?;
    // Without a length.
    if matches!(marker, 0x01 | RST0..=EOI) {
        return Ok(Segment { marker, content: &[], end: begin });
    }
    let Some([high, low]) = crate::kind::array(bytes, begin) else { return Err(Error::EndsEarly) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < 2 {
        return Err(Error::damaged("a segment without a length"));
    }
    let content = bytes.get(begin + 2..begin + length).ok_or(Error::EndsEarly)?;
    Ok(Segment { marker, content, end: begin + length })
}
