//! Image resizing with the same bytes as Pillow.
//!
//! Resizing libraries agree on the filters but not on the last bit, and a few levels in a reference image change the
//! whole picture by more than our tolerance. So this follows Pillow's fixed-point arithmetic: filter weights with 22
//! fractional bits, horizontal first, then vertical, bytes in between.

use crate::Image;

/// Fractional bits of a weight: 32 less 8 for the byte and 2 for sums over 1.
const PRECISION_BITS: u32 = 22;
/// One half, so that cutting the fractional bits off rounds.
const ROUNDING: i32 = 1 << (PRECISION_BITS - 1);

/// A resampling filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Cubic convolution with a = -0.5.
    Bicubic,
    /// Windowed sinc with three lobes.
    Lanczos,
}

impl Filter {
    /// Half the width of the filter in source pixels at scale 1.
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => bicubic(x.abs()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// Resizes to `width` x `height`, both at least 1.
pub(crate) fn resize(image: &Image, width: u32, height: u32, filter: Filter) -> Image {
    let mut resizing = Resizing::new((image.width, image.height), (width, height), filter);
    image.rgb.chunks_exact(3 * image.width as usize).for_each(|row| resizing.push(row));
    resizing.finish()
}

/// Resizes a picture row by row. Only rows of the result's width are kept.
pub(crate) struct Resizing {
    /// Source pixels of a row; none if the width stays the same.
    windows: Option<Vec<Window>>,
    across: Image,
    height: u32,
    filter: Filter,
}

impl Resizing {
    /// Resizes from one width and height to another, all at least 1.
    pub(crate) fn new(from: (u32, u32), to: (u32, u32), filter: Filter) -> Self {
        let rgb = Vec::with_capacity(Self::bytes(from, to) as usize);
        Self {
            windows: (from.0 != to.0).then(|| windows(from.0, to.0, filter)),
            across: Image { width: to.0, height: from.1, rgb },
            height: to.1,
            filter,
        }
    }

    /// Bytes that it holds before the last row.
    pub(crate) fn bytes(from: (u32, u32), to: (u32, u32)) -> u64 {
        3 * u64::from(to.0) * u64::from(from.1)
    }

    /// Takes the next row.
    pub(crate) fn push(&mut self, row: &[u8]) {
        let rgb = &mut self.across.rgb;
        match &self.windows {
            None => rgb.extend_from_slice(row),
            Some(windows) => windows.iter().for_each(|window| {
                let pixels = row[3 * window.start..].chunks_exact(3);
                rgb.extend(weighted_sum(pixels, &window.weights));
            }),
        }
    }

    /// The resized picture, after all rows were pushed.
    pub(crate) fn finish(self) -> Image {
        let Self { across, height, filter, .. } = self;
        if height == across.height { across } else { resize_down(&across, height, filter) }
    }
}

fn resize_down(image: &Image, height: u32, filter: Filter) -> Image {
    let stride = 3 * image.width as usize;
    let mut rgb = Vec::with_capacity(stride * height as usize);
    let mut sums = vec![0; stride];
    for window in windows(image.height, height, filter) {
        // Row by row, so that the compiler adds many bytes at once.
        sums.fill(ROUNDING);
        for (row, weight) in image.rgb[stride * window.start..].chunks_exact(stride).zip(&window.weights) {
            sums.iter_mut().zip(row).for_each(|(sum, byte)| add_weighted(sum, *byte, *weight));
        }
        rgb.extend(sums.iter().map(|sum| byte(*sum)));
    }
    Image { width: image.width, height, rgb }
}

fn weighted_sum<'a>(pixels: impl Iterator<Item = &'a [u8]>, weights: &[i32]) -> [u8; 3] {
    let mut sums = [ROUNDING; 3];
    for (pixel, weight) in pixels.zip(weights) {
        if let [red, green, blue] = pixel {
            let [r, g, b] = &mut sums;
            add_weighted(r, *red, *weight);
            add_weighted(g, *green, *weight);
            add_weighted(b, *blue, *weight);
        }
    }
    sums.map(byte)
}

/// Sums stay within 32 bits, see [`PRECISION_BITS`]: they need no check, which would keep them from being added many at
/// once.
#[inline]
fn add_weighted(sum: &mut i32, byte: u8, weight: i32) {
    *sum = sum.wrapping_add(i32::from(byte).wrapping_mul(weight));
}

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// The source pixels of one target pixel.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

fn windows(from: u32, to: u32, filter: Filter) -> Vec<Window> {
    let scale = f64::from(from) / f64::from(to);
    // Shrinking widens the filter; enlarging does not narrow it.
    let spread = scale.max(1.0);
    let support = filter.support() * spread;
    (0..to)
        .map(|i| {
            let centre = (f64::from(i) + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from as usize);
            let weight = |x: usize| filter.weight((x as f64 - centre + 0.5) * (1.0 / spread));
            let weights: Vec<f64> = (start..end).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            Window { start, weights: weights.iter().map(|weight| fixed_point(weight / sum)).collect() }
        })
        .collect()
}

fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}
