//! Converts pixels of any kind to 8-bit red, green and blue.

/// Layout of a pixel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Samples {
    /// Values per pixel: 1 or 2 for grey, 3 or 4 for colours; with an even number the last is opacity.
    pub(crate) channels: usize,
    /// Bytes per value; the first is the highest.
    pub(crate) width: usize,
    /// A colour that is transparent, whatever its opacity.
    pub(crate) clear: Option<[u8; 3]>,
}

/// Converts pixels to red, green and blue. Transparency is composited on white; wide values keep their high byte.
pub(crate) fn flatten(pixels: &[u8], samples: Samples, rgb: &mut Vec<u8>) {
    rgb.clear();
    let Samples { channels, width, clear } = samples;
    for pixel in pixels.chunks_exact(channels * width) {
        let value = |channel: usize| pixel[channel * width];
        let colour = if channels < 3 { [value(0); 3] } else { [value(0), value(1), value(2)] };
        rgb.extend(match clear {
            Some(clear) if clear == colour => [u8::MAX; 3],
            None if channels % 2 == 0 => on_white(colour, value(channels - 1)),
            _ => colour,
        });
    }
}

/// A pixel of opacity `alpha` over white, rounded to the nearest level.
fn on_white(colour: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    colour.map(|c| ((u32::from(c) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}
