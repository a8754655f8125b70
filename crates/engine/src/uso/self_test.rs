//! Checks that this model on this device generates correct pictures.
//!
//! A model folder may hold the record of one picture: `self_test/request.json` with the fields of [`Recorded`], the
//! reference images that it names beside it, and `self_test/picture.png`, generated from that request by the PyTorch
//! reference or by a trusted engine. Without a record, the test checks products, styles, USO's LoRA and a step of the
//! largest picture instead.

mod fault;
mod lora;
mod unrecorded;

use serde::Deserialize;

use self::fault::fault;
use super::{Sample, Uso, autoencoder};
use crate::files::missing;
use crate::{DecodeLimits, Engine, Error, Image, ModelFiles, PositionShift, Reference, Request};

const REQUEST: &str = "self_test/request.json";
const PICTURE: &str = "self_test/picture.png";

/// On the CPU in float32, with nothing quantised: the largest difference of a value in levels, and the share of values
/// that may differ.
const LEVELS: u8 = 1;
const SHARE: f64 = 0.005;

/// On other devices and in other precisions: the largest mean difference of all values in levels, unless the record
/// sets another. The bundled model has 0.04 in float16 and 0.1 with weights rounded to bfloat16. With the rows of one
/// tensor scrambled it has 20 (a single block), 3 (either half of the autoencoder), 2 (T5) or 1 (the style projector).
const MEAN_LEVELS: f64 = 2.0;

/// A recorded request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    prompt: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    styles: Vec<String>,
    width: u32,
    height: u32,
    content_size: u32,
    steps: u32,
    guidance: f64,
    seed: u64,
    /// Largest mean difference in levels if the picture is not compared value by value.
    #[serde(default = "mean_levels")]
    mean_levels: f64,
}

fn mean_levels() -> f64 {
    MEAN_LEVELS
}

/// The recorded picture of a request.
struct Record {
    picture: Image,
    mean_levels: f64,
}

pub(super) fn run(uso: &mut Uso) -> Result<(), Error> {
    let files = uso.files.clone();
    let record = if files.contains(REQUEST) { Some(read(&files)?) } else { None };
    let (request, record) =
        record.map_or_else(|| (unrecorded::request(), None), |(request, record)| (request, Some(record)));
    if record.is_none() {
        unrecorded::run(uso)?;
    }
    let ours = generate(uso, &request)?;
    if ours.is_flat() {
        return Err(fault("the picture has one colour".into()));
    }
    record.map_or(Ok(()), |record| compare(&ours, &record, uso.is_exact)).map_err(fault)
}

fn read(files: &ModelFiles) -> Result<(Request, Record), Error> {
    let image = |path: &str| {
        let image = Image::decode(&files.read(path)?, &DecodeLimits::default());
        image.map_err(|error| missing(path, error.to_string()))
    };
    let reference = |name: &String| image(&format!("self_test/{name}")).map(Reference::from);
    let recorded: Recorded = files.read_json(REQUEST)?;
    let request = Request {
        content: recorded.content.as_ref().map(reference).transpose()?,
        styles: recorded.styles.iter().map(reference).collect::<Result<_, _>>()?,
        prompt: recorded.prompt,
        width: recorded.width,
        height: recorded.height,
        keep_size: false,
        content_size: recorded.content_size,
        steps: recorded.steps,
        guidance: recorded.guidance,
        seed: recorded.seed,
        position_shift: PositionShift::default(),
        loras: Vec::new(),
        step_cache: 0.0,
    };
    Ok((request, Record { picture: image(PICTURE)?, mean_levels: recorded.mean_levels }))
}

fn generate(uso: &mut Uso, request: &Request) -> Result<Image, Error> {
    let sample = sample(uso, request).map_err(|error| match error {
        Error::NotFinite { .. } => fault(error.to_string()),
        error => error,
    })?;
    let pixels = uso.pixels(&sample)?;
    if !super::is_finite(&pixels)? {
        return Err(fault("the latent is finite, but its pixels are not".into()));
    }
    Ok(autoencoder::to_image(&pixels)?)
}

/// The finished sample. It bypasses the cache, which would hide damaged weights.
fn sample(uso: &mut Uso, request: &Request) -> Result<Sample, Error> {
    let mut sample = unrecorded::past_the_cache(uso, |uso| uso.encode(request))?;
    while !sample.steps().is_done() {
        uso.step(&mut sample)?;
    }
    Ok(sample)
}

fn compare(ours: &Image, record: &Record, exact: bool) -> Result<(), String> {
    let theirs = &record.picture;
    if (ours.width, ours.height) != (theirs.width, theirs.height) {
        return Err(format!(
            "the picture has {}x{} pixels, the record {}x{}",
            ours.width, ours.height, theirs.width, theirs.height
        ));
    }
    let apart = || ours.rgb.iter().zip(&theirs.rgb).map(|(ours, theirs)| ours.abs_diff(*theirs));
    let values = ours.rgb.len() as f64;
    let largest = apart().max().unwrap_or(0);
    let share = apart().filter(|levels| *levels > 0).count() as f64 / values;
    let mean = apart().map(f64::from).sum::<f64>() / values;
    let same = if exact { largest <= LEVELS && share <= SHARE } else { mean <= record.mean_levels };
    if same {
        return Ok(());
    }
    Err(format!(
        "the picture is not the recorded one: {:.1} % of its values differ, by {mean:.1} levels on average and \
         {largest} at most",
        100.0 * share
    ))
}
