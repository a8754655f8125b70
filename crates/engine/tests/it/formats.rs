//! The same small model gives the same picture in all formats that weights are published in.

use std::collections::BTreeMap;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use uso_engine::plan::{Blocks, Keep, Place, Placement, T5Place};
use uso_engine::{Engine, ModelFiles, Setup, Tier, Uso};

use crate::golden::{fixture, values};
use crate::model_folder::{AE, CLIP, Copy, FLUX, LORA, PROJECTOR, T5};
use crate::parity::Case;
use crate::published::{Kind, Raw, Tensors, raw, read, write_gguf, write_safetensors};

const CASE: &str = "subject_two_styles";
/// Relative L2 distance of latents where the numbers are the same.
const SAME: f64 = 1e-4;

pub(crate) fn generate(files: &ModelFiles) -> Vec<f64> {
    generate_with(files, &Setup::new(Device::Cpu, DType::F32))
}

pub(crate) fn generate_with(files: &ModelFiles, setup: &Setup) -> Vec<f64> {
    let mut uso = Uso::load_with(files, setup).unwrap();
    let mut sample = uso.encode(&Case::read(CASE).request()).unwrap();
    while !sample.steps().is_done() {
        uso.step(&mut sample).unwrap();
    }
    values(&sample.latent().unwrap())
}

pub(crate) fn distance(ours: &[f64], theirs: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut ours.iter().zip(theirs).map(|(a, b)| a - b)) / norm(&mut theirs.iter().copied())
}

pub(crate) fn recorded() -> Vec<f64> {
    let golden =
        candle_core::safetensors::load(fixture(&format!("golden/{CASE}.safetensors")), &Device::Cpu).unwrap();
    values(&golden["latent_final"])
}

fn assert_same(what: &str, copy: &Copy) {
    let apart = distance(&generate(&copy.files()), &recorded());
    assert!(apart <= SAME, "{what}: {apart:e}");
}

/// A file's tensors under other names.
fn renamed(copy: &Copy, file: &str, name: impl Fn(&str) -> String) -> Tensors {
    let tensors = read(&copy.path(file));
    tensors.iter().map(|(old, tensor)| (name(old), raw(tensor, plain(tensor)))).collect()
}

fn plain(tensor: &Tensor) -> Kind {
    match tensor.dtype() {
        DType::I64 => Kind::I64,
        DType::F32 => Kind::F32,
        _ => Kind::BF16,
    }
}

fn remove(copy: &Copy, file: &str) {
    std::fs::remove_file(copy.path(file)).unwrap();
}

/// Puts the tensors of several parts into one file, each under its prefix.
pub(crate) fn all_in_one(copy: &Copy) -> Tensors {
    let mut all = Tensors::new();
    for (file, prefix) in [
        (FLUX, "model.diffusion_model."),
        (CLIP, "text_encoders.clip_l.transformer."),
        (T5, "text_encoders.t5xxl.transformer."),
        (AE, "vae."),
    ] {
        all.extend(renamed(copy, file, |name| format!("{prefix}{name}")));
        remove(copy, file);
    }
    let scale = raw(&Tensor::new(4.6f32, &Device::Cpu).unwrap(), Kind::F32);
    all.insert("text_encoders.clip_l.logit_scale".into(), scale.clone());
    all.insert("text_encoders.t5xxl.logit_scale".into(), scale);
    all
}

