//! WebP: still pictures, and the first frame of animations.

use std::io::Cursor;

use image_webp::WebPDecoder;

use crate::bytes::array;
use crate::flatten::{Samples, flatten};
use crate::header::Header;
use crate::turn::Turn;
use crate::{Error, exif};

const RIFF_HEADER: usize = 12;
const CHUNK_HEADER: usize = 8;
/// Flags of an extended file.
const ALPHA: u8 = 0x10;
const ANIMATION: u8 = 0x02;

/// Most bytes per pixel that the decoder holds: three or four for its output; for a lossless picture four more, for a
/// lossy one luminance and chrominance; for opacity a lossless picture and a plane.
const LOSSLESS: u64 = 8;
const LOSSY: u64 = 5;
const LOSSY_WITH_ALPHA: u64 = 11;

pub(crate) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let small = |at| Some(u32::from(u16::from_le_bytes(array(bytes, at)?)));
    match &array::<4>(bytes, 12)? {
        b"VP8X" => Some((1 + three(bytes, 24)?, 1 + three(bytes, 27)?)),
        b"VP8 " if array(bytes, 23)? == [0x9d, 0x01, 0x2a] => {
            Some((small(26)? & 0x3fff, small(28)? & 0x3fff))
        }
        b"VP8L" if array(bytes, 20)? == [0x2f] => {
            let bits = u32::from_le_bytes(array(bytes, 21)?);
            Some((1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)))
        }
        _ => None,
    }
}

/// A number of three bytes.
fn three(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = array(bytes, at)?;
    Some(u32::from_le_bytes([a, b, c, 0]))
}

pub(crate) fn header(bytes: &[u8]) -> Result<Header, Error> {
    let size = size(bytes).ok_or(Error::EndsEarly)?;
    let announced = u32::from_le_bytes(array(bytes, 4).ok_or(Error::EndsEarly)?) as usize;
    if announced + CHUNK_HEADER > bytes.len() {
        return Err(Error::EndsEarly);
    }
    let turn = Turn::of(exif::orientation(chunk(bytes, b"EXIF"), chunk(bytes, b"XMP ")));
    let still = Still::find(bytes)?;
    let a_pixel = match still.kind {
        b"VP8L" => LOSSLESS,
        _ if still.alpha.is_some() => LOSSY_WITH_ALPHA,
        _ => LOSSY,
    };
    Ok(Header { size, turn, memory: a_pixel * u64::from(size.0) * u64::from(size.1) })
}

/// Chunks from an offset on, by name and content; the last one may be truncated.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let name = array::<4>(bytes, at)?;
        let length = u32::from_le_bytes(array(bytes, at + 4)?) as usize;
        let begin = at + CHUNK_HEADER;
        at = begin + length.next_multiple_of(2);
        Some((name, &bytes[begin..bytes.len().min(begin + length)]))
    })
}

fn chunk<'a>(bytes: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    chunks(bytes.get(RIFF_HEADER..)?).find(|(name, _)| name == wanted).map(|(_, content)| content)
}

/// A picture in a file.
struct Still<'a> {
    /// `VP8 ` or `VP8L`.
    kind: &'static [u8; 4],
    content: &'a [u8],
    alpha: Option<&'a [u8]>,
}

impl<'a> Still<'a> {
    /// The only picture, or the first frame of an animation.
    fn find(bytes: &'a [u8]) -> Result<Self, Error> {
        let animated =
            chunk(bytes, b"VP8X").is_some_and(|flags| flags.first().is_some_and(|f| f & ANIMATION != 0));
        if animated {
            Self::of(Frame::first(bytes)?.chunks)
        } else {
            Self::of(bytes.get(RIFF_HEADER..).unwrap_or(&[]))
        }
    }

    fn of(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut alpha = None;
        for (name, content) in chunks(bytes) {
            match &name {
                b"ALPH" => alpha = alpha.or(Some(content)),
                b"VP8 " => return Ok(Self { kind: b"VP8 ", content, alpha }),
                b"VP8L" => return Ok(Self { kind: b"VP8L", content, alpha: None }),
                _ => {}
            }
        }
        Err(Error::EndsEarly)
    }

