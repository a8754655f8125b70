//! Reference images before they reach the model, against Pillow.

use candle_core::Device;
use serde::Deserialize;
use uso_engine::preprocess::{Normalisation, keep_size, reference, siglip};
use uso_engine::{Error, Image};

use crate::golden::{fixture, image, input, tiny};

#[derive(Deserialize)]
struct Index {
    images: std::collections::BTreeMap<String, Entry>,
    keep_size_table: Vec<KeepSize>,
}

#[derive(Deserialize)]
struct Entry {
    preprocess: std::collections::BTreeMap<u32, Prepared>,
}

#[derive(Deserialize)]
struct Prepared {
    size: (u32, u32),
    file: Option<String>,
}

#[derive(Deserialize)]
struct KeepSize {
    content_long_size: u32,
    #[serde(rename = "ref")]
    prepared: (u32, u32),
    keep_size: (u32, u32),
}

/// Inputs that we read unlike the reference on purpose; `image.rs` has our own values.
const READ_UNLIKE_THE_REFERENCE: [&str; 3] = ["exif6.jpg", "rgba.png", "gray16.png"];

fn index() -> Index {
    serde_json::from_slice(&std::fs::read(fixture("preprocess/index.json")).unwrap()).unwrap()
}

fn assert_within_one_level(ours: &Image, theirs: &Image, name: &str) {
    assert_eq!((ours.width, ours.height), (theirs.width, theirs.height), "{name}");
    let apart = ours.rgb.iter().zip(&theirs.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(apart <= 1, "{name}: a value is {apart} levels apart");
}

#[test]
fn content_references_are_pillows_to_one_level() {
    let mut compared = 0;
    for (name, entry) in index().images {
        // The resizer is judged on the reference's own pixels, also where we read the file otherwise.
        let source = if READ_UNLIKE_THE_REFERENCE.contains(&name.as_str()) {
            let stem = name.split('.').next().unwrap();
            image(fixture(&format!("preprocess/{stem}_decoded.png")))
        } else {
            input(&format!("inputs/{name}"))
        };
        for (content_size, prepared) in entry.preprocess {
            if prepared.size.0 == 0 || prepared.size.1 == 0 {
                let error = reference(&source, content_size).unwrap_err();
                assert!(matches!(error, Error::Request { parameter: "content_size", .. }), "{error}");
                continue;
            }
            let ours = reference(&source, content_size).unwrap();
            assert_eq!((ours.width, ours.height), prepared.size, "{name} at {content_size}");
            if let Some(file) = prepared.file {
                assert_within_one_level(&ours, &image(fixture(&format!("preprocess/{file}"))), &file);
                compared += 1;
            }
        }
    }
    assert!(compared >= 20, "only {compared} pictures were compared");
}

#[test]
fn bytes_become_the_processors_values_exactly() {
    let recorded =
        candle_core::safetensors::load(fixture("preprocess/siglip_lut.safetensors"), &Device::Cpu).unwrap();
    let theirs: Vec<f32> = recorded["pixel_value_of_byte"].to_vec1().unwrap();
    let normalisation = Normalisation::read(&tiny(), "siglip/preprocessor_config.json").unwrap();
    for channel in 0..3 {
        assert_eq!(normalisation.values(channel).as_slice(), theirs);
    }
}

#[test]
fn style_references_are_pillows_to_one_level() {
    let normalisation = Normalisation::read(&tiny(), "siglip/preprocessor_config.json").unwrap();
    let values = normalisation.values(0);
    for stem in ["gray", "landscape"] {
        let pixels = siglip(&input(&format!("inputs/{stem}.png")), 384, &normalisation);
        let byte = |value: f32| values.iter().position(|v| *v == value).unwrap() as u8;
        let plane = 384 * 384;
        let rgb = (0..plane).flat_map(|i| [0, 1, 2].map(|c| byte(pixels[c * plane + i]))).collect();
        let ours = Image { width: 384, height: 384, rgb };
        let file = format!("siglip384_{stem}.png");
        assert_within_one_level(&ours, &image(fixture(&format!("preprocess/{file}"))), &file);
    }
}

#[test]
fn kept_sizes_are_those_of_the_reference() {
    let table = index().keep_size_table;
    assert!(table.len() > 5);
    for row in table {
        let (width, height) = row.prepared;
        assert_eq!(keep_size(width, height, row.content_long_size, 1024), row.keep_size);
    }
}

#[test]
fn a_reference_of_one_cell_is_left_as_it_is() {
    let cell = Image { width: 16, height: 16, rgb: (0..768u32).map(|i| i as u8).collect() };
    assert_eq!(reference(&cell, 512).unwrap(), cell);
}