pub(crate) fn t5_gguf_name(name: &str) -> String {
    [
        ("encoder.block.", "enc.blk."),
        ("encoder.final_layer_norm", "enc.output_norm"),
        ("shared", "token_embd"),
        ("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"),
        ("layer.0.SelfAttention.", "attn_"),
        ("layer.0.layer_norm", "attn_norm"),
        ("layer.1.DenseReluDense.wi_0", "ffn_gate"),
        ("layer.1.DenseReluDense.wi_1", "ffn_up"),
        ("layer.1.DenseReluDense.wo", "ffn_down"),
        ("layer.1.layer_norm", "ffn_norm"),
    ]
    .iter()
    .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

#[test]
fn prefixes_and_metadata_change_nothing() {
    for prefix in ["model.diffusion_model.", "diffusion_model."] {
        let copy = Copy::new();
        let tensors = renamed(&copy, FLUX, |name| format!("{prefix}{name}"));
        let thumbnail = "data:image/jpeg;base64,".to_owned() + &"A".repeat(29_000);
        write_safetensors(&copy.path(FLUX), &tensors, &[("modelspec.thumbnail", &thumbnail)]);
        let bare = renamed(&copy, PROJECTOR, |name| name.replace("feature_embedder.", ""));
        write_safetensors(&copy.path(PROJECTOR), &bare, &[]);
        assert_same(prefix, &copy);
    }
}

#[test]
fn an_all_in_one_checkpoint_is_taken_apart() {
    let copy = Copy::new();
    let all = all_in_one(&copy);
    write_safetensors(&copy.path("FLUX.1-dev/flux1-dev-fp8.safetensors"), &all, &[]);
    // The encoders' small files stay in place; there are none beside the checkpoint.
    for (part, file) in [("t5-xxl", "config.json"), ("clip-vit-l14", "config.json")] {
        assert!(copy.path(&format!("{part}/{file}")).is_file());
    }
    assert_same("all in one", &copy);
}

#[test]
fn gguf_files_hold_the_same_numbers() {
    for (prefix, architecture) in [("", Some("flux")), ("model.diffusion_model.", None)] {
        let copy = Copy::new();
        let tensors = read(&copy.path(FLUX));
        let kind = |tensor: &Tensor| if tensor.rank() == 1 { Kind::F32 } else { Kind::BF16 };
        let tensors = tensors
            .iter()
            .map(|(name, tensor)| (format!("{prefix}{name}"), raw(tensor, kind(tensor))))
            .collect();
        remove(&copy, FLUX);
        write_gguf(&copy.path("FLUX.1-dev/flux1-dev-BF16.gguf"), &tensors, architecture);
        let t5 = read(&copy.path(T5));
        let t5 = t5.iter().map(|(name, tensor)| (t5_gguf_name(name), raw(tensor, Kind::F32))).collect();
        remove(&copy, T5);
        write_gguf(&copy.path("t5-xxl/t5-v1_1-xxl-encoder-f32.gguf"), &t5, Some("t5encoder"));
        assert_same(prefix, &copy);
    }
}

/// The layer that a processor of USO's LoRA changes.
pub(crate) fn layer(stem: &str) -> String {
    let (block, processor) = stem.split_once(".processor.").unwrap();
    let layer = match processor {
        "qkv_lora1" => "img_attn.qkv",
        "proj_lora1" => "img_attn.proj",
        "qkv_lora2" => "txt_attn.qkv",
        "proj_lora2" => "txt_attn.proj",
        "qkv_lora" => "linear1",
        "proj_lora" => "linear2",
        other => panic!("{other}"),
    };
    format!("{block}.{layer}")
}

/// USO's LoRA under the names of a style.
pub(crate) fn lora_in(style: &str, tensors: &BTreeMap<String, Tensor>) -> Tensors {
    let mut written = Tensors::new();
    let mut put = |name: String, tensor: &Tensor| drop(written.insert(name, raw(tensor, Kind::F32)));
    for (name, down) in tensors.iter().filter(|(name, _)| name.ends_with(".down.weight")) {
        let stem = name.strip_suffix(".down.weight").unwrap();
        let up = &tensors[&format!("{stem}.up.weight")];
        let layer = layer(stem);
        match style {
            "comfy" => {
                let stem = format!("diffusion_model.{}", layer.replace("linear1", "linear1_qkv"));
                put(format!("{stem}.lora_down.weight"), down);
                put(format!("{stem}.lora_up.weight"), up);
            }
            "peft" => {
                put(format!("transformer.{layer}.lora_A.weight"), down);
                put(format!("transformer.{layer}.lora_B.weight"), up);
            }
            // Twice the rank: the numbers of `up` are halved, so that the product stays.
            "kohya" => {
                let stem = format!("lora_unet_{}", layer.replace('.', "_"));
                let alpha = Tensor::new(2.0 * down.dim(0).unwrap() as f32, &Device::Cpu).unwrap();
                put(format!("{stem}.alpha"), &alpha);
                put(format!("{stem}.lora_down.weight"), down);
                put(format!("{stem}.lora_up.weight"), &(up / 2.0).unwrap());
            }
            "diffusers" => diffusers(&layer, down, up, &mut put),
            prefix => {
                put(format!("{prefix}{stem}.down.weight"), down);
                put(format!("{prefix}{stem}.up.weight"), up);
            }
        }
    }
    written
}

/// Separate queries, keys and values.
fn diffusers(layer: &str, down: &Tensor, up: &Tensor, put: &mut impl FnMut(String, &Tensor)) {
    let (kind, rest) = layer.split_once('.').unwrap();
    let (index, layer) = rest.split_once('.').unwrap();
    let block = if kind == "double_blocks" { "transformer_blocks" } else { "single_transformer_blocks" };
    let names: &[&str] = match layer {
        "img_attn.qkv" | "linear1" => &["attn.to_q", "attn.to_k", "attn.to_v"],
        "txt_attn.qkv" => &["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
        "img_attn.proj" => &["attn.to_out.0"],
        "txt_attn.proj" => &["attn.to_add_out"],
        "linear2" => &["proj_out"],
        other => panic!("{other}"),
    };
    let rows = up.dim(0).unwrap() / names.len();
    for (i, name) in names.iter().enumerate() {
        let stem = format!("transformer.{block}.{index}.{name}");
        put(format!("{stem}.lora_A.weight"), down);
        put(format!("{stem}.lora_B.weight"), &up.narrow(0, i * rows, rows).unwrap());
    }
}

#[test]
fn usos_lora_has_its_effect_under_every_style_of_names() {
    for style in ["", "diffusion_model.", "transformer.", "comfy", "peft", "kohya", "diffusers"] {
        let copy = Copy::new();
        let tensors = read(&copy.path(LORA));
        remove(&copy, LORA);
        let elsewhere = "USO/split_files/loras/uso-flux1-dit-lora-v1.safetensors";
        write_safetensors(&copy.path(elsewhere), &lora_in(style, &tensors), &[]);
        assert_same(style, &copy);
    }
}

/// The model with its transformer in a lossy format, and its twin with the same numbers in float32.
fn lossy(lower: impl Fn(&str, &Tensor) -> Raw, write: impl Fn(&Copy, &Tensors)) -> [Copy; 2] {
    lossy_of([Copy::new(), Copy::new()], lower, write)
}

/// The same of two copies of any model.
pub(crate) fn lossy_of(
    [copy, twin]: [Copy; 2],
    lower: impl Fn(&str, &Tensor) -> Raw,
    write: impl Fn(&Copy, &Tensors),
) -> [Copy; 2] {
    let tensors = read(&copy.path(FLUX));
    let lowered: Tensors = tensors.iter().map(|(name, tensor)| (name.clone(), lower(name, tensor))).collect();
    remove(&copy, FLUX);
    write(&copy, &lowered);
    let twins = lowered.iter().map(|(name, raw)| (name.clone(), numbers(raw))).collect();
    write_safetensors(&twin.path(FLUX), &twins, &[]);
    [copy, twin]
}

/// A tensor's numbers in float32.
fn numbers(lowered: &Raw) -> Raw {
    let Raw { kind, shape, bytes } = lowered;
    let tensor = match kind {
        Kind::Blocks(blocks) => {
            let storage =
                candle_core::quantized::QStorage::from_data(bytes.into(), &Device::Cpu, *blocks).unwrap();
            let tensor = candle_core::quantized::QTensor::new(storage, shape.as_slice()).unwrap();
            tensor.dequantize(&Device::Cpu).unwrap()
        }
        Kind::F8E5M2 => {
            let halves: Vec<u8> = bytes.iter().flat_map(|code| [0, *code]).collect();
            Tensor::from_raw_buffer(&halves, DType::F16, shape, &Device::Cpu).unwrap()
        }
        kind => {
            let dtype = match kind {
                Kind::F8E4M3 => DType::F8E4M3,
                Kind::F16 => DType::F16,
                Kind::BF16 => DType::BF16,
                _ => DType::F32,
            };
            Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu).unwrap()
        }
    };
    raw(&tensor, Kind::F32)
}

/// The share of the LoRA's effect on the picture that a model keeps, compared with its twin.
fn kept(ours: &[f64], twin: &Copy, theirs: &[f64]) -> f64 {
    let lora = read(&twin.path(LORA));
    let none = lora.iter().map(|(name, tensor)| {
        let factor = if name.ends_with(".up.weight") { 0.0 } else { 1.0 };
        (name.clone(), raw(&(tensor.to_dtype(DType::F32).unwrap() * factor).unwrap(), Kind::F32))
    });
    write_safetensors(&twin.path(LORA), &none.collect(), &[]);
    let without = generate(&twin.files());
    let effect = || theirs.iter().zip(&without).map(|(a, b)| a - b);
    let product: f64 = ours.iter().zip(&without).map(|(a, b)| a - b).zip(effect()).map(|(a, b)| a * b).sum();
    product / effect().map(|x| x * x).sum::<f64>()
}

pub(crate) fn assert_like_its_twin(what: &str, [copy, twin]: [Copy; 2], limit: f64) {
    let (ours, theirs) = (generate(&copy.files()), generate(&twin.files()));
    let apart = distance(&ours, &theirs);
    assert!(apart <= limit, "{what}: {apart:e}");
    let kept = kept(&ours, &twin, &theirs);
    assert!((0.95..=1.05).contains(&kept), "{what}: {kept} of the LoRA's effect are left");
}

#[test]
fn eight_bit_floats_without_scales_are_what_they_say() {
    for (kind, file) in [
        (Kind::F8E4M3, "FLUX.1-dev/flux1-dev-fp8-e4m3fn.safetensors"),
        (Kind::F8E5M2, "FLUX.1-dev/flux1-dev-fp8-e5m2.safetensors"),
    ] {
        let models = lossy(
            |_, tensor| raw(tensor, kind),
            |copy, tensors| write_safetensors(&copy.path(file), tensors, &[]),
        );
        assert_like_its_twin(file, models, SAME);
    }
}

/// Matrices in eight bits with a scale each, under a writer's names for it.
pub(crate) fn scaled(tensors: &BTreeMap<String, Tensor>, prefix: &str, ending: &str) -> (Tensors, Tensors) {
    let (mut lowered, mut twins) = (Tensors::new(), Tensors::new());
    for (name, tensor) in tensors {
        let tensor = tensor.to_dtype(DType::F32).unwrap();
        if tensor.rank() != 2 {
            lowered.insert(format!("{prefix}{name}"), raw(&tensor, Kind::BF16));
            twins.insert(name.clone(), raw(&tensor, Kind::F32));
            continue;
        }
        let largest = tensor.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let scale = largest / 448.0;
        let codes = raw(&(&tensor / f64::from(scale)).unwrap(), Kind::F8E4M3);
        let back = Tensor::from_raw_buffer(&codes.bytes, DType::F8E4M3, &codes.shape, &Device::Cpu).unwrap();
        let back = (back.to_dtype(DType::F32).unwrap() * f64::from(scale)).unwrap();
        twins.insert(name.clone(), raw(&back, Kind::F32));
        let stem = name.strip_suffix(".weight").unwrap();
        lowered.insert(
            format!("{prefix}{stem}.{ending}"),
            raw(&Tensor::new(scale, &Device::Cpu).unwrap(), Kind::F32),
        );
        if ending == "weight_scale" {
            let text = br#"{"format": "float8_e4m3fn"}"#.to_vec();
            let described = Raw { kind: Kind::U8, shape: vec![text.len()], bytes: text };
            lowered.insert(format!("{prefix}{stem}.comfy_quant"), described);
        } else {
            lowered.insert(
                format!("{prefix}{stem}.scale_input"),
                raw(&Tensor::new(1f32, &Device::Cpu).unwrap(), Kind::F32),
            );
        }
        lowered.insert(format!("{prefix}{name}"), codes);
    }
    if ending == "scale_weight" {
        lowered.insert(
            format!("{prefix}scaled_fp8"),
            Raw { kind: Kind::F8E4M3, shape: vec![0], bytes: Vec::new() },
        );
    }
    (lowered, twins)
}

#[test]
fn eight_bit_floats_with_scales_are_scaled() {
    for (prefix, ending) in [("model.diffusion_model.", "scale_weight"), ("", "weight_scale")] {
        let (copy, twin) = (Copy::new(), Copy::new());
        let (lowered, twins) = scaled(&read(&copy.path(FLUX)), prefix, ending);
        write_safetensors(&copy.path(FLUX), &lowered, &[]);
        write_safetensors(&twin.path(FLUX), &twins, &[]);
        assert_like_its_twin(ending, [copy, twin], SAME);
    }
}

#[test]
fn blocks_of_ggml_are_what_they_say() {
    for blocks in [GgmlDType::Q8_0, GgmlDType::Q5_1, GgmlDType::Q5_0, GgmlDType::Q4_1, GgmlDType::Q4_0] {
        let file = "FLUX.1-dev/flux1-dev.gguf";
        let is_large = |name: &str, tensor: &Tensor| {
            tensor.rank() == 2 && (name.starts_with("double") || name.starts_with("single"))
        };
        let lower = |name: &str, tensor: &Tensor| {
            raw(tensor, if is_large(name, tensor) { Kind::Blocks(blocks) } else { Kind::F16 })
        };
        let models = lossy(lower, |copy, tensors| write_gguf(&copy.path(file), tensors, Some("flux")));
        assert_like_its_twin(&format!("{blocks:?}"), models, 3e-2);
    }
}

#[test]
fn tiers_and_a_t5_on_the_host_give_nearly_the_same() {
    let plain = Setup::new(Device::Cpu, DType::F32);
    // Most rows of this model are 64 long, not whole blocks of 256: q4_k changes few of its matrices.
    for (tier, t5, limit) in [
        (Tier::Q8_0, T5Place::Device, 3e-2),
        (Tier::Fp8, T5Place::Device, 2e-1),
        (Tier::Fp8W8A8, T5Place::Device, 2e-1),
        (Tier::Int8W8A8, T5Place::Device, 3e-2),
        (Tier::Q4K, T5Place::Device, 1e-1),
        (Tier::Bf16, T5Place::HostQ8, 3e-2),
    ] {
        let placement = Placement { keep: Keep::Tier(tier), t5, ..Placement::default() };
        let setup = Setup { placement, ..plain.clone() };
        let apart = distance(&generate_with(&Copy::new().files(), &setup), &recorded());
        assert!(apart <= limit, "{tier} {t5}: {apart}");
        assert!(apart > 1e-5, "{tier} {t5} changes nothing");
    }
}

#[test]
fn where_parts_lie_changes_no_number() {
    let all = Placement::default();
    let copy = Copy::new();
    let generate =
        |placement| generate_with(&copy.files(), &Setup { placement, ..Setup::new(Device::Cpu, DType::F32) });
    let resident = generate(all);
    for placement in [
        Placement { blocks: Blocks::Streamed, ..all },
        Placement { modulations: Place::Host, ..all },
        Placement { t5: T5Place::Streamed, ..all },
        Placement { encoders: Place::Host, maps: Place::Host, ..all },
    ] {
        assert_eq!(generate(placement), resident, "{placement:?}");
    }
    let q8 = Placement { keep: Keep::Tier(Tier::Q8_0), ..all };
    let streamed = Placement { blocks: Blocks::Streamed, modulations: Place::Host, ..q8 };
    assert_eq!(
        generate(streamed),
        generate(q8),
        "with blocks that are quantised and merged as they are read"
    );
}

#[test]
fn a_placement_that_changes_no_number_keeps_the_fingerprint() {
    let copy = Copy::new();
    let fingerprint = |placement| {
        let setup = Setup { placement, ..Setup::new(Device::Cpu, DType::F32) };
        Uso::load_with(&copy.files(), &setup).unwrap().fingerprint().to_owned()
    };
    let all = Placement::default();
    let same = [
        Placement { blocks: Blocks::Streamed, modulations: Place::Host, maps: Place::Host, ..all },
        Placement { encoders: Place::Host, ..all },
        Placement { keep: Keep::Tier(Tier::Bf16), t5: T5Place::Streamed, ..all },
    ];
    same.iter().for_each(|placement| assert_eq!(fingerprint(*placement), fingerprint(all)));
    for other in [Placement { keep: Keep::Tier(Tier::Q8_0), ..all }, Placement { t5: T5Place::HostQ8, ..all }]
    {
        assert_ne!(fingerprint(other), fingerprint(all), "{other:?}");
    }
    // The processor rounds no activations.
    let [fp8, rounded] = [Tier::Fp8, Tier::Fp8W8A8].map(|tier| Placement { keep: Keep::Tier(tier), ..all });
    assert_eq!(fingerprint(fp8), fingerprint(rounded));
}
