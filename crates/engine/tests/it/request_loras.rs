//! LoRAs that a request asks for: side branches of its sample alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use uso_engine::plan::{Blocks, Keep, Place, Placement};
use uso_engine::{Engine, Error, ExtraLora, LoraFile, Request, RequestLora, Setup, Tier, Uso};

use crate::formats::distance;
use crate::golden::values;
use crate::model_folder::{Copy, FLUX, LORA};
use crate::parity::Case;
use crate::published::{Kind, Tensors, raw, read, write_safetensors};

const CASE: &str = "subject_two_styles";
const FOLDER: &str = "loras";
const RANK: usize = 4;

fn file(name: &str) -> String {
    format!("{FOLDER}/{name}.safetensors")
}

/// Small numbers that differ from place to place.
fn numbers(seed: usize, shape: (usize, usize)) -> Tensor {
    let numbers = uso_engine::noise::normal(seed as u64, (shape.0 * shape.1).max(16));
    Tensor::from_vec(numbers[..shape.0 * shape.1].to_vec(), shape, &Device::Cpu).unwrap()
}

/// The layers of the transformer, each with its size.
fn layers(copy: &Copy) -> BTreeMap<String, (usize, usize)> {
    let tensors = read(&copy.path(FLUX));
    let matrix = |(name, tensor): (&String, &Tensor)| {
        Some((name.strip_suffix(".weight")?.to_owned(), tensor.dims2().ok()?))
    };
    tensors.iter().filter_map(matrix).collect()
}

/// A LoRA for those layers that are `wanted`.
fn write_lora(copy: &Copy, file: &str, wanted: impl Fn(&str) -> bool) -> usize {
    let mut written = Tensors::new();
    for (i, (layer, (output, input))) in layers(copy).into_iter().enumerate() {
        if wanted(&layer) {
            let down = (numbers(2 * i, (RANK, input)) * (0.3 / (input as f64).sqrt())).unwrap();
            let up = (numbers(2 * i + 1, (output, RANK)) * 0.1).unwrap();
            written.insert(format!("{layer}.lora_A.weight"), raw(&down, Kind::F32));
            written.insert(format!("{layer}.lora_B.weight"), raw(&up, Kind::F32));
        }
    }
    write_safetensors(&copy.path(file), &written, &[]);
    written.len() / 2
}

/// A model whose folder holds LoRAs `all` (of every layer), `modulation` and `blocks`.
fn folder() -> Copy {
    let copy = Copy::new();
    std::fs::create_dir(copy.path(FOLDER)).unwrap();
    assert_eq!(write_lora(&copy, &file("all"), |_| true), layers(&copy).len());
    let modulates = |layer: &str| layer.contains("mod") || layer.contains("_in.");
    assert!(write_lora(&copy, &file("modulation"), modulates) > 6);
    write_lora(&copy, &file("blocks"), |layer| layer.contains("_mlp.") || layer.contains("linear1"));
    copy
}

fn kept(tier: Tier) -> Placement {
    Placement { keep: Keep::Tier(tier), ..Placement::default() }
}

fn setup(copy: &Copy) -> Setup {
    Setup { lora_folder: Some(copy.path(FOLDER)), ..Setup::new(Device::Cpu, DType::F32) }
}

fn load(copy: &Copy, setup: &Setup) -> Uso {
    Uso::load_with(&copy.files(), setup).unwrap()
}

fn asked(uso: &Uso, name: &str, weight: f64) -> RequestLora {
    let file = uso.loras().iter().find(|file| file.name == name).unwrap();
    RequestLora { name: name.into(), digest: file.digest.clone(), weight }
}

fn request(loras: Vec<RequestLora>) -> Request {
    Request { loras, ..Case::read(CASE).request() }
}

fn latent(uso: &mut Uso, loras: Vec<RequestLora>) -> Vec<f64> {
    let mut sample = uso.encode(&request(loras)).unwrap();
    while !sample.steps().is_done() {
        uso.set_aside(&mut sample).unwrap();
        uso.step(&mut sample).unwrap();
    }
    values(&sample.latent().unwrap())
}

fn with(uso: &mut Uso, name: &str, weight: f64) -> Vec<f64> {
    let loras = vec![asked(uso, name, weight)];
    latent(uso, loras)
}

#[test]
fn it_gives_the_picture_of_the_same_lora_merged() {
    let copy = folder();
    let mut uso = load(&copy, &setup(&copy));
    let plain = latent(&mut uso, Vec::new());
    for (name, weight) in [("all", 0.7), ("modulation", 1.0), ("blocks", -1.5)] {
        let lora = ExtraLora { file: copy.path(&file(name)), weight };
        let merged = Setup { loras: vec![lora], ..Setup::new(Device::Cpu, DType::F32) };
        let merged = latent(&mut load(&copy, &merged), Vec::new());
        let (ours, effect) = (with(&mut uso, name, weight), distance(&merged, &plain));
        let apart = distance(&ours, &merged);
        assert!(effect > 1e-2 && apart < 1e-4, "{name}: {apart:e} apart, an effect of {effect:e}");
    }
}

