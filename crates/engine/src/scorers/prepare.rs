//! Prepares pictures for scorers: the shortest side is resized, the middle is cut out, bytes are normalised.

use std::borrow::Cow;

use crate::preprocess::{Normalisation, normalised};
use crate::resample::{Filter, resize};
use crate::{Error, Image};

/// Mean and standard deviation of CLIP's training pictures (openai/CLIP, clip/clip.py).
const CLIP: [[f32; 3]; 2] =
    [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]];
/// Those of ImageNet, as torchvision's models have them.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// A longer side beyond this many times the shorter one is cut to it before resizing, which bounds memory. The middle
/// that is kept of such a picture is far from its ends.
const PROPORTION: u32 = 32;

/// How a picture becomes the input of a scorer.
#[derive(Debug, Clone)]
pub struct Preprocessing {
    /// Length of the shortest side after resizing; none to resize both sides to `crop` without keeping proportions.
    shortest: Option<u32>,
    /// Side of the square in the middle, in pixels.
    crop: u32,
    /// Where the middle is if it cannot be exact.
    middle: Middle,
    normalisation: Normalisation,
    name: &'static str,
}

/// How half a pixel is rounded when the middle is cut out.
#[derive(Debug, Clone, Copy)]
enum Middle {
    /// Down, as the image processors of Hugging Face do.
    Down,
    /// To the even number, as torchvision does.
    Even,
}

impl Preprocessing {
    /// That of CLIP in Hugging Face's library: shortest side to `side`, bicubic; the middle; CLIP's mean and deviation.
    pub fn clip(side: u32) -> Self {
        let middle = Middle::Down;
        Self { shortest: Some(side), crop: side, middle, normalisation: of(CLIP), name: "clip" }
    }

    /// That of CSD, which is OpenAI's for CLIP by torchvision.
    pub fn csd(side: u32) -> Self {
        let middle = Middle::Even;
        Self { shortest: Some(side), crop: side, middle, normalisation: of(CLIP), name: "clip" }
    }

    /// That of DINO's evaluation (facebookresearch/dino, eval_knn.py): shortest side to 256 for a crop of 224, bicubic;
    /// the middle; ImageNet's mean and deviation.
    pub fn dino(side: u32) -> Self {
        // A small side that 7 does not divide would be larger than that.
        let shortest = Some((side / 7 * 8).max(side));
        Self { shortest, crop: side, middle: Middle::Even, normalisation: of(IMAGENET), name: "imagenet" }
    }

    /// That of SigLIP: both sides to `side`, bicubic, without keeping proportions.
    pub(super) fn siglip(side: u32, normalisation: Normalisation) -> Self {
        Self { shortest: None, crop: side, middle: Middle::Down, normalisation, name: "siglip" }
    }

    /// Side of the prepared square in pixels.
    pub fn side(&self) -> u32 {
        self.crop
    }

    /// The prepared square in channel, row, column order.
    ///
    /// # Errors
    /// [`Error::Image`] for an empty picture.
    pub fn pixels(&self, image: &Image) -> Result<Vec<f32>, Error> {
        Ok(normalised(&self.square(image)?, &self.normalisation))
    }

    fn square(&self, image: &Image) -> Result<Image, Error> {
        check(image)?;
        let Some(shortest) = self.shortest else {
            return Ok(resize(image, self.crop, self.crop, Filter::Bicubic));
        };
        let image = bounded(image);
        let scaled = |side: u32, other: u32| {
            // As torchvision and Hugging Face round: down.
            let long = u64::from(shortest) * u64::from(side) / u64::from(other);
            if side <= other { shortest } else { long as u32 }
        };
        let (width, height) = (scaled(image.width, image.height), scaled(image.height, image.width));
        let resized = resize(&image, width, height, Filter::Bicubic);
        let start = |side: u32| match self.middle {
            Middle::Down => (side - self.crop) / 2,
            Middle::Even => (f64::from(side - self.crop) / 2.0).round_ties_even() as u32,
        };
        Ok(cut(&resized, (start(width), start(height)), (self.crop, self.crop)))
    }

    /// A description for profiles.
    pub(super) fn describe(&self) -> String {
        let (crop, name) = (self.crop, self.name);
        match self.shortest {
            Some(shortest) => {
                format!("shortest side {shortest} bicubic, middle {crop}, {name} mean and deviation")
            }
            None => format!("{crop}x{crop} bicubic, {name} mean and deviation"),
        }
    }
}

fn of([mean, deviation]: [[f32; 3]; 2]) -> Normalisation {
    Normalisation::of(mean, deviation)
}

/// Refuses a picture without pixels, or with another number of them than its size says.
pub(super) fn check(image: &Image) -> Result<(), Error> {
    let bytes = 3 * image.width as usize * image.height as usize;
    if bytes > 0 && image.rgb.len() == bytes {
        return Ok(());
    }
    let Image { width, height, rgb } = image;
    Err(Error::Image(format!("a picture of {width}x{height} with {} bytes cannot be scored", rgb.len())))
}

/// The middle of a picture that is extremely long, or the picture.
fn bounded(image: &Image) -> Cow<'_, Image> {
    let (width, height) = (image.width, image.height);
    let most = |side: u32, other: u32| side.min(other.saturating_mul(PROPORTION));
    let size = (most(width, height), most(height, width));
    if size == (width, height) {
        return Cow::Borrowed(image);
    }
    Cow::Owned(cut(image, ((width - size.0) / 2, (height - size.1) / 2), size))
}

fn cut(image: &Image, (left, top): (u32, u32), (width, height): (u32, u32)) -> Image {
    let rows = image.rgb.chunks_exact(3 * image.width as usize).skip(top as usize).take(height as usize);
    let columns = 3 * left as usize..3 * (left + width) as usize;
    let rgb = rows.flat_map(|row| &row[columns.clone()]).copied().collect();
    Image { width, height, rgb }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_any_proportion_becomes_a_square() {
        for (width, height) in [(1, 1), (1, 5000), (5000, 1), (3, 200), (225, 224), (8, 7)] {
            let image = Image { width, height, rgb: vec![9; 3 * (width * height) as usize] };
            for preprocessing in [Preprocessing::clip(28), Preprocessing::dino(28), Preprocessing::csd(28)] {
                let pixels = preprocessing.pixels(&image).unwrap();
                assert_eq!(pixels.len(), 3 * 28 * 28, "{width}x{height}");
                assert!(pixels.iter().all(|value| value.is_finite()));
            }
        }
    }

    #[test]
    fn a_side_that_seven_does_not_divide_is_no_larger_than_what_it_is_cut_from() {
        let image = Image { width: 20, height: 20, rgb: vec![9; 3 * 20 * 20] };
        for side in 1..50 {
            let pixels = Preprocessing::dino(side).pixels(&image).unwrap();
            assert_eq!(pixels.len(), 3 * (side * side) as usize);
        }
    }

    #[test]
    fn the_middle_is_where_each_library_has_it() {
        // 31 columns of which 28 are kept: one and a half on each side.
        let rgb = (0..28).flat_map(|_| (0..31u8).flat_map(|column| [column; 3])).collect();
        let image = Image { width: 31, height: 28, rgb };
        let first = |preprocessing: Preprocessing| preprocessing.square(&image).unwrap().rgb[0];
        assert_eq!((first(Preprocessing::clip(28)), first(Preprocessing::csd(28))), (1, 2));
    }
}