    /// A file that holds only this picture.
    fn file(&self, (width, height): (u32, u32)) -> Vec<u8> {
        let three = |side: u32| (side - 1).to_le_bytes().into_iter().take(3);
        let flags = if self.alpha.is_some() { ALPHA } else { 0 };
        let extended: Vec<u8> =
            [flags, 0, 0, 0].into_iter().chain(three(width)).chain(three(height)).collect();
        let mut body = b"WEBP".to_vec();
        let mut add = |name: &[u8; 4], content: &[u8]| {
            body.extend_from_slice(name);
            body.extend_from_slice(&(content.len() as u32).to_le_bytes());
            body.extend_from_slice(content);
            body.resize(body.len().next_multiple_of(2), 0);
        };
        // A lossless picture states itself whether it has opacity.
        if let Some(alpha) = self.alpha {
            add(b"VP8X", &extended);
            add(b"ALPH", alpha);
        }
        add(self.kind, self.content);
        [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
    }
}

/// A frame of an animation and its place on the canvas.
struct Frame<'a> {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    chunks: &'a [u8],
}

impl<'a> Frame<'a> {
    fn first(bytes: &'a [u8]) -> Result<Self, Error> {
        const FIELDS: usize = 16;
        let frame = chunk(bytes, b"ANMF").ok_or(Error::EndsEarly)?;
        let field = |at| three(frame, at).ok_or(Error::EndsEarly);
        Ok(Self {
            left: 2 * field(0)?,
            top: 2 * field(3)?,
            width: 1 + field(6)?,
            height: 1 + field(9)?,
            chunks: frame.get(FIELDS..).ok_or(Error::EndsEarly)?,
        })
    }
}

pub(crate) fn rows(bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    match chunk(bytes, b"VP8X").and_then(|flags| flags.first()) {
        Some(flags) if flags & ANIMATION != 0 => first_of_animation(bytes, flags & ALPHA != 0, sink),
        _ => still(bytes, size(bytes).ok_or(Error::EndsEarly)?, true, sink),
    }
}

/// Without `alpha`, the colours of transparent pixels are shown.
fn still(bytes: &[u8], size: (u32, u32), alpha: bool, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes))?;
    if decoder.dimensions() != size {
        return Err(Error::damaged("it names two sizes"));
    }
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut all = vec![0; channels * size.0 as usize * size.1 as usize];
    decoder.read_image(&mut all)?;
    let mut rgb = Vec::new();
    for row in all.chunks_exact_mut(channels * size.0 as usize) {
        if !alpha && channels == 4 {
            row.iter_mut().skip(3).step_by(4).for_each(|opacity| *opacity = u8::MAX);
        }
        flatten(row, Samples { channels, width: 1, clear: None }, &mut rgb);
        sink(&rgb);
    }
    Ok(())
}

/// The first frame on an empty canvas. Decoded as a still picture, because a separate canvas would double the memory.
fn first_of_animation(bytes: &[u8], alpha: bool, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let (width, height) = size(bytes).ok_or(Error::EndsEarly)?;
    let frame = Frame::first(bytes)?;
    if frame.left + frame.width > width || frame.top + frame.height > height {
        return Err(Error::damaged("the first picture is larger than the animation"));
    }
    let empty = vec![if alpha { u8::MAX } else { 0 }; 3 * width as usize];
    let mut row = empty.clone();
    let (begin, end) = (3 * frame.left as usize, 3 * (frame.left + frame.width) as usize);
    (0..frame.top).for_each(|_| sink(&empty));
    let file = Still::of(frame.chunks)?.file((frame.width, frame.height));
    still(&file, (frame.width, frame.height), alpha, &mut |pixels| {
        row[begin..end].copy_from_slice(pixels);
        sink(&row);
    })?;
    (frame.top + frame.height..height).for_each(|_| sink(&empty));
    Ok(())
}
