//! Converts a JPEG's components to red, green and blue.

use super::frame::Frame;

/// Meaning of a picture's components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Grey,
    Rgb,
    /// Luminance and two chrominances.
    Ycc,
    Cmyk,
    /// Four inks, three of them as luminance and chrominance.
    Ycck,
}

impl Colour {
    /// As libjpeg guesses it from the JFIF marker, Adobe's transformation and the components' names.
    pub(crate) fn of(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Self {
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        match (ids.len(), adobe) {
            (1, _) => Self::Grey,
            (3, _) if jfif => Self::Ycc,
            (3, Some(0)) => Self::Rgb,
            (3, None) if ids == *b"RGB" => Self::Rgb,
            (3, _) => Self::Ycc,
            (_, None | Some(0)) => Self::Cmyk,
            _ => Self::Ycck,
        }
    }

    /// A row of pixels from rows of components.
    pub(crate) fn convert(self, rows: &[Vec<u8>], width: usize, rgb: &mut Vec<u8>) {
        rgb.clear();
        let at = |component: usize, x: usize| rows[component][x];
        rgb.extend((0..width).flat_map(|x| match self {
            Self::Grey => [at(0, x); 3],
            Self::Rgb => [at(0, x), at(1, x), at(2, x)],
            Self::Ycc => ycc(at(0, x), at(1, x), at(2, x)),
            // Inks are stored inverted, as Adobe does.
            Self::Cmyk => [0, 1, 2].map(|ink| left(at(ink, x), at(3, x))),
            Self::Ycck => ycc(at(0, x), at(1, x), at(2, x)).map(|ink| left(255 - ink, at(3, x))),
        }));
    }
}

/// With 16 fractional bits, as libjpeg computes it.
fn ycc(y: u8, blue: u8, red: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, blue, red) = (i32::from(y), i32::from(blue) - 128, i32::from(red) - 128);
    let sum = |change: i32| (y + ((change + HALF) >> 16)).clamp(0, 255) as u8;
    [sum(91881 * red), sum(-22554 * blue - 46802 * red), sum(116130 * blue)]
}

/// The light that remains after an ink and black, both stored inverted.
fn left(ink: u8, black: u8) -> u8 {
    let product = u32::from(255 - ink) * u32::from(black) + 128;
    black - (((product >> 8) + product) >> 8) as u8
}
