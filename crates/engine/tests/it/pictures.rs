//! Pictures made with the tools of libjpeg, libpng and libwebp, against Pillow's reading of them, and what is kept of a
//! reference. `fixtures/pictures/make.py` made them.

use std::collections::BTreeMap;

use serde::Deserialize;
use uso_engine::{DecodeLimits, Error, Image, Preparation, Purpose, Reference, Request, preprocess};

use crate::engines::{mini, request};
use crate::golden::{fixture, image};

#[derive(Deserialize)]
struct Index {
    files: BTreeMap<String, Recorded>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Recorded {
    /// The file that shows the same.
    Expected(String),
    /// What Pillow says.
    Refused(String),
}

/// What Pillow reads and `ops/docs/api.md` says is refused, and how.
const REFUSED: [(&str, &str); 5] = [
    ("arithmetic.jpg", "not supported: JPEG with arithmetic coding"),
    ("arithmetic_progressive.jpg", "not supported: JPEG with arithmetic coding"),
    ("half_refined.jpg", "not supported: progressive JPEG that leaves coefficients open"),
    ("only_first.jpg", "not supported: progressive JPEG that leaves coefficients open"),
    ("zeros_40.png", "the file is damaged: CRC error"),
];

fn index() -> BTreeMap<String, Recorded> {
    let index = std::fs::read(fixture("pictures/index.json")).unwrap();
    serde_json::from_slice::<Index>(&index).unwrap().files
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("pictures/files/{name}"))).unwrap()
}

fn decoded(name: &str) -> Result<Image, String> {
    match Image::decode(&file(name), &DecodeLimits::default()) {
        Ok(image) => Ok(image),
        Err(Error::Image(reason)) => Err(reason),
        Err(other) => panic!("{name}: {other}"),
    }
}

#[test]
fn every_file_is_read_as_pillow_reads_it_or_refused() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (name, recorded) in index() {
        let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
        match (decoded(&name), recorded, refused) {
            (Err(reason), _, Some((_, expected))) if reason.starts_with(expected) => {}
            (Err(_), Recorded::Refused(_), None) => {}
            (Ok(ours), Recorded::Expected(theirs), None) => {
                let theirs = image(fixture(&format!("pictures/expected/{theirs}")));
                let apart = ours.rgb.iter().zip(&theirs.rgb).map(|(a, b)| a.abs_diff(*b)).max();
                if (ours.width, ours.height) != (theirs.width, theirs.height) || apart > Some(1) {
                    wrong.push(format!("{name}: {apart:?} levels apart"));
                }
                compared += 1;
            }
            (Ok(_), Recorded::Refused(theirs), _) => wrong.push(format!("{name}: Pillow says: {theirs}")),
            (ours, ..) => wrong.push(format!("{name}: {:?}", ours.map(|image| (image.width, image.height)))),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared >= 200, "only {compared} files were compared");
}

#[test]
fn a_file_that_is_cut_off_or_filled_with_zeros_ends_early() {
    for name in index().into_keys() {
        let is_cut = ["cut_", "no_end_", "zeros_"].iter().any(|cut| name.starts_with(cut));
        if is_cut && !name.ends_with(".png") {
            assert_eq!(decoded(&name).unwrap_err(), "the file ends early", "{name}");
        }
    }
}

#[test]
fn no_part_of_a_file_and_no_wrong_byte_does_harm() {
    let whole = [
        "progressive_2x2.jpg",
        "one_by_one_restarts_2x2.jpg",
        "cmyk.jpg",
        "orientation_6.png",
        "animation_part.webp",
    ];
    for name in whole {
        let bytes = file(name);
        for end in (0..bytes.len()).step_by(7) {
            let _ = Image::decode(&bytes[..end], &DecodeLimits::default());
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << (at % 8);
            let few = DecodeLimits { max_pixels: 100_000, ..DecodeLimits::default() };
            let _ = Image::decode(&wrong, &few);
        }
    }
}

fn prepared(bytes: &[u8], purpose: Purpose) -> Reference {
    Preparation::new(bytes, purpose, &DecodeLimits::default()).unwrap().run().unwrap()
}

#[test]
fn a_prepared_reference_is_known_by_the_whole_picture() {
    let purposes = [Purpose::Content { content_size: 32 }, Purpose::Style { side: 24 }];
    for name in ["orientation_6.jpg", "rgba_interlaced.png", "lossy.webp"] {
        let whole = Reference::from(decoded(name).unwrap());
        for purpose in purposes {
            let part = prepared(&file(name), purpose);
            assert_eq!(part.digest(), whole.digest(), "{name}");
            assert_eq!((part.width(), part.height()), (whole.width(), whole.height()));
            assert!(part.bytes() <= 3 * 32 * 32, "{name}: {} bytes are kept", part.bytes());
        }
    }
}

#[test]
fn a_prepared_reference_gives_the_picture_of_the_whole_one() {
    use uso_engine::Engine as _;
    let bytes = std::fs::read("assets/mini/examples/content_heart.png").unwrap();
    let whole = Request { content_size: 48, ..request() };
    let side = mini().style_side();
    let part = Request {
        content: Some(prepared(&bytes, Purpose::Content { content_size: 48 })),
        styles: vec![prepared(&bytes, Purpose::Style { side })],
        ..whole.clone()
    };
    let heart = Reference::from(Image::decode(&bytes, &DecodeLimits::default()).unwrap());
    let whole = Request { content: Some(heart.clone()), styles: vec![heart], ..whole };
    assert_eq!(part.digest(), whole.digest(), "checkpoints of either go on");
    let [ours, theirs] = [part, whole].map(|request| {
        let mut uso = mini();
        let mut sample = uso.encode(&request).unwrap();
        uso.step(&mut sample).unwrap();
        uso.decode(&sample).unwrap()
    });
    assert_eq!(ours, theirs);
}

#[test]
fn a_reference_is_used_only_for_what_it_was_prepared_for() {
    use uso_engine::Engine as _;
    let style = prepared(&file("rgb.png"), Purpose::Style { side: 7 });
    let wrong = Request { styles: vec![style], ..request() };
    assert!(matches!(mini().encode(&wrong), Err(Error::Image(_))));
}

#[test]
fn a_narrow_reference_is_refused_before_it_is_decoded() {
    let narrow = Image { width: 300, height: 10, rgb: vec![0; 9000] }.to_png(&[]).unwrap();
    let purpose = Purpose::Content { content_size: 64 };
    let refused = Preparation::new(&narrow, purpose, &DecodeLimits::default()).err();
    assert!(matches!(refused, Some(Error::Request { parameter: "content_size", .. })), "{refused:?}");
    let decoded = Image::decode(&narrow, &DecodeLimits::default()).unwrap();
    assert!(preprocess::reference(&decoded, 64).is_err());
}
