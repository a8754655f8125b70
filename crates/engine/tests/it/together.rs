//! Samples of one shape that are stepped together give the pictures that they give alone.

use candle_core::{DType, Device};
use uso_engine::plan::{Blocks, Keep, Placement};
use uso_engine::{Engine, Image, ModelFiles, Request, Sample, Setup, Tier, Uso};

use crate::engines::{generate, mini, request, scripted};
use crate::golden::{assert_same_picture, tiny};
use crate::mini::reference;

/// Requests of one shape: other prompts, references, strengths and seeds.
fn requests(count: u64) -> Vec<Request> {
    let prompts = ["a red star", "the heart is at the right on a sandy beach", ""];
    let styles = ["style_sketch.png", "content_star.png", "content_heart.png"];
    let one = |i: u64| Request {
        prompt: prompts[i as usize % 3].into(),
        styles: vec![reference(styles[i as usize % 3]).into()],
        guidance: 3.0 + i as f64,
        seed: 103 + i,
        ..request()
    };
    (0..count).map(one).collect()
}

/// The pictures of samples of which the second has done a step before, the third two, and so on.
fn together<E: Engine>(engine: &mut E, requests: &[Request]) -> Vec<Image> {
    let mut samples: Vec<E::Sample> = Vec::new();
    for (done, request) in requests.iter().enumerate() {
        let mut sample = engine.encode(request).unwrap();
        (0..done).for_each(|_| engine.step(&mut sample).unwrap());
        samples.push(sample);
    }
    while samples.iter().any(|sample| !engine.steps(sample).is_done()) {
        let before: Vec<_> = samples.iter().map(|sample| engine.steps(sample)).collect();
        let mut all: Vec<&mut E::Sample> = samples.iter_mut().collect();
        let ends = engine.step_together(&mut all).unwrap();
        assert!(ends.len() == requests.len() && ends.iter().all(Result::is_ok));
        for (sample, before) in samples.iter().zip(before) {
            let step = u32::from(!before.is_done());
            assert_eq!(engine.steps(sample).done, before.done + step, "one step, or none if it is done");
        }
    }
    samples.iter().map(|sample| engine.decode(sample).unwrap()).collect()
}

fn assert_as_alone(uso: &mut Uso, requests: &[Request], case: &str) {
    let shapes: Vec<_> = requests.iter().map(|request| uso.shape(request)).collect();
    assert!(shapes[0].is_some() && shapes.iter().all(|shape| *shape == shapes[0]), "{case}");
    let alone: Vec<Image> = requests
        .iter()
        .map(|request| {
            let sample = uso.encode(request).unwrap();
            generate(uso, sample).unwrap()
        })
        .collect();
    assert!(alone.windows(2).all(|pair| pair[0] != pair[1]), "{case}: the pictures do not differ");
    for (i, picture) in together(uso, requests).iter().enumerate() {
        assert_same_picture(picture, &alone[i].rgb, &format!("{case}, sample {i} of {}", requests.len()));
    }
}

fn load(files: &ModelFiles, dtype: DType, placement: Placement) -> Uso {
    Uso::load_with(files, &Setup { placement, ..Setup::new(Device::Cpu, dtype) }).unwrap()
}

#[test]
fn two_and_three_give_the_pictures_that_they_give_alone() {
    for count in [2, 3] {
        assert_as_alone(&mut mini(), &requests(count), "float32");
        assert_as_alone(&mut load(&tiny(), DType::F32, Placement::default()), &requests(count), "tiny");
    }
}

#[test]
fn so_they_do_in_half_precision_and_in_tiers() {
    // The processor multiplies no bfloat16.
    assert_as_alone(&mut load(&tiny(), DType::F16, Placement::default()), &requests(2), "float16");
    for tier in ["fp8", "q8_0"] {
        let keep = Keep::Tier(tier.parse::<Tier>().unwrap());
        let placement = Placement { keep, ..Placement::default() };
        // More tokens than a product takes as they are, but not in one sample.
        let mut uso = load(&ModelFiles::Bundled, DType::F32, placement);
        assert_as_alone(&mut uso, &requests(3), tier);
    }
}

#[test]
fn so_they_do_with_streamed_blocks_and_other_sizes() {
    let placement = Placement { blocks: Blocks::Streamed, ..Placement::default() };
    let mut uso = load(&ModelFiles::Bundled, DType::F32, placement);
    assert_as_alone(&mut uso, &requests(2), "streamed");
    let plain = |request| Request { content: None, styles: Vec::new(), width: 96, height: 80, ..request };
    assert_as_alone(&mut uso, &requests(3).into_iter().map(plain).collect::<Vec<_>>(), "no references");
}

