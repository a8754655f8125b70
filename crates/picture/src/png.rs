//! PNG, row by row.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Info, InterlaceInfo, Reader, Transformations};

use crate::bytes::array;
use crate::flatten::{Samples, flatten};
use crate::header::Header;
use crate::turn::Turn;
use crate::{Error, exif};

const SIGNATURE: usize = 8;
/// Bytes of the length, name and checksum of a chunk.
const AROUND: usize = 12;

pub(crate) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    (bytes.get(12..16)? == b"IHDR").then_some(())?;
    Some((u32::from_be_bytes(array(bytes, 16)?), u32::from_be_bytes(array(bytes, 20)?)))
}

pub(crate) fn header(bytes: &[u8]) -> Result<Header, Error> {
    let size = size(bytes).ok_or(Error::EndsEarly)?;
    let is_interlaced = *bytes.get(28).ok_or(Error::EndsEarly)? != 0;
    let turn = Turn::of(exif::orientation(chunk(bytes, b"eXIf", b""), chunk(bytes, b"iTXt", XMP)));
    let pixels = u64::from(size.0) * u64::from(size.1);
    Ok(Header { size, turn, memory: if is_interlaced { 3 * pixels } else { 0 } })
}

const XMP: &[u8] = b"XML:com.adobe.xmp\0";

/// The content of the first chunk with this name that begins with `beginning`.
fn chunk<'a>(bytes: &'a [u8], name: &[u8; 4], begin: &[u8]) -> Option<&'a [u8]> {
    let mut at = SIGNATURE;
    loop {
        let length = u32::from_be_bytes(array(bytes, at)?) as usize;
        let content = bytes.get(at + 8..at + 8 + length)?;
        if &array::<4>(bytes, at + 4)? == name && content.starts_with(begin) {
            return Some(content);
        }
        at += AROUND + length;
    }
}

pub(crate) fn rows(bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::EXPAND);
    // Profiles and texts may expand to a large size, and nothing here needs them.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info()?;
    if reader.info().interlaced { interlaced(&mut reader, sink) } else { plain(&mut reader, sink) }?;
    match reader.finish().map_err(Error::from) {
        // All rows are there; what comes after them is not needed.
        Err(Error::EndsEarly) => Ok(()),
        end => end,
    }
}

fn plain(reader: &mut Reader<Cursor<&[u8]>>, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let samples = samples(reader);
    let mut rgb = Vec::new();
    for _ in 0..reader.info().height {
        let row = reader.next_row()?.ok_or(Error::EndsEarly)?;
        flatten(row.data(), samples, &mut rgb);
        sink(&rgb);
    }
    Ok(())
}

/// Decodes an interlaced picture: seven smaller pictures, whose pixels are put into place.
fn interlaced(reader: &mut Reader<Cursor<&[u8]>>, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    const PIXEL_BITS: u8 = 24;
    let samples = samples(reader);
    let stride = 3 * reader.info().width as usize;
    let mut all = vec![0; stride * reader.info().height as usize];
    let (mut rgb, mut missing) = (Vec::new(), all.len());
    while missing > 0 {
        let row = reader.next_interlaced_row()?.ok_or(Error::EndsEarly)?;
        let InterlaceInfo::Adam7(pass) = row.interlace() else {
            return Err(Error::damaged("some rows are interlaced and some are not"));
        };
        flatten(row.data(), samples, &mut rgb);
        png::expand_interlaced_row(&mut all, stride, &rgb, pass, PIXEL_BITS);
        missing = missing.saturating_sub(rgb.len());
    }
    all.chunks_exact(stride).for_each(sink);
    Ok(())
}

/// Layout of expanded rows.
fn samples(reader: &Reader<Cursor<&[u8]>>) -> Samples {
    let (colour, depth) = reader.output_color_type();
    let channels = match colour {
        ColorType::Grayscale | ColorType::Indexed => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
    };
    let clear = clear_colour(reader.info());
    Samples { channels, width: if depth == BitDepth::Sixteen { 2 } else { 1 }, clear }
}

/// The transparent colour if Pillow reads it differently from the format: it compares its low bytes with values that
/// have been reduced to 8 bits.
fn clear_colour(info: &Info) -> Option<[u8; 3]> {
    let clear = info.trns.as_deref()?;
    match (info.color_type, info.bit_depth, clear) {
        (ColorType::Grayscale, BitDepth::Two | BitDepth::Four, [.., low]) => Some([*low; 3]),
        (ColorType::Rgb, BitDepth::Sixteen, [_, red, _, green, _, blue]) => Some([*red, *green, *blue]),
        _ => None,
    }
}