#[test]
fn streamed_blocks_have_it_too() {
    let copy = folder();
    let placement = Placement { blocks: Blocks::Streamed, modulations: Place::Host, ..Placement::default() };
    let streamed = Setup { placement, ..setup(&copy) };
    let [resident, streamed] =
        [setup(&copy), streamed].map(|setup| with(&mut load(&copy, &setup), "all", 0.7));
    assert_eq!(resident, streamed);
}

#[test]
fn several_add_up() {
    let copy = folder();
    let extra = |name: &str, weight| ExtraLora { file: copy.path(&file(name)), weight };
    let loras = vec![extra("modulation", 1.0), extra("blocks", 0.5)];
    let merged = Setup { loras, ..Setup::new(Device::Cpu, DType::F32) };
    let merged = latent(&mut load(&copy, &merged), Vec::new());
    let mut uso = load(&copy, &setup(&copy));
    let loras = vec![asked(&uso, "modulation", 1.0), asked(&uso, "blocks", 0.5)];
    assert!(distance(&latent(&mut uso, loras), &merged) < 1e-4);
}

#[test]
fn the_next_sample_knows_nothing_of_it() {
    let copy = folder();
    for tier in ["bf16", "q8_0", "fp8"] {
        let tier: Tier = tier.parse().unwrap();
        let setup = Setup { placement: kept(tier), ..setup(&copy) };
        let before = latent(&mut load(&copy, &Setup { lora_folder: None, ..setup.clone() }), Vec::new());
        let mut uso = load(&copy, &setup);
        let during = with(&mut uso, "all", 1.0);
        assert!(distance(&during, &before) > 1e-2, "{tier}: no effect");
        assert_eq!(latent(&mut uso, Vec::new()), before, "{tier}");
        assert_eq!(with(&mut uso, "all", 0.0), before, "{tier}: a weight of 0 changes something");
        assert_eq!(with(&mut uso, "all", 1.0), during, "{tier}: another picture");
    }
}

#[test]
fn samples_with_and_without_one_take_turns() {
    let copy = folder();
    let mut uso = load(&copy, &setup(&copy));
    let (with, without) = (with(&mut uso, "all", 1.0), latent(&mut uso, Vec::new()));
    let loras = vec![asked(&uso, "all", 1.0)];
    let mut samples = [loras, Vec::new()].map(|loras| uso.encode(&request(loras)).unwrap());
    while !samples[1].steps().is_done() {
        samples.iter_mut().for_each(|sample| uso.step(sample).unwrap());
    }
    let latents = samples.map(|sample| values(&sample.latent().unwrap()));
    assert!(latents == [with, without]);
}

#[test]
fn its_effect_is_kept_on_quantised_weights() {
    let copy = folder();
    let effect = |tier: &str| {
        let setup = Setup { placement: kept(tier.parse().unwrap()), ..setup(&copy) };
        let mut uso = load(&copy, &setup);
        let (with, without) = (with(&mut uso, "all", 0.2), latent(&mut uso, Vec::new()));
        with.into_iter().zip(without).map(|(a, b)| a - b).collect::<Vec<f64>>()
    };
    let exact = effect("bf16");
    for tier in ["q8_0", "fp8"] {
        let product: f64 = effect(tier).iter().zip(&exact).map(|(a, b)| a * b).sum();
        let share = product / exact.iter().map(|x| x * x).sum::<f64>();
        assert!((0.9..=1.1).contains(&share), "{tier}: {share}");
    }
}

#[test]
fn its_bytes_count_in_the_footprint() {
    let copy = folder();
    let uso = load(&copy, &setup(&copy));
    let footprint = |loras| uso.footprint(&request(loras));
    let plain = footprint(Vec::new());
    let numbers: usize = layers(&copy).values().map(|(output, input)| RANK * (output + input)).sum();
    let one = footprint(vec![asked(&uso, "all", 1.0)]);
    assert_eq!(one.kept - plain.kept, (numbers * size_of::<f32>()) as u64);
    assert!(one.working >= plain.working);
    assert_eq!(footprint(vec![asked(&uso, "all", 0.0)]), plain, "it is not even read");
    let two = footprint(vec![asked(&uso, "all", 1.0), asked(&uso, "blocks", 1.0)]);
    assert!(two.kept > one.kept);
}

#[test]
fn what_cannot_be_used_is_left_out() {
    let copy = folder();
    let path = |name: &str| copy.path(&file(name));
    std::fs::write(path("page"), "<html>").unwrap();
    std::fs::copy(copy.path(FLUX), path("transformer")).unwrap();
    let whole = std::fs::read(path("all")).unwrap();
    std::fs::write(path("cut"), &whole[..whole.len() - 7]).unwrap();
    for name in [".hidden", "a b", "ä", &"x".repeat(65)] {
        std::fs::write(path(name), &whole).unwrap();
    }
    std::fs::write(copy.path("loras/notes.txt"), "mine").unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    std::fs::write(path(&"x".repeat(64)), &whole).unwrap();
    let uso = load(&copy, &setup(&copy));
    let names: Vec<&str> = uso.loras().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["all", "blocks", "modulation", &"x".repeat(64)]);
    let missing = Setup { lora_folder: Some(copy.path("nowhere")), ..setup(&copy) };
    let error = Uso::load_with(&copy.files(), &missing).err().unwrap().to_string();
    assert!(error.contains("nowhere"), "{error}");
    assert_eq!(load(&copy, &Setup::new(Device::Cpu, DType::F32)).loras(), []);
}

