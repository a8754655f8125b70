//! A damaged model is found out before it gets jobs.

use candle_core::{DType, Device, Tensor};
use uso_engine::{Engine, Error, ModelFiles, Tier, Uso};

use crate::engines::mini;
use crate::golden::tiny;
use crate::model_folder::{AE, Copy, FLUX, LORA, bundled_folder};
use crate::packed::packed;
use crate::published::{Kind, raw, read, write_safetensors};

fn self_test(files: &ModelFiles, dtype: DType) -> Result<(), String> {
    match Uso::load(files, &Device::Cpu, dtype).unwrap().self_test() {
        Err(Error::SelfTest(reason)) => Err(reason),
        other => {
            other.unwrap();
            Ok(())
        }
    }
}

/// A copy of the bundled model whose tensor `name` holds what `change` makes of it.
fn spoilt(file: &str, name: &str, change: impl Fn(&Tensor) -> Tensor) -> Copy {
    let copy = Copy::of(&bundled_folder());
    copy.edit(file, |tensors| {
        let changed = change(&tensors[name]);
        tensors.insert(name.into(), changed);
    });
    copy
}

fn not_a_number(tensor: &Tensor) -> Tensor {
    (tensor * f64::NAN).unwrap()
}

/// The same values in another order: rows from the last to the first.
fn scrambled(tensor: &Tensor) -> Tensor {
    let rows = tensor.dim(0).unwrap() as u32;
    let backwards = Tensor::from_iter((0..rows).rev(), &Device::Cpu).unwrap();
    tensor.index_select(&backwards, 0).unwrap()
}

#[test]
fn sound_models_pass() {
    mini().self_test().unwrap();
    self_test(&ModelFiles::Folder(bundled_folder()), DType::F32).unwrap();
    // Random weights and no record.
    self_test(&tiny(), DType::F32).unwrap();
}

#[test]
fn numbers_that_are_none_are_found() {
    for (file, name, said) in [
        (FLUX, "double_blocks.0.img_attn.qkv.weight", "the latent is not finite after step 10 of 10"),
        (AE, "decoder.conv_out.bias", "its pixels are not"),
    ] {
        let copy = spoilt(file, name, not_a_number);
        let reason = self_test(&copy.files(), DType::F32).unwrap_err();
        assert!(reason.contains(said), "{name}: {reason}");
        // Without a record too.
        std::fs::remove_dir_all(copy.path("self_test")).unwrap();
        self_test(&copy.files(), DType::F32).unwrap_err();
    }
}

#[test]
fn weights_in_another_order_give_another_picture() {
    let projector = "USO/uso_flux_v1.0/projector.safetensors";
    for (file, name) in [
        (FLUX, "single_blocks.1.linear1.weight"),
        ("t5-xxl/model.safetensors", "encoder.block.0.layer.0.SelfAttention.q.weight"),
        (projector, "feature_embedder.high_projection.weight"),
        (AE, "encoder.conv_in.weight"),
        (AE, "decoder.mid.block_1.conv1.weight"),
    ] {
        let copy = spoilt(file, name, scrambled);
        let reason = self_test(&copy.files(), DType::F32).unwrap_err();
        assert!(reason.contains("the picture is not the recorded one"), "{name}: {reason}");
    }
}

#[test]
fn other_precisions_may_differ_a_little_but_not_much() {
    self_test(&ModelFiles::Bundled, DType::F16).unwrap();
    let copy = spoilt(FLUX, "single_blocks.1.linear1.weight", scrambled);
    self_test(&copy.files(), DType::F16).unwrap_err();
    // What candle cannot do in a precision is found out too.
    assert!(Uso::load(&ModelFiles::Bundled, &Device::Cpu, DType::BF16).unwrap().self_test().is_err());
}

#[test]
fn a_record_may_ask_for_more_than_usual() {
    let copy = Copy::of(&bundled_folder());
    let request = std::fs::read_to_string(copy.path("self_test/request.json")).unwrap();
    let stricter = request.replace("\"seed\": 103", "\"seed\": 103, \"mean_levels\": 0.001");
    assert_ne!(request, stricter);
    std::fs::write(copy.path("self_test/request.json"), stricter).unwrap();
    let reason = self_test(&copy.files(), DType::F16).unwrap_err();
    assert!(reason.contains("levels on average"), "{reason}");
}

#[test]
fn a_flat_picture_is_none() {
    let black = |tensor: &Tensor| (tensor.zeros_like().unwrap() - 2.0).unwrap();
    let copy = spoilt(AE, "decoder.conv_out.bias", black);
    copy.edit(AE, |tensors| {
        let weight = tensors["decoder.conv_out.weight"].zeros_like().unwrap();
        tensors.insert("decoder.conv_out.weight".into(), weight);
    });
    assert!(self_test(&copy.files(), DType::F32).unwrap_err().contains("one colour"));
}

/// Random weights without a record, whose LoRA changes nothing.
fn without_effect() -> Copy {
    let copy = Copy::new();
    copy.edit(LORA, |tensors| {
        for (_, up) in tensors.iter_mut().filter(|(name, _)| name.contains(".up.")) {
            *up = up.zeros_like().unwrap();
        }
    });
    copy
}

/// The same model with a transformer in eight bits, beside which a LoRA stays apart.
fn in_eight_bits(copy: Copy) -> Copy {
    let tensors = read(&copy.path(FLUX));
    let lowered = tensors.iter().map(|(name, tensor)| (name.clone(), raw(tensor, Kind::F8E4M3))).collect();
    write_safetensors(&copy.path(FLUX), &lowered, &[]);
    copy
}

#[test]
fn a_lora_without_effect_is_named() {
    for copy in [without_effect(), in_eight_bits(without_effect())] {
        let reason = self_test(&copy.files(), DType::F32).unwrap_err();
        assert!(reason.contains("LoRA") && reason.contains(LORA) && reason.contains("nothing"), "{reason}");
    }
    self_test(&in_eight_bits(Copy::new()).files(), DType::F32).unwrap();
    // In a packed file this cannot be told any more.
    let (_folder, files) = packed(&without_effect(), Tier::Q8_0);
    self_test(&files, DType::F32).unwrap();
}

#[test]
fn a_record_that_cannot_be_read_is_named() {
    let copy = Copy::of(&bundled_folder());
    std::fs::remove_file(copy.path("self_test/picture.png")).unwrap();
    let error = Uso::load(&copy.files(), &Device::Cpu, DType::F32).unwrap().self_test().unwrap_err();
    assert!(matches!(error, Error::ModelFile { .. }) && error.to_string().contains("self_test/picture.png"));
}

#[test]
fn the_test_leaves_no_trace() {
    let mut uso = mini();
    uso.self_test().unwrap();
    assert_eq!(uso.cache(), uso_engine::CacheCounts::default());
}

#[test]
fn a_record_is_no_part_of_the_fingerprint() {
    let copy = Copy::of(&bundled_folder());
    let fingerprint = || Uso::load(&copy.files(), &Device::Cpu, DType::F32).unwrap().fingerprint().to_owned();
    let with = fingerprint();
    std::fs::remove_dir_all(copy.path("self_test")).unwrap();
    assert_eq!(with, fingerprint());
}
