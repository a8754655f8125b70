//! Pixels of any kind as red, green and blue of 8 bits.

/// What a pixel is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Samples {
    /// Values of a pixel: 1 or 2 for grey, 3 or 4 for colours, an even number if the last is opacity.
    pub(crate) channels: usize,
    /// Bytes of a value; of more than one, the first is the high one.
    pub(crate) width: usize,
    /// The one colour that is transparent, whatever opacity says.
    pub(crate) clear: Option<[u8; 3]>,
}

/// Turns pixels into red, green and blue. Transparency is laid on white, of wide values the high byte is kept.
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