#[test]
fn a_sample_that_was_set_aside_comes_back_for_a_step_together() {
    let mut uso = mini();
    let requests = requests(2);
    let mut samples: Vec<Sample> = requests.iter().map(|request| uso.encode(request).unwrap()).collect();
    uso.set_aside(&mut samples[0]).unwrap();
    let [one, other] = &mut samples[..] else { panic!("there are two") };
    uso.step_together(&mut [one, other]).unwrap();
    let mut alone = uso.encode(&requests[0]).unwrap();
    uso.step(&mut alone).unwrap();
    let [ours, theirs] = [&samples[0], &alone].map(|sample| uso.decode(sample).unwrap());
    assert_same_picture(&ours, &theirs.rgb, "after a step");
}

#[test]
fn only_equal_shapes_go_together() {
    let uso = mini();
    let shape = uso.shape(&request()).unwrap();
    let same = Request { prompt: "another".into(), seed: 7, steps: 9, guidance: 2.0, ..request() };
    assert_eq!(uso.shape(&same), Some(shape.clone()));
    let others = [
        Request { width: 80, ..request() },
        Request { height: 80, ..request() },
        Request { content: None, ..request() },
        Request { content_size: 32, ..request() },
        Request { styles: Vec::new(), ..request() },
    ];
    for (i, other) in others.iter().enumerate() {
        assert_ne!(uso.shape(other), Some(shape.clone()), "request {i}");
    }
    assert_eq!(uso.shape(&Request { step_cache: 0.1, ..request() }), None, "it skips blocks when it likes");
    assert_eq!(scripted("").shape(&request()), None);
}

#[test]
fn samples_of_different_shapes_are_stepped_one_after_another() {
    let mut uso = mini();
    let requests = [request(), Request { width: 80, ..request() }];
    let alone = requests.clone().map(|request| {
        let sample = uso.encode(&request).unwrap();
        generate(&mut uso, sample).unwrap()
    });
    let pictures = together(&mut uso, &requests);
    assert!(pictures == alone);
}

#[test]
fn more_samples_take_more_memory() {
    let uso = mini();
    let working = |request: &Request, samples| uso.together(request, samples).working;
    let large = Request { width: 1024, height: 1024, ..request() };
    let alone = uso.footprint(&large).working;
    // Encoding and decoding, one sample at a time, take more than the steps of a few.
    let of = [1, 2, 64, 512].map(|samples| working(&large, samples));
    assert!(
        of[0] == alone && of.windows(2).all(|pair| pair[0] <= pair[1]) && of[0] < of[3],
        "{alone} alone, {of:?}"
    );
    assert!(of[3] < 512 * of[0], "attention is one sample's at a time: {of:?}");
    let small = Request { content: None, styles: Vec::new(), ..large };
    assert!(working(&small, 512) < of[3]);
}

#[test]
fn a_script_says_what_a_step_together_takes() {
    let mut engine = scripted("step=10ms,joint=0.5,working=1M");
    let large = Request { width: 1024, height: 1024, ..request() };
    let step = engine.together(&large, 3);
    assert_eq!((step.working, step.expected.unwrap().as_millis()), (3 << 20, 20));
    let requests = requests(3);
    let alone: Vec<_> = requests.iter().map(|request| engine.encode(request).unwrap()).collect();
    let alone: Vec<_> = alone.into_iter().map(|sample| generate(&mut engine, sample).unwrap()).collect();
    assert_eq!(together(&mut engine, &requests), alone);
}

#[test]
fn in_a_script_what_fails_fails_alone() {
    let mut engine = scripted("joint=0.5,oom=0.5");
    let mut failed = 0;
    for seed in 0..20 {
        let requests = [request(), Request { seed, ..request() }];
        let mut samples = requests.clone().map(|request| engine.encode(&request).unwrap());
        let mut ends = [true; 2];
        for _ in 0..6 {
            let mut all: Vec<_> = samples.iter_mut().collect();
            for (end, step) in ends.iter_mut().zip(engine.step_together(&mut all).unwrap()) {
                *end &= step.is_ok();
            }
        }
        for (sample, is_well) in samples.iter().zip(ends) {
            assert_eq!(engine.steps(sample).is_done(), is_well, "seed {seed}");
        }
        failed += usize::from(ends[0] != ends[1]);
    }
    assert!(failed > 3, "{failed} of 20 pairs");
}
