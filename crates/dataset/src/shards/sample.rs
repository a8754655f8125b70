//! A picture of some samples, for the card.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, RgbImage, imageops};

/// Pictures in it at most.
pub(super) const SAMPLES: usize = 16;
/// Pictures in a line of it.
const COLUMNS: u32 = 4;
/// Width and height of a picture in it, in pixels.
const TILE: u32 = 160;
/// Pixels on each side of a picture that is decoded for it.
const LARGEST_SIDE: u32 = 8192;

/// A WebP picture of up to 16 pictures; those that cannot be decoded are left out, and none is made of none. The same
/// pictures give the same bytes.
pub fn sample_grid(pictures: &[Vec<u8>]) -> Option<Vec<u8>> {
    let tiles: Vec<RgbImage> = pictures.iter().take(SAMPLES).filter_map(|picture| tile(picture)).collect();
    let count = tiles.len() as u32;
    if count == 0 {
        return None;
    }
    let (columns, lines) = (count.min(COLUMNS), count.div_ceil(COLUMNS));
    let mut grid = RgbImage::from_pixel(columns * TILE, lines * TILE, image::Rgb([255; 3]));
    for (tile, place) in tiles.iter().zip(0..) {
        let left = place % COLUMNS * TILE + (TILE - tile.width()) / 2;
        let top = place / COLUMNS * TILE + (TILE - tile.height()) / 2;
        imageops::replace(&mut grid, tile, left.into(), top.into());
    }
    let mut file = Cursor::new(Vec::new());
    grid.write_to(&mut file, ImageFormat::WebP).ok()?;
    Some(file.into_inner())
}

fn tile(picture: &[u8]) -> Option<RgbImage> {
    let mut reader = ImageReader::new(Cursor::new(picture)).with_guessed_format().ok()?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    let small: DynamicImage = reader.decode().ok()?.thumbnail(TILE, TILE);
    Some(small.into_rgb8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        RgbImage::from_pixel(width, height, image::Rgb([200, 0, 0]))
            .write_to(&mut file, ImageFormat::Png)
            .unwrap();
        file.into_inner()
    }

    #[test]
    fn pictures_of_all_shapes_fit() {
        let pictures = [picture(320, 160), picture(16, 2048), b"no picture".to_vec(), picture(160, 160)];
        let grid = sample_grid(&pictures).unwrap();
        assert_eq!(grid, sample_grid(&pictures).unwrap());
        let grid = image::load_from_memory(&grid).unwrap().into_rgb8();
        assert_eq!(grid.dimensions(), (3 * TILE, TILE));
        assert_eq!((grid.get_pixel(80, 80).0, grid.get_pixel(1, 1).0), ([200, 0, 0], [255; 3]));
        assert_eq!(sample_grid(&[b"none".to_vec()]), None);
        assert_eq!(sample_grid(&vec![picture(16, 16); 20]).map(|grid| grid.is_empty()), Some(false));
    }
}
