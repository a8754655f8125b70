//! Measures of a picture's pixels, without a model.

use std::f64::consts::PI;
use std::fmt;

use serde::{Serialize, Serializer};

use super::prepare::check;
use crate::resample::{Filter, resize};
use crate::{Error, Image};

/// Names of these measures, with a version that rises when one of them gives other numbers.
pub const SHARPNESS: &str = "laplacian-variance-1";
/// See [`flatness`].
pub const FLATNESS: &str = "flat-blocks-1";
/// See [`PictureHash`].
pub const PHASH: &str = "phash-dct-64-1";

/// Variance of the Laplacian of the grey levels (0 to 255), a measure of focus (Pech-Pacheco et al., ICPR 2000).
///
/// The kernel is `0 1 0, 1 -4 1, 0 1 0`, over all pixels that have four neighbours. It is larger for sharper pictures
/// and 0 for a flat one. It depends on the size of the picture and on what it shows, so compare only pictures of the
/// same kind and size.
///
/// # Errors
/// [`Error::Image`] for an empty picture.
pub fn sharpness(image: &Image) -> Result<f32, Error> {
    check(image)?;
    let (grey, width, height) = (grey(image), image.width as usize, image.height as usize);
    let level = |x: usize, y: usize| i64::from(grey[y * width + x]);
    let (mut count, mut sum, mut squares) = (0i64, 0i64, 0i64);
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let around = level(x - 1, y) + level(x + 1, y) + level(x, y - 1) + level(x, y + 1);
            let laplacian = around - 4 * level(x, y);
            count += 1;
            sum += laplacian;
            squares += laplacian * laplacian;
        }
    }
    if count == 0 {
        return Ok(0.0);
    }
    let mean = sum as f64 / count as f64;
    Ok((squares as f64 / count as f64 - mean * mean) as f32)
}

/// Side of a block for [`flatness`], in pixels.
const BLOCK: usize = 8;
/// Most levels between the darkest and the lightest pixel of a flat block.
const FLAT_LEVELS: u8 = 3;

/// The share of blocks of 8x8 pixels that are flat: their grey levels (0 to 255) are at most 3 apart. 1 for a picture of
/// one colour. Blocks at the right and lower edge may be smaller.
///
/// # Errors
/// [`Error::Image`] for an empty picture.
pub fn flatness(image: &Image) -> Result<f32, Error> {
    check(image)?;
    let (grey, width) = (grey(image), image.width as usize);
    let (mut flat, mut all) = (0u32, 0u32);
    for rows in grey.chunks(width * BLOCK) {
        for x in (0..width).step_by(BLOCK) {
            let block = rows.chunks(width).flat_map(|row| &row[x..(x + BLOCK).min(width)]);
            let (least, most) =
                block.fold((u8::MAX, 0), |(least, most), level| (least.min(*level), most.max(*level)));
            all += 1;
            flat += u32::from(most - least <= FLAT_LEVELS);
        }
    }
    Ok(flat as f32 / all as f32)
}

/// A perceptual hash of 64 bits: similar pictures have similar hashes.
///
/// It is `phash` of the Python package `ImageHash` (after Krawetz, "Looks Like It", 2011): grey levels, resized to 32x32
/// by Lanczos, a discrete cosine transform, and for each of the 8x8 lowest frequencies whether it is above their median.
/// Frequencies that are 0 but for rounding count as 0, so a flat picture has one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PictureHash(pub u64);

impl PictureHash {
    /// The hash of a picture.
    ///
    /// # Errors
    /// [`Error::Image`] for an empty picture.
    pub fn of(image: &Image) -> Result<Self, Error> {
        check(image)?;
        let rgb = grey(image).into_iter().flat_map(|level| [level; 3]).collect();
        let small = resize(&Image { rgb, ..*image }, HASHED as u32, HASHED as u32, Filter::Lanczos);
        let levels: Vec<f64> = small.rgb.iter().step_by(3).map(|level| f64::from(*level)).collect();
        let frequencies = low_frequencies(&levels);
        let mut sorted = frequencies.clone();
        sorted.sort_by(f64::total_cmp);
        let median = f64::midpoint(sorted[LOW * LOW / 2 - 1], sorted[LOW * LOW / 2]);
        Ok(Self(frequencies.iter().fold(0, |bits, value| (bits << 1) | u64::from(*value > median))))
    }

