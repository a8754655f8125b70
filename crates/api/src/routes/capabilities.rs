//! `GET /v1/capabilities`: what this fleet can do and allows.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::{
    Class, DEFAULT_QUALITY, Defaults, Durability, Format, GUIDANCE, KeyScope, LORA_WEIGHT, MAX_LORAS,
    MAX_METADATA, MAX_PROMPT, MAX_STYLES, QUALITY, SIDE, STEP_CACHE, STEPS, Scorer, State as JobState, TRIES,
    Window,
};
use uso_store::{PictureKind, WebReferences};

use crate::caller::Caller;
use crate::examples::Example;
use crate::openapi::operation::Operation;
use crate::problem::Problem;
use crate::shared::Shared;

/// What this fleet can do and allows.
#[derive(Serialize, JsonSchema)]
struct Capabilities {
    /// The version of the program.
    version: &'static str,
    /// The model's name.
    model: String,
    /// Whether a test engine makes the pictures.
    scripted: bool,
    /// What an accepted job survives: `fsync`, `everysec`, `none`, `replica:N` or `unknown`.
    durability: String,
    /// Whether a key is needed.
    #[schemars(extend("enum" = ["open", "keys"]))]
    auth: &'static str,
    /// Whose jobs the caller submits and sees.
    tenant: String,
    /// What the caller may do.
    scopes: Vec<KeyScope>,
    defaults: Parameters,
    limits: Bounds,
    /// Whether references may be web addresses.
    https_references: bool,
    /// Media types that references may have.
    upload_types: [&'static str; PictureKind::ALL.len()],
    /// Recommended widths and heights, the model's own first.
    sizes: Vec<[u32; 2]>,
    /// How urgent jobs may be.
    classes: [Class; 2],
    /// File formats of pictures.
    formats: [Format; Format::ALL.len()],
    /// States of jobs.
    states: [JobState; 6],
    /// Names of the LoRAs that jobs may use: each is at a running worker.
    loras: BTreeSet<String>,
    /// Scorers that jobs may ask for: each is at a running worker.
    scorers: BTreeSet<Scorer>,
    /// When jobs of the class `bulk` run; null at all times.
    bulk_window: Option<BulkWindow>,
    /// Examples to begin with.
    examples: Vec<Example>,
}

/// A part of each day, by the clocks of a place.
#[derive(Serialize, JsonSchema)]
struct BulkWindow {
    /// From this time on, for example `22:00:00`.
    opens: String,
    /// Until this time; on the next day, if it is before the opening.
    closes: String,
    /// The place's name in the IANA database.
    zone: String,
    /// Whether they run outside too, as long as no interactive work waits.
    fill: bool,
}

impl From<Window> for BulkWindow {
    fn from(window: Window) -> Self {
        let Window { opens, closes, zone, fill } = window;
        Self { opens: opens.to_string(), closes: closes.to_string(), zone, fill }
    }
}

/// Values of parameters that a request leaves out.
#[derive(Serialize, JsonSchema)]
struct Parameters {
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// Sampling steps.
    steps: u32,
    /// Guidance strength.
    guidance: f64,
    /// Longest side of the content reference in pixels.
    content_size: u32,
    /// Quality of a JPEG or WebP.
    quality: u8,
}

/// Limits of parameters: pairs are the smallest and the largest value.
#[derive(Serialize, JsonSchema)]
struct Bounds {
    /// Width in pixels.
    width: [i64; 2],
    /// Height in pixels.
    height: [i64; 2],
    /// Sampling steps.
    steps: [i64; 2],
    /// Guidance strength.
    guidance: [f64; 2],
    /// Longest side of the content reference in pixels.
    content_size: [i64; 2],
    /// Style references.
    styles: [usize; 2],
    /// LoRAs.
    loras: [usize; 2],
    /// Pictures that are sampled for a job with a quality gate.
    tries: [i64; 2],
    /// The weight of a LoRA.
    lora_weight: [f64; 2],
    /// Values of the step cache; the operator sets the largest, 0 for no step cache.
    step_cache: [f64; 2],
    /// Quality of a JPEG or WebP.
    quality: [i64; 2],
    /// Most characters of a prompt.
    prompt_chars: usize,
    /// Most bytes of metadata as JSON.
    metadata_bytes: usize,
    /// Most bytes of a reference.
    upload_bytes: u64,
    /// Pictures.
    images: [u32; 2],
}

pub(crate) fn show_operation() -> Operation {
    let operation = Operation::new("getCapabilities", "Get what this fleet can do and allows");
    operation.gives::<Capabilities>(StatusCode::OK, "What it can do.", &[])
}

pub(crate) async fn show(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Problem> {
    let config = &shared.config;
    let Defaults { width, height, content_size, steps, guidance, max_step_cache } = config.defaults;
    // Workers report whether they run a test engine.
    let workers = shared.queue.workers().await?;
    let scripted = config.scripted || workers.iter().any(|(_, _, report)| report.scripted);
    let scorers = workers.iter().flat_map(|(_, _, report)| report.scorers.iter().copied()).collect();
    let loras = workers.into_iter().flat_map(|(_, _, report)| report.loras).map(|lora| lora.name).collect();
    let body = Capabilities {
        version: env!("CARGO_PKG_VERSION"),
        model: config.model.clone(),
        scripted,
        durability: durability(shared.queue.durability()),
        auth: config.access.as_str(),
        tenant: caller.tenant,
        scopes: caller.scopes,
        defaults: Parameters { width, height, steps, guidance, content_size, quality: DEFAULT_QUALITY },
        limits: Bounds {
            width: ends(&SIDE),
            height: ends(&SIDE),
            steps: ends(&STEPS),
            guidance: ends(&GUIDANCE),
            content_size: ends(&SIDE),
            styles: [0, MAX_STYLES],
            loras: [0, MAX_LORAS],
            tries: ends(&TRIES),
            lora_weight: ends(&LORA_WEIGHT),
            step_cache: [*STEP_CACHE.start(), max_step_cache],
            quality: ends(&QUALITY),
            prompt_chars: MAX_PROMPT,
            metadata_bytes: MAX_METADATA,
            upload_bytes: shared.store.config().max_bytes,
            images: [1, 1],
        },
        https_references: shared.store.config().web != WebReferences::Off,
        upload_types: PictureKind::ALL.map(PictureKind::media_type),
        sizes: sizes(width, height),
        classes: Class::ALL,
        formats: Format::ALL,
        states: JobState::ALL,
        loras,
        scorers,
        bulk_window: shared.queue.window().await?.map(|view| view.window.into()),
        examples: config.examples.sets.clone(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

fn ends<T: Copy>(range: &RangeInclusive<T>) -> [T; 2] {
    [*range.start(), *range.end()]
}

/// The durability mode in one word.
fn durability(durability: Durability) -> String {
    match durability {
        Durability::Fsync => "fsync".into(),
        Durability::EverySecond => "everysec".into(),
        Durability::Volatile => "none".into(),
        Durability::Replicas(count) => format!("replica:{count}"),
        Durability::Unknown => "unknown".into(),
    }
}

/// Sizes to recommend: the model's own, and others of as many pixels. A small model has only its own.
fn sizes(width: u32, height: u32) -> Vec<[u32; 2]> {
    const SIDES: RangeInclusive<u32> = 512..=1536;
    const SHAPES: [(f64, f64); 6] =
        [(4.0, 3.0), (3.0, 4.0), (3.0, 2.0), (2.0, 3.0), (16.0, 9.0), (9.0, 16.0)];
    let mut sizes = vec![[width, height]];
    let pixels = f64::from(width) * f64::from(height);
    if width.min(height) < *SIDES.start() {
        return sizes;
    }
    for (wide, high) in SHAPES {
        let side = |part: f64, whole: f64| ((pixels * part / whole).sqrt() / 16.0).round() as u32 * 16;
        let size = [side(wide, high), side(high, wide)];
        if size.iter().all(|side| SIDES.contains(side)) && !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::sizes;

    #[test]
    fn a_real_model_has_many_sizes_of_about_as_many_pixels() {
        let sizes = sizes(1024, 1024);
        assert!(sizes.len() == 7 && sizes[0] == [1024, 1024], "{sizes:?}");
        for [width, height] in sizes {
            assert!(width % 16 == 0 && height % 16 == 0 && width.max(height) <= 1536);
            assert!((900_000..1_150_000).contains(&(width * height)), "{width}x{height}");
        }
    }

    #[test]
    fn a_small_model_has_its_own_size() {
        assert_eq!(sizes(64, 64), [[64, 64]]);
    }
}
