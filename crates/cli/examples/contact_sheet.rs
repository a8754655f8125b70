//! `contact_sheet OUT ROW...`: pictures of several jobs on one sheet. A row is the files of one job,
//! separated by commas: its references, then its picture.

use anyhow::{Context as _, bail};
use image::imageops::{FilterType, overlay, resize};
use image::{Rgb, RgbImage};

/// Side of a picture on the sheet, and the space around it, in pixels.
const SIDE: u32 = 192;
const SPACE: u32 = 12;
const PAPER: Rgb<u8> = Rgb([236, 236, 236]);
/// Frame of a generated picture.
const INK: Rgb<u8> = Rgb([30, 100, 200]);

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, rows @ ..] = args.as_slice() else { bail!("usage: contact_sheet OUT ROW...") };
    let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.split(',').collect()).collect();
    let columns = rows.iter().map(Vec::len).max().context("no row was given")? as u32;

    let cell = SIDE + SPACE;
    let mut sheet = RgbImage::from_pixel(columns * cell + SPACE, rows.len() as u32 * cell + SPACE, PAPER);
    for (y, row) in rows.iter().enumerate() {
        for (x, file) in row.iter().enumerate() {
            // The picture itself always stands in the last column.
            let generated = x + 1 == row.len();
            let x = if generated { columns - 1 } else { x as u32 };
            let (left, top) = (SPACE + x * cell, SPACE + y as u32 * cell);
            if generated {
                let frame = RgbImage::from_pixel(SIDE + 6, SIDE + 6, INK);
                overlay(&mut sheet, &frame, i64::from(left) - 3, i64::from(top) - 3);
            }
            overlay(&mut sheet, &thumbnail(file)?, left.into(), top.into());
        }
    }
    sheet.save(out).with_context(|| format!("cannot write {out}"))
}

/// Fills a square; small pictures keep their hard pixels.
fn thumbnail(file: &str) -> anyhow::Result<RgbImage> {
    let picture = image::open(file).with_context(|| format!("cannot read {file}"))?.to_rgb8();
    let (width, height) = picture.dimensions();
    let filter = if width.max(height) < SIDE { FilterType::Nearest } else { FilterType::Triangle };
    let scale = f64::from(SIDE) / f64::from(width.max(height));
    let side = |pixels: u32| ((f64::from(pixels) * scale) as u32).max(1);
    Ok(resize(&picture, side(width), side(height), filter))
}
