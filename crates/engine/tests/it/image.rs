//! Decoding: where we differ from the reference on purpose, and hostile files.

use uso_engine::{DecodeLimits, Error, Image};

use crate::golden::{fixture, image, input};

fn decode(name: &str) -> Image {
    image(fixture(&format!("inputs/{name}")))
}

fn refusal(bytes: &[u8], limits: &DecodeLimits) -> String {
    match Image::decode(bytes, limits) {
        Err(Error::Image(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lossless_files_are_read_as_the_reference_reads_them() {
    for stem in ["palette", "rgb16"] {
        let theirs = image(fixture(&format!("preprocess/{stem}_decoded.png")));
        assert_eq!(decode(&format!("{stem}.png")), theirs, "{stem}");
    }
}

#[test]
fn lossy_files_come_near_the_references_decoder() {
    for name in ["portrait.jpg", "photo.webp"] {
        let (ours, theirs) = (decode(name), input(&format!("inputs/{name}")));
        assert_eq!((ours.width, ours.height), (theirs.width, theirs.height));
        let total: u64 = ours.rgb.iter().zip(&theirs.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = total as f64 / ours.rgb.len() as f64;
        assert!(mean < 1.0, "{name}: {mean} levels apart on average");
    }
}

#[test]
fn orientation_is_applied() {
    // Orientation 6: the camera was turned, so rows of the file are columns of the picture.
    let turned = decode("exif6.jpg");
    let stored = image(fixture("preprocess/exif6_decoded.png"));
    assert_eq!((turned.width, turned.height), (stored.height, stored.width));
    let pixel = |picture: &Image, x: u32, y: u32| {
        let at = 3 * (y * picture.width + x) as usize;
        [picture.rgb[at], picture.rgb[at + 1], picture.rgb[at + 2]]
    };
    for (x, y) in [(0, 0), (7, 30), (turned.width - 1, turned.height - 1)] {
        let theirs = pixel(&stored, y, stored.height - 1 - x);
        let ours = pixel(&turned, x, y);
        assert!(ours.iter().zip(&theirs).all(|(a, b)| a.abs_diff(*b) <= 8), "{ours:?} {theirs:?}");
    }
}

#[test]
fn transparency_is_laid_on_white() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 1);
    encoder.set_color(png::ColorType::Rgba);
    let pixels = [10, 20, 30, 0, 10, 20, 30, 255, 0, 100, 200, 128, 255, 0, 0, 51];
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    let ours = Image::decode(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!(ours.rgb, [255, 255, 255, 10, 20, 30, 127, 177, 227, 255, 204, 204]);

    let recorded = decode("rgba.png");
    let dropped = image(fixture("preprocess/rgba_decoded.png"));
    assert!(recorded.rgb.iter().zip(&dropped.rgb).all(|(ours, theirs)| ours >= theirs));
    assert_ne!(recorded, dropped, "the reference drops the transparency");
}

#[test]
fn grey_of_16_bits_keeps_its_high_byte() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 3, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.write_header().unwrap().write_image_data(&[0x00, 0xff, 0x80, 0x01, 0xff, 0x00]).unwrap();
    let ours = Image::decode(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!(ours.rgb, [0, 0, 0, 0x80, 0x80, 0x80, 0xff, 0xff, 0xff]);

    let recorded = decode("gray16.png");
    assert!(recorded.rgb.iter().any(|v| *v < 255), "the reference saturates it to white");
    assert!(recorded.rgb.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]));
}

#[test]
fn written_text_and_pixels_can_be_read_back() {
    let picture = Image { width: 2, height: 2, rgb: (0..12).collect() };
    let text = [("prompt".to_owned(), "猫 – a \"cat\"".to_owned()), ("seed".to_owned(), "7".to_owned())];
    let bytes = picture.to_png(&text).unwrap();
    assert_eq!(Image::decode(&bytes, &DecodeLimits::default()).unwrap(), picture);
    let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    let reader = decoder.read_info().unwrap();
    let written: Vec<_> = reader
        .info()
        .utf8_text
        .iter()
        .map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap()))
        .collect();
    assert_eq!(written, text);
}

/// A PNG that announces `side` x `side` pixels and holds almost nothing.
fn bomb(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = png::Encoder::new(&mut bytes, side, side).write_header().unwrap();
    writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01]).unwrap();
    drop(writer);
    bytes
}

#[test]
fn a_bomb_is_refused_by_its_header_with_the_limit_named() {
    let reason = refusal(&bomb(20_000), &DecodeLimits::default());
    assert!(reason.contains("20000x20000") && reason.contains("16384"), "{reason}");
    let reason = refusal(&bomb(8_000), &DecodeLimits::default());
    assert!(reason.contains("64000000 pixels") && reason.contains("50000000"), "{reason}");
}

#[test]
fn what_is_no_picture_is_refused() {
    let limits = DecodeLimits::default();
    assert_eq!(refusal(b"hello", &limits), "neither PNG nor JPEG nor WebP");
    assert_eq!(refusal(b"", &limits), "neither PNG nor JPEG nor WebP");
    assert_eq!(refusal(b"GIF89a\x01\x00\x01\x00", &limits), "neither PNG nor JPEG nor WebP");
    for name in ["landscape.png", "portrait.jpg", "photo.webp"] {
        let bytes = std::fs::read(fixture(&format!("inputs/{name}"))).unwrap();
        refusal(&bytes[..40], &limits);
    }
    let bytes = std::fs::read(fixture("inputs/landscape.png")).unwrap();
    refusal(&bytes[..bytes.len() / 2], &limits);
}
