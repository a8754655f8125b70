//! The self-test of a model without a recorded picture.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use super::fault::fault;
use super::lora;
use crate::matrix::{Activations, Linear, Matrix};
use crate::noise::normal;
use crate::plan::Picture;
use crate::uso::{Sample, Uso, is_finite};
use crate::{Engine, Error, Image, PositionShift, Reference, Request, pool};

/// Sampling steps and side in pixels of the picture that is generated completely.
const STEPS: u32 = 2;
const SIDE: u32 = 64;

/// Longest expected time in seconds of a step to try: a worker must start within minutes, even on a processor.
const LONGEST_STEP: f64 = 30.0;

/// Largest relative L2 distance of products from float32: with rounding to the compute type, and with activations
/// rounded to eight bits.
const EXACT: f64 = 2e-2;
const ROUNDED: f64 = 6e-2;

/// Least relative change of the prediction by a style.
const LEAST_CHANGE: f64 = 1e-5;

/// A request that uses every part of a model.
pub(super) fn request() -> Request {
    wanted(&Picture { width: SIDE, height: SIDE, content: Some((SIDE, SIDE)), styles: 1, steps: STEPS })
}

fn wanted(picture: &Picture) -> Request {
    let style = |i: u32| checked(SIDE, SIDE, [20, 60, 200], [240, 200, 40 + 50 * i as u8]);
    Request {
        prompt: "a red circle on a green field".into(),
        content: picture.content.map(|(width, height)| checked(width, height, [255; 3], [200, 30, 30])),
        styles: (0..picture.styles).map(style).collect(),
        width: picture.width,
        height: picture.height,
        keep_size: false,
        content_size: picture.content.map_or(SIDE, |(width, height)| width.max(height)),
        steps: picture.steps,
        guidance: 4.0,
        seed: 0,
        position_shift: PositionShift::default(),
        loras: Vec::new(),
        step_cache: 0.0,
    }
}

/// A checkerboard of two colours.
fn checked(width: u32, height: u32, even: [u8; 3], odd: [u8; 3]) -> Reference {
    let colour = |i: u32| if (i % width / 8 + i / width / 8).is_multiple_of(2) { even } else { odd };
    Reference::from(Image { width, height, rgb: (0..width * height).flat_map(colour).collect() })
}

/// All checks except the picture that is generated completely.
///
/// # Errors
/// [`Error::SelfTest`] says what is wrong.
pub(super) fn run(uso: &mut Uso) -> Result<(), Error> {
    products(uso)?;
    style_counts(uso)?;
    lora::counts(uso)?;
    largest_step(uso)
}

/// Checks that each kind of matrix gives the same products as its dequantised numbers.
fn products(uso: &Uso) -> Result<(), Error> {
    const TOKENS: [usize; 2] = [3, 40];
    let mut kinds: BTreeMap<String, Linear> = BTreeMap::new();
    for linear in uso.flux.some_linears()? {
        kinds.entry(linear.matrix().stored().to_string()).or_insert(linear);
    }
    for (kind, linear) in kinds {
        let matrix = linear.matrix();
        for tokens in TOKENS {
            let apart = apart_from_dense(matrix, tokens, uso.dtype)?;
            let limit = if matrix.activations() == Activations::Exact { EXACT } else { ROUNDED };
            if apart.is_nan() || apart > limit {
                return Err(fault(format!(
                    "a product with a matrix of {kind} is {apart:.1e} from the one with its numbers in float32, more than \
                     {limit:.0e}"
                )));
            }
        }
    }
    Ok(())
}

fn apart_from_dense(matrix: &Matrix, tokens: usize, dtype: DType) -> Result<f64, Error> {
    let (rows, columns) = matrix.shape();
    let x = Tensor::from_vec(normal(11, tokens * columns), (tokens, columns), &Device::Cpu)?;
    let x = x.to_dtype(dtype)?.to_device(&matrix.device())?;
    let ours = matrix.forward(&x)?.to_dtype(DType::F32)?;
    let theirs = x.to_dtype(DType::F32)?.matmul(&matrix.dequantise(DType::F32)?.t()?)?;
    debug_assert_eq!(ours.dims(), [tokens, rows]);
    distance(&ours, &theirs)
}

/// Checks that a style changes the prediction. Otherwise its projector or encoder was loaded wrongly.
fn style_counts(uso: &mut Uso) -> Result<(), Error> {
    let with = request();
    let without = Request { styles: Vec::new(), ..with.clone() };
    let mut velocity = |request: &Request| -> Result<Tensor, Error> {
        let sample = past_the_cache(uso, |uso| uso.encode(request))?;
        uso.velocity(&sample)
    };
    let change = distance(&velocity(&with)?, &velocity(&without)?)?;
    if change.is_nan() || change < LEAST_CHANGE {
        return Err(fault(format!("a style reference changes the prediction by {change:.1e} of it alone")));
    }
    Ok(())
}

/// Runs one step of the plan's largest picture, unless that takes minutes.
fn largest_step(uso: &mut Uso) -> Result<(), Error> {
    let Some(picture) = uso.plan.as_ref().map(|plan| plan.largest) else { return Ok(()) };
    let request =
        Request { prompt: "a large picture".into(), ..wanted(&Picture { steps: STEPS, ..picture }) };
    let expected = uso.expected(&request);
    if expected.is_none_or(|expected| expected.as_secs_f64() > LONGEST_STEP) {
        return Ok(());
    }
    let footprint = uso.footprint_of(&request);
    pool::forget_peak(&uso.device)?;
    let resident = pool::used(&uso.device)?;
    let mut sample = past_the_cache(uso, |uso| uso.encode(&request))?;
    uso.step(&mut sample)?;
    let begun = Instant::now();
    uso.step(&mut sample)?;
    let took = begun.elapsed();
    let decoded = uso.pixels(&sample)?;
    if !is_finite(&decoded)? {
        return Err(fault(format!("pixels are not finite at {}x{}", picture.width, picture.height)));
    }
    let peak = pool::peak(&uso.device)?.zip(resident).map(|(peak, resident)| peak.saturating_sub(resident));
    tracing::info!(
        width = picture.width,
        height = picture.height,
        step_ms = took.as_millis() as u64,
        planned_step_ms = expected.map(|expected| expected.as_millis() as u64),
        peak_bytes = peak,
        planned_peak_bytes = footprint.alone(),
        "the largest picture of the plan"
    );
    if let Some(peak) = peak.filter(|peak| *peak > footprint.alone()) {
        tracing::warn!(
            peak,
            planned = footprint.alone(),
            "the largest picture takes more memory than planned: plan with a larger --vram-reserve"
        );
    }
    Ok(())
}

/// Runs without the cache, which would hide damaged weights.
pub(super) fn past_the_cache(
    uso: &mut Uso,
    encode: impl FnOnce(&mut Uso) -> Result<Sample, Error>,
) -> Result<Sample, Error> {
    let features = std::mem::replace(&mut uso.features, crate::cache::Cache::new(0));
    let sample = encode(uso);
    uso.features = features;
    sample
}

/// Relative L2 distance.
fn distance(ours: &Tensor, theirs: &Tensor) -> Result<f64, Error> {
    let norm = |tensor: &Tensor| -> Result<f64, Error> {
        Ok(f64::from(tensor.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
    };
    Ok(norm(&(ours - theirs)?)? / norm(theirs)?)
}
