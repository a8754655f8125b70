//! Pictures as files: every format can be read, with what the picture was made from.

use std::io::Cursor;

use image::codecs::{jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{DynamicImage, ImageDecoder};
use uso_engine::{DecodeLimits, FileFormat, Image, PictureText};

const FORMATS: [FileFormat; 3] =
    [FileFormat::Png, FileFormat::Jpeg { quality: 90 }, FileFormat::WebP { quality: 90 }];

/// Colours that change slowly, and a little structure, so that quality has something to lose.
fn picture(width: u32, height: u32) -> Image {
    let pixel = |at: u32| {
        let (x, y) = (at % width, at / width);
        [(x * 255 / width) as u8, (y * 255 / height) as u8, (128 + 40 * (x / 8 % 2)) as u8]
    };
    Image { width, height, rgb: (0..width * height).flat_map(pixel).collect() }
}

fn text() -> PictureText {
    PictureText {
        parameters: "猫 & <b>\nSteps: 5, Seed: 7".into(),
        json: r#"{"prompt":"猫 & <b>","seed":7}"#.into(),
    }
}

/// A file's pixels, EXIF and XMP as the crate `image` reads them.
fn read(file: &[u8]) -> (Image, Option<Vec<u8>>, Option<Vec<u8>>) {
    fn of<D: ImageDecoder>(mut decoder: D) -> (Image, Option<Vec<u8>>, Option<Vec<u8>>) {
        let (exif, xmp) = (decoder.exif_metadata().unwrap(), decoder.xmp_metadata().unwrap());
        let rgb = DynamicImage::from_decoder(decoder).unwrap().into_rgb8();
        (Image { width: rgb.width(), height: rgb.height(), rgb: rgb.into_raw() }, exif, xmp)
    }
    let bytes = Cursor::new(file);
    match image::guess_format(file).unwrap() {
        image::ImageFormat::Png => of(PngDecoder::new(bytes).unwrap()),
        image::ImageFormat::Jpeg => of(JpegDecoder::new(bytes).unwrap()),
        image::ImageFormat::WebP => of(WebPDecoder::new(bytes).unwrap()),
        other => panic!("{other:?}"),
    }
}

/// Mean distance of the values.
fn distance(one: &Image, other: &Image) -> f64 {
    assert_eq!((one.width, one.height), (other.width, other.height));
    let total: u64 = one.rgb.iter().zip(&other.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    total as f64 / one.rgb.len() as f64
}

#[test]
fn every_format_is_read_by_others_and_by_us() {
    let picture = picture(100, 60);
    for format in FORMATS {
        let file = picture.to_file(format, &text()).unwrap();
        let most = if format == FileFormat::Png { 0.0 } else { 5.0 };
        let (theirs, _, _) = read(&file);
        assert!(distance(&picture, &theirs) <= most, "{format:?}");
        let ours = Image::decode(&file, &DecodeLimits::default()).unwrap();
        assert!(distance(&picture, &ours) <= most, "{format:?}");
    }
}

#[test]
fn jpeg_and_webp_have_their_text_where_others_look_for_it() {
    let comment: Vec<u8> = b"UNICODE\0"
        .iter()
        .copied()
        .chain(text().parameters.encode_utf16().flat_map(u16::to_be_bytes))
        .collect();
    for format in &FORMATS[1..] {
        let file = picture(100, 60).to_file(*format, &text()).unwrap();
        let (_, exif, xmp) = read(&file);
        let exif = exif.unwrap();
        assert!(exif.starts_with(b"MM\0\x2a") && exif.ends_with(&comment), "{format:?}");
        let xmp = String::from_utf8(xmp.unwrap()).unwrap();
        let json = r#"<uso:parameters>{"prompt":"猫 &amp; &lt;b&gt;","seed":7}</uso:parameters>"#;
        assert!(xmp.contains(json), "{format:?}: {xmp}");
    }
}

#[test]
fn quality_decides_what_is_lost_and_what_a_file_takes() {
    let picture = picture(200, 120);
    let formats: [fn(u8) -> FileFormat; 2] =
        [|quality| FileFormat::Jpeg { quality }, |quality| FileFormat::WebP { quality }];
    for format in formats {
        let at = |quality| {
            let file = picture.to_file(format(quality), &text()).unwrap();
            (file.len(), distance(&picture, &read(&file).0))
        };
        let (low, high) = (at(10), at(95));
        assert!(low.0 < high.0, "{:?}: {low:?} {high:?}", format(10));
        assert!(low.1 > high.1, "{:?}: {low:?} {high:?}", format(10));
    }
}

#[test]
fn a_jpeg_loses_a_text_that_it_has_no_room_for_and_a_webp_has_room() {
    let picture = picture(32, 32);
    let json = format!(r#"{{"prompt":"{}"}}"#, "x".repeat(66_000));
    let text = PictureText { json: json.clone(), ..text() };
    let (pixels, exif, xmp) = read(&picture.to_file(FORMATS[1], &text).unwrap());
    assert!(exif.is_some() && xmp.is_none() && distance(&picture, &pixels) < 5.0);
    let (_, exif, xmp) = read(&picture.to_file(FORMATS[2], &text).unwrap());
    assert!(exif.is_some() && String::from_utf8(xmp.unwrap()).unwrap().contains(&json));
}

#[test]
fn an_empty_picture_has_no_file() {
    let (empty, short) =
        (Image { width: 0, height: 0, rgb: vec![] }, Image { width: 2, height: 2, rgb: vec![0; 3] });
    for format in FORMATS {
        assert!(empty.to_file(format, &text()).is_err(), "{format:?}");
    }
    assert!(short.to_webp(50).is_err());
}

#[test]
fn a_thumbnail_keeps_proportions_and_is_only_made_of_what_is_larger() {
    let size = |width, height| {
        let thumbnail = Image { width, height, rgb: vec![7; (3 * width * height) as usize] }.thumbnail(384);
        thumbnail.map(|small| {
            assert!(small.rgb.iter().all(|value| *value == 7));
            assert_eq!(small.rgb.len() as u32, 3 * small.width * small.height);
            (small.width, small.height)
        })
    };
    assert_eq!(size(1024, 1024), Some((384, 384)));
    assert_eq!(size(1024, 768), Some((384, 288)));
    assert_eq!(size(768, 1024), Some((288, 384)));
    assert_eq!(size(2048, 1), Some((384, 1)));
    assert_eq!((size(384, 384), size(64, 16)), (None, None));
}