#[test]
fn digests_tell_the_numbers_of_two_files_apart() {
    let copy = folder();
    std::fs::copy(copy.path(&file("all")), copy.path(&file("same"))).unwrap();
    let digests = || -> BTreeMap<String, String> {
        let uso = load(&copy, &setup(&copy));
        uso.loras().iter().map(|LoraFile { name, digest }| (name.clone(), digest.clone())).collect()
    };
    let before = digests();
    assert_eq!(before["all"], before["same"]);
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 3);
    change_one_number(&copy.path(&file("all")));
    let after = digests();
    assert_ne!(after["all"], before["all"]);
    assert_eq!(after["same"], before["same"]);
}

fn change_one_number(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_request_for_what_is_not_there_is_refused() {
    let copy = folder();
    let mut uso = load(&copy, &setup(&copy));
    let all = asked(&uso, "all", 1.0);
    let named = |name: &str| RequestLora { name: name.into(), ..all.clone() };
    let weighing = |weight| RequestLora { weight, ..all.clone() };
    let other = RequestLora { digest: "0".repeat(64), ..all.clone() };
    let five = vec![all.clone(), named("b"), named("c"), named("d"), named("e")];
    for (loras, says) in [
        (vec![named("../all")], "\"../all\" is not in the folder of LoRAs"),
        (vec![named("")], "is not in the folder"),
        (vec![other], "\"all\" has another digest here"),
        (vec![all.clone(), all.clone()], "\"all\" is given twice"),
        (vec![weighing(f64::NAN)], "NaN is not within -10 to 10"),
        (vec![weighing(10.5)], "10.5 is not within -10 to 10"),
        (five, "5 is not within 0 to 4"),
    ] {
        let Err(error) = uso.encode(&request(loras)) else { panic!("{says}: it was taken") };
        assert!(matches!(error, Error::Request { parameter: "loras", .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn requests_with_other_loras_have_other_digests() {
    let all = RequestLora { name: "all".into(), digest: "1".into(), weight: 1.0 };
    let half = RequestLora { weight: 0.5, ..all.clone() };
    let other = RequestLora { digest: "2".into(), ..all.clone() };
    let several = [vec![], vec![all.clone()], vec![half], vec![other.clone()], vec![all, other]];
    let digests: BTreeSet<String> = several.map(|loras| request(loras).digest()).into();
    assert_eq!(digests.len(), 5);
}

#[test]
fn usos_own_lora_can_be_asked_for_once_more() {
    let copy = folder();
    std::fs::copy(copy.path(LORA), copy.path(&file("uso"))).unwrap();
    let mut uso = load(&copy, &setup(&copy));
    let zeros = Copy::new();
    zeros.edit(LORA, |tensors| {
        tensors.values_mut().for_each(|tensor| *tensor = tensor.zeros_like().unwrap());
    });
    let without = latent(&mut load(&zeros, &Setup::new(Device::Cpu, DType::F32)), Vec::new());
    assert!(distance(&with(&mut uso, "uso", -1.0), &without) < 1e-4);
}

#[test]
fn samples_with_the_same_loras_step_together() {
    let copy = folder();
    let mut uso = load(&copy, &setup(&copy));
    let asking = |uso: &Uso, weight| request(vec![asked(uso, "all", weight)]);
    let requests = [asking(&uso, 0.7), Request { seed: 9, ..asking(&uso, 0.7) }];
    let shape = uso.shape(&requests[0]);
    assert!(shape.is_some() && uso.shape(&requests[1]) == shape);
    for other in [asking(&uso, 0.8), request(Vec::new())] {
        assert_ne!(uso.shape(&other), shape, "it has other changes");
    }
    let mut samples = requests.map(|request| [(); 2].map(|()| uso.encode(&request).unwrap()));
    let [[first, alone], [second, other]] = &mut samples;
    while !alone.steps().is_done() {
        uso.set_aside(first).unwrap();
        let ends = uso.step_together(&mut [&mut *first, &mut *second]).unwrap();
        assert!(ends.iter().all(Result::is_ok));
        [&mut *alone, &mut *other].into_iter().for_each(|sample| uso.step(sample).unwrap());
    }
    for (together, alone) in [(first, alone), (second, other)] {
        let [ours, theirs] = [together, alone].map(|sample| values(&sample.latent().unwrap()));
        assert!(distance(&ours, &theirs) < 1e-5);
    }
}
