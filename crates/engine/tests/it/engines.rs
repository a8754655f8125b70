//! Rules for every engine: interrupting a picture and resuming it does not change it.

use candle_core::{DType, Device};
use uso_engine::{Engine, Error, Image, ModelFiles, PositionShift, Request, Scripted, Steps, Uso};

use crate::golden::{image, tiny};

pub(crate) fn mini() -> Uso {
    Uso::load(&ModelFiles::Bundled, &Device::Cpu, DType::F32).unwrap()
}

pub(crate) fn scripted(script: &str) -> Scripted {
    Scripted::new(script.parse().unwrap())
}

pub(crate) fn request() -> Request {
    let example = |name: &str| image(format!("assets/mini/examples/{name}").into());
    Request {
        prompt: "the heart is at the right on a sandy beach".into(),
        content: Some(example("content_heart.png").into()),
        styles: vec![example("style_sketch.png").into()],
        width: 64,
        height: 64,
        keep_size: false,
        content_size: 64,
        steps: 6,
        guidance: 4.0,
        seed: 103,
        position_shift: PositionShift::default(),
        loras: Vec::new(),
        step_cache: 0.0,
    }
}

pub(crate) fn generate<E: Engine>(engine: &mut E, mut sample: E::Sample) -> Result<Image, Error> {
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
        assert!(generate(second, sample).unwrap() == whole, "another picture after step {step}");
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

/// Sets a picture aside before each of its steps, and before it is decoded.
fn is_the_same_after_it_was_set_aside<E: Engine>(engine: &mut E) {
    let plain = engine.encode(&request()).unwrap();
    let plain = generate(engine, plain).unwrap();
    let mut sample = engine.encode(&request()).unwrap();
    while !engine.steps(&sample).is_done() {
        engine.set_aside(&mut sample).unwrap();
        engine.set_aside(&mut sample).unwrap();
        engine.step(&mut sample).unwrap();
    }
    engine.set_aside(&mut sample).unwrap();
    assert!(engine.decode(&sample).unwrap() == plain);
}

#[test]
fn a_picture_that_was_set_aside_is_the_same() {
    is_the_same_after_it_was_set_aside(&mut mini());
    is_the_same_after_it_was_set_aside(&mut scripted(""));
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
    let mut style = image("assets/mini/examples/style_sketch.png".into());
    style.rgb[0] ^= 1;
    other.styles[0] = style.into();
    let others = [
        Request { prompt: "another".into(), ..request() },
        Request { seed: 104, ..request() },
        Request { guidance: 4.5, ..request() },
        Request { content: None, styles: request().content.into_iter().collect(), ..request() },
        other,
    ];
    assert!(others.iter().all(|other| other.digest() != digest));
}
