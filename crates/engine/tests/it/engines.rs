//! What holds of every engine: half-drawn pictures go on as if nothing had happened.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Device};
use uso_engine::{Engine, Error, Image, ModelFiles, PositionShift, Request, Script, Scripted, Steps, Uso};

use crate::golden::{image, tiny};

fn mini() -> Uso {
    Uso::load(&ModelFiles::Bundled, &Device::Cpu, DType::F32).unwrap()
}

fn scripted(script: &str) -> Scripted {
    Scripted::new(script.parse().unwrap())
}

fn request() -> Request {
    let example = |name: &str| image(format!("assets/mini/examples/{name}").into());
    Request {
        prompt: "the heart is at the right on a sandy beach".into(),
        content: Some(example("content_heart.png")),
        styles: vec![example("style_sketch.png")],
        width: 64,
        height: 64,
        keep_size: false,
        content_size: 64,
        steps: 6,
        guidance: 4.0,
        seed: 103,
        position_shift: PositionShift::default(),
    }
}

fn draw<E: Engine>(engine: &mut E, mut sample: E::Sample) -> Result<Image, Error> {
    while !engine.steps(&sample).is_done() {
        engine.step(&mut sample)?;
    }
    engine.decode(&sample)
}

/// Interrupts a picture after each of its steps; another engine finishes it.
fn goes_on_from_every_step<E: Engine>(first: &mut E, second: &mut E) {
    let request = request();
    let mut sample = first.encode(&request).unwrap();
    let mut checkpoints = vec![first.checkpoint(&sample).unwrap()];
    while !first.steps(&sample).is_done() {
        first.step(&mut sample).unwrap();
        checkpoints.push(first.checkpoint(&sample).unwrap());
    }
    let whole = first.decode(&sample).unwrap();
    assert_eq!(checkpoints.len(), 7);
    for (step, checkpoint) in checkpoints.iter().enumerate() {
        let sample = second.resume(&request, checkpoint).unwrap();
        assert_eq!(second.steps(&sample), Steps { done: step as u32, of: 6 });
        assert!(draw(second, sample).unwrap() == whole, "another picture after step {step}");
    }
    assert_eq!(first.fingerprint(), second.fingerprint());
}

#[test]
fn a_picture_goes_on_from_a_checkpoint_to_the_same_bytes() {
    goes_on_from_every_step(&mut mini(), &mut mini());
}

#[test]
fn so_does_a_scripted_one() {
    goes_on_from_every_step(&mut scripted(""), &mut scripted("seed=7"));
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused() {
    let mut uso = mini();
    let sample = uso.encode(&request()).unwrap();
    let checkpoint = uso.checkpoint(&sample).unwrap();
    let larger = Request { width: 80, ..request() };
    let longer = Request { steps: 7, ..request() };
    let mut broken = checkpoint.clone();
    broken[16..20].copy_from_slice(&f32::NAN.to_le_bytes());
    for (request, bytes) in
        [(larger, &checkpoint), (longer, &checkpoint), (request(), &broken), (request(), &Vec::new())]
    {
        assert!(matches!(uso.resume(&request, bytes), Err(Error::Checkpoint(_))));
    }
}

#[test]
fn fingerprints_tell_models_and_precisions_apart() {
    let fingerprint =
        |files: &ModelFiles, dtype| Uso::load(files, &Device::Cpu, dtype).unwrap().fingerprint().to_owned();
    let mini = fingerprint(&ModelFiles::Bundled, DType::F32);
    assert_eq!(mini, fingerprint(&ModelFiles::Bundled, DType::F32));
    assert_ne!(mini, fingerprint(&tiny(), DType::F32));
    assert_ne!(mini, fingerprint(&ModelFiles::Bundled, DType::BF16));
}

#[test]
fn requests_that_ask_for_anything_else_have_another_digest() {
    let digest = request().digest();
    assert_eq!(digest, request().digest());
    let mut other = request();
    other.styles[0].rgb[0] ^= 1;
    let others = [
        Request { prompt: "another".into(), ..request() },
        Request { seed: 104, ..request() },
        Request { guidance: 4.5, ..request() },
        Request { content: None, styles: request().content.into_iter().collect(), ..request() },
        other,
    ];
    assert!(others.iter().all(|other| other.digest() != digest));
}

#[test]
fn a_script_decides_what_fails_and_a_second_try_may_succeed() {
    let mut engine = scripted("fail=0.5,seed=1");
    let drawn = (0..200).map(|_| {
        let sample = engine.encode(&request()).unwrap();
        draw(&mut engine, sample)
    });
    let drawn: Vec<_> = drawn.collect();
    let failed = drawn.iter().filter(|drawn| matches!(drawn, Err(Error::Scripted))).count();
    assert!((60..140).contains(&failed), "{failed} of 200 failed");
    let mut pictures = drawn.iter().flatten();
    let first = pictures.next().unwrap();
    assert!(pictures.all(|picture| picture == first), "one request, several pictures");
    let other = Request { seed: 1, ..request() };
    let sample = engine.encode(&other).unwrap();
    assert_ne!(&engine.decode(&sample).unwrap(), first);

    let mut engine = scripted("panic=1");
    let sample = engine.encode(&request()).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| draw(&mut engine, sample))).is_err());
}

#[test]
fn a_script_that_makes_no_sense_is_refused_by_word() {
    for text in ["step=40", "step=4h", "fail=2", "size=1", "pace=1ms", "step"] {
        let error = format!("encode=1ms,{text}").parse::<Script>().unwrap_err().to_string();
        assert!(error.contains(&format!("{text:?}")), "{error}");
    }
}
