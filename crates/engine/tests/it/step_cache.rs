//! Steps of which only the first block is computed: off unless asked for, and never the first or the last one.

use std::collections::BTreeSet;

use candle_core::{DType, Device};
use uso_engine::plan::{Blocks, Placement};
use uso_engine::{Engine, Error, Footprint, ModelFiles, Request, Setup, Uso};

use crate::engines::{mini, request};
use crate::formats::distance;
use crate::golden::values;

/// So many steps are near each other.
const STEPS: u32 = 25;

fn asking(steps: u32, step_cache: f64) -> Request {
    Request { steps, step_cache, ..request() }
}

/// Skipped steps after each step, and the latent after the last.
fn steps(uso: &mut Uso, request: &Request) -> (Vec<u32>, Vec<f64>) {
    let mut sample = uso.encode(request).unwrap();
    let mut skipped = Vec::new();
    while !sample.steps().is_done() {
        uso.step(&mut sample).unwrap();
        skipped.push(uso.skipped_steps(&sample));
    }
    (skipped, values(&sample.latent().unwrap()))
}

#[test]
fn the_first_step_and_the_last_one_are_always_whole() {
    let mut uso = mini();
    assert_eq!(steps(&mut uso, &asking(6, 1.0)).0, [0, 1, 2, 3, 4, 4]);
    for few in [1, 2] {
        let [with, without] = [1.0, 0.0].map(|step_cache| steps(&mut uso, &asking(few, step_cache)));
        assert_eq!(with, without, "{few} steps");
    }
}

#[test]
fn the_more_is_skipped_the_further_the_picture_is_from_the_whole_one() {
    let mut uso = mini();
    let whole = steps(&mut uso, &asking(STEPS, 0.0)).1;
    let of = |uso: &mut Uso, step_cache| {
        let (skipped, latent) = steps(uso, &asking(STEPS, step_cache));
        (skipped[STEPS as usize - 1], distance(&latent, &whole))
    };
    assert_eq!(of(&mut uso, 1e-6), (0, 0.0), "with nothing skipped it is another picture");
    let [(some, near), (most, far)] = [0.1, 0.3].map(|step_cache| of(&mut uso, step_cache));
    assert!((5..20).contains(&some) && some < most, "{some} and {most} steps");
    assert!(0.0 < near && near < 0.03 && near < far && far < 0.1, "{near} and {far}");
}

#[test]
fn blocks_that_are_streamed_give_the_same() {
    let placement = Placement { blocks: Blocks::Streamed, ..Placement::default() };
    let setup = Setup { placement, ..Setup::new(Device::Cpu, DType::F32) };
    let mut streamed = Uso::load_with(&ModelFiles::Bundled, &setup).unwrap();
    let request = asking(STEPS, 0.1);
    let (skipped, latent) = steps(&mut mini(), &request);
    assert!(skipped.last() > Some(&0));
    assert_eq!(steps(&mut streamed, &request), (skipped, latent));
}

#[test]
fn a_sample_that_was_set_aside_goes_on_with_what_it_kept() {
    let mut uso = mini();
    let request = asking(STEPS, 0.1);
    let whole = steps(&mut uso, &request);
    let mut sample = uso.encode(&request).unwrap();
    let mut skipped = Vec::new();
    while !sample.steps().is_done() {
        uso.set_aside(&mut sample).unwrap();
        uso.step(&mut sample).unwrap();
        skipped.push(sample.skipped_steps());
    }
    assert_eq!((skipped, values(&sample.latent().unwrap())), whole);
}

#[test]
fn the_step_after_an_interruption_is_whole() {
    let mut uso = mini();
    let request = asking(6, 1.0);
    let mut sample = uso.encode(&request).unwrap();
    (0..3).for_each(|_| uso.step(&mut sample).unwrap());
    let mut resumed = uso.resume(&request, &uso.checkpoint(&sample).unwrap()).unwrap();
    let mut skipped = Vec::new();
    while !resumed.steps().is_done() {
        uso.step(&mut resumed).unwrap();
        skipped.push(resumed.skipped_steps());
    }
    assert_eq!(skipped, [0, 1, 1]);
}

#[test]
fn what_is_kept_counts_in_the_footprint() {
    let uso = mini();
    let of = |width, step_cache| uso.footprint(&Request { width, ..asking(6, step_cache) });
    let (plain, with) = (of(64, 0.0), of(64, 0.1));
    // What the first block and all others added to 4x4 tokens.
    let hidden = uso_engine::ModelConfig::read(&ModelFiles::Bundled).unwrap().flux.hidden_size;
    let bytes = 2 * 16 * hidden * size_of::<f32>();
    assert_eq!(with, Footprint { kept: plain.kept + bytes as u64, ..plain });
    assert_eq!(of(128, 0.1).kept - of(128, 0.0).kept, 2 * bytes as u64);
    assert_eq!(of(64, 1.0), with);
}

#[test]
fn requests_without_one_keep_their_digest() {
    let digests: BTreeSet<String> =
        [0.0, -0.0, 0.1, 0.2].map(|step_cache| asking(6, step_cache).digest()).into();
    assert_eq!(digests.len(), 3);
    let plain = Request { content: None, styles: Vec::new(), ..asking(6, 0.0) };
    // The same as before step caches existed.
    assert_eq!(plain.digest(), "f62e0b129266440390db6e1d68ce26497a8dbe9256caccd2387f953f46014637");
}

#[test]
fn what_is_no_share_is_refused() {
    let mut uso = mini();
    for step_cache in [f64::NAN, f64::INFINITY, -0.01, 1.01] {
        let Err(error) = uso.encode(&asking(6, step_cache)) else { panic!("{step_cache} was taken") };
        assert!(matches!(error, Error::Request { parameter: "step_cache", .. }), "{error}");
        assert!(error.to_string().contains("is not within 0 to 1"), "{error}");
    }
}