    /// The number of bits that differ, 0 to 64. Near-doubles differ in a few.
    pub fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

impl fmt::Display for PictureHash {
    /// 16 hexadecimal digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl Serialize for PictureHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Side of the picture that is transformed.
const HASHED: usize = 32;
/// Number of frequencies in each direction that are kept.
const LOW: usize = 8;

/// The lowest frequencies of a picture of 32x32 levels by the discrete cosine transform of type II, row by row.
fn low_frequencies(levels: &[f64]) -> Vec<f64> {
    const ROUNDING: f64 = 1e-6;
    let cosine = |frequency: usize, at: usize| {
        2.0 * (PI * (frequency * (2 * at + 1)) as f64 / (2 * HASHED) as f64).cos()
    };
    let waves: Vec<[f64; HASHED]> =
        (0..LOW).map(|frequency| std::array::from_fn(|at| cosine(frequency, at))).collect();
    let dot = |wave: &[f64; HASHED], values: &mut dyn Iterator<Item = f64>| -> f64 {
        wave.iter().zip(values).map(|(wave, value)| wave * value).sum()
    };
    let down: Vec<Vec<f64>> = waves
        .iter()
        .map(|wave| {
            (0..HASHED).map(|x| dot(wave, &mut levels[x..].iter().step_by(HASHED).copied())).collect()
        })
        .collect();
    let all = down.iter().flat_map(|row| waves.iter().map(|wave| dot(wave, &mut row.iter().copied())));
    all.map(|value| if value.abs() < ROUNDING { 0.0 } else { value }).collect()
}

/// Grey levels by Pillow's formula (ITU-R 601-2 luma in 16 fractional bits).
fn grey(image: &Image) -> Vec<u8> {
    let level = |pixel: &[u8]| {
        let [red, green, blue] = [0, 1, 2].map(|channel| u32::from(pixel[channel]));
        ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8
    };
    image.rgb.chunks_exact(3).map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, level: impl Fn(u32, u32) -> u8) -> Image {
        let rgb = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Image { width, height, rgb: rgb.flat_map(|(x, y)| [level(x, y); 3]).collect() }
    }

    #[test]
    fn a_flat_picture_is_flat_and_not_sharp() {
        for side in [1, 2, 3, 7, 8, 33] {
            let flat = picture(side, side, |_, _| 77);
            assert_eq!((sharpness(&flat).unwrap(), flatness(&flat).unwrap()), (0.0, 1.0), "{side}");
            assert_eq!(PictureHash::of(&flat).unwrap().to_string(), "8000000000000000");
        }
    }

    #[test]
    fn of_four_blocks_the_one_with_an_edge_is_not_flat() {
        let edge = picture(12, 12, |x, y| if x == 10 && y == 3 { 104 } else { 100 });
        assert_eq!(flatness(&edge).unwrap(), 0.75);
        let soft = picture(12, 12, |x, y| if x == 10 && y == 3 { 103 } else { 100 });
        assert_eq!(flatness(&soft).unwrap(), 1.0);
    }

    #[test]
    fn the_variance_is_that_of_the_definition() {
        // One lit pixel: its own Laplacian is -40, those of its four neighbours 10, those of the other 4 of 9 pixels 0.
        let dot = picture(5, 5, |x, y| if (x, y) == (2, 2) { 10 } else { 0 });
        assert!((sharpness(&dot).unwrap() - 2000.0 / 9.0).abs() < 1e-3);
    }

    #[test]
    fn an_empty_picture_or_one_without_all_its_pixels_is_refused() {
        for image in
            [Image { width: 0, height: 4, rgb: Vec::new() }, Image { width: 2, height: 2, rgb: vec![0; 11] }]
        {
            assert!(sharpness(&image).is_err() && flatness(&image).is_err());
            assert!(PictureHash::of(&image).is_err());
        }
    }

    #[test]
    fn distances_count_bits() {
        assert_eq!(PictureHash(0b1011).distance(PictureHash(0b0010)), 2);
        assert_eq!(PictureHash(0).distance(PictureHash(u64::MAX)), 64);
    }
}
