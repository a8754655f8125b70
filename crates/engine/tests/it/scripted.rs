//! The scripted engine does what its script says.

use std::panic::{AssertUnwindSafe, catch_unwind};

use uso_engine::{CacheCounts, Engine, Error, Footprint, Image, Request, Script, Scripted};

use crate::engines::{generate, request, scripted};

#[test]
fn a_script_decides_what_fails_and_a_second_try_may_succeed() {
    let mut engine = scripted("fail=0.5,seed=1");
    let outcomes = (0..200).map(|_| {
        let sample = engine.encode(&request()).unwrap();
        generate(&mut engine, sample)
    });
    let outcomes: Vec<_> = outcomes.collect();
    let failed = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Scripted))).count();
    assert!((60..140).contains(&failed), "{failed} of 200 failed");
    let mut pictures = outcomes.iter().flatten();
    let first = pictures.next().unwrap();
    assert!(pictures.all(|picture| picture == first), "one request, several pictures");
    let other = Request { seed: 1, ..request() };
    let sample = engine.encode(&other).unwrap();
    assert_ne!(&engine.decode(&sample).unwrap(), first);

    let mut engine = scripted("panic=1");
    let sample = engine.encode(&request()).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| generate(&mut engine, sample))).is_err());
}

#[test]
fn a_script_that_makes_no_sense_is_refused_by_word() {
    for text in [
        "step=40",
        "step=4h",
        "fail=2",
        "size=1",
        "pace=1ms",
        "step",
        "memory=1T",
        "nan=-1",
        "selftest=pass",
        "crowd=-1",
    ] {
        let error = format!("encode=1ms,{text}").parse::<Script>().unwrap_err().to_string();
        assert!(error.contains(&format!("{text:?}")), "{error}");
    }
}

/// The outcomes of 200 pictures of one request.
fn outcomes(engine: &mut Scripted) -> Vec<Result<Image, Error>> {
    let mut outcome = || {
        let sample = engine.encode(&request())?;
        generate(engine, sample)
    };
    (0..200).map(|_| outcome()).collect()
}

#[test]
fn some_pictures_turn_out_useless_the_others_as_ever() {
    let good = outcomes(&mut scripted("")).pop().unwrap().unwrap();
    let outcomes = outcomes(&mut scripted("nan=0.3,flat=0.3,seed=2"));
    let of = |wanted: &dyn Fn(&Result<Image, Error>) -> bool| {
        outcomes.iter().filter(|outcome| wanted(outcome)).count()
    };
    let broken = of(&|outcome| matches!(outcome, Err(Error::NotFinite { step: 6, steps: 6 })));
    let flat = of(&|outcome| outcome.as_ref().is_ok_and(Image::is_flat));
    let same = of(&|outcome| outcome.as_ref().is_ok_and(|image| *image == good));
    assert!((35..85).contains(&broken), "{broken} of 200 were not finite");
    assert!((35..85).contains(&flat), "{flat} of 200 were flat");
    assert_eq!(broken + flat + same, 200);
}

#[test]
fn a_request_that_is_too_large_stays_so_however_often_it_is_tried() {
    let mut engine = scripted("oom=0.5,memory=1K,kept=3M,working=5M");
    let mut too_large = 0;
    for seed in 0..100 {
        let request = Request { seed, width: 1024, height: 512, ..request() };
        let mut outcome = || {
            let sample = engine.encode(&request)?;
            generate(&mut engine, sample)
        };
        let twice = [outcome(), outcome()];
        match &twice {
            [Err(Error::OutOfMemory { need: Some(4_194_304), free: Some(1024) }), Err(_)] => too_large += 1,
            [first, second] => assert_eq!(first.as_ref().unwrap(), second.as_ref().unwrap()),
        }
    }
    assert!((30..70).contains(&too_large), "{too_large} of 100 were too large");
}

#[test]
fn more_samples_than_there_is_room_for_fail_until_one_is_gone() {
    let mut engine = scripted("crowd=2");
    let mut samples: Vec<_> = (0..3).map(|_| engine.encode(&request()).unwrap()).collect();
    assert!(matches!(engine.step(&mut samples[0]), Err(Error::OutOfMemory { .. })));
    engine.decode(&samples.pop().unwrap()).unwrap();
    engine.step(&mut samples[0]).unwrap();
    samples.push(engine.encode(&request()).unwrap());
    assert!(engine.step(&mut samples[1]).is_err());
    drop(samples.remove(0));
    engine.step(&mut samples[0]).unwrap();
}

#[test]
fn memory_is_what_the_script_says_in_proportion_to_the_pixels() {
    let engine = scripted("memory=24G,kept=80M,working=2G");
    assert_eq!(engine.memory(), Some(24 << 30));
    let of = |width, height| engine.footprint(&Request { width, height, ..request() });
    assert_eq!(of(1024, 1024), Footprint { kept: 80 << 20, movable: 0, working: 2 << 30 });
    assert_eq!(of(2048, 512), of(1024, 1024));
    assert_eq!(of(512, 256), Footprint { kept: 10 << 20, movable: 0, working: 256 << 20 });
    let silent = scripted("");
    assert_eq!((silent.memory(), silent.footprint(&request())), (None, Footprint::default()));
}

#[test]
fn a_preview_follows_the_steps_and_changes_nothing() {
    let mut engine = scripted("");
    let mut sample = engine.encode(&request()).unwrap();
    assert_eq!(engine.preview(&sample).unwrap(), None);
    let mut previews = Vec::new();
    while !engine.steps(&sample).is_done() {
        engine.step(&mut sample).unwrap();
        previews.push(engine.preview(&sample).unwrap().unwrap());
        assert_eq!(previews.last(), engine.preview(&sample).unwrap().as_ref());
    }
    assert!(previews.windows(2).all(|pair| pair[0] != pair[1]));
    let plain = engine.encode(&request()).unwrap();
    assert_eq!(engine.decode(&sample).unwrap(), generate(&mut engine, plain).unwrap());
}

#[test]
fn prompts_and_references_seen_before_are_counted() {
    let mut engine = scripted("");
    let mut seen = |request: &Request| {
        engine.encode(request).unwrap();
        let CacheCounts { hits, misses, .. } = engine.cache();
        (hits, misses)
    };
    assert_eq!(seen(&request()), (0, 3));
    assert_eq!(seen(&Request { seed: 1, ..request() }), (3, 3));
    assert_eq!(seen(&Request { content_size: 48, ..request() }), (5, 4), "the content reference is another");
    assert_eq!(seen(&Request { prompt: "another".into(), ..request() }), (7, 5));

    let mut engine = scripted("cache=2M");
    engine.encode(&request()).unwrap();
    engine.encode(&request()).unwrap();
    let CacheCounts { hits, misses, bytes } = engine.cache();
    assert_eq!((hits, misses, bytes), (0, 6, 2 << 20), "the third pushes the first out");
}

#[test]
fn the_self_test_passes_unless_told_otherwise() {
    scripted("").self_test().unwrap();
    assert!(matches!(scripted("selftest=fail").self_test(), Err(Error::SelfTest(_))));
    assert!(scripted("").is_scripted());
}
