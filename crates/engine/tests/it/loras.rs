//! LoRAs beside USO's.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use uso_engine::{Engine, ExtraLora, Setup, Uso};

use crate::formats::{distance, generate_with};
use crate::model_folder::{Copy, LORA};
use crate::published::{Kind, raw, read, write_safetensors};

fn setup(copy: &Copy, file: &str, weight: f64) -> Setup {
    let lora = ExtraLora { file: copy.path(file), weight };
    Setup { loras: vec![lora], ..Setup::new(Device::Cpu, DType::F32) }
}

fn refusal(copy: &Copy, file: &str) -> String {
    let refused = Uso::load_with(&copy.files(), &setup(copy, file, 1.0));
    refused.err().unwrap_or_else(|| panic!("{file} was taken")).to_string()
}

#[test]
fn a_lora_adds_its_changes_times_its_weight() {
    let copy = Copy::new();
    let plain = Setup::new(Device::Cpu, DType::F32);
    let with = generate_with(&copy.files(), &plain);
    // USO's own once more, taken away: what is left is the transformer without it.
    let none = generate_with(&copy.files(), &setup(&copy, LORA, -1.0));
    let zeros = Copy::new();
    zeros.edit(LORA, |tensors| {
        tensors.values_mut().for_each(|tensor| *tensor = tensor.zeros_like().unwrap());
    });
    assert!(distance(&none, &generate_with(&zeros.files(), &plain)) < 1e-4);
    assert!(distance(&none, &with) > 1e-3);
}

#[test]
fn a_lora_may_cover_some_layers_and_hold_what_is_unknown() {
    let copy = Copy::new();
    let mut some: std::collections::BTreeMap<_, _> = read(&copy.path(LORA)).into_iter().take(2).collect();
    some.insert("lora_te1_something.alpha".into(), Tensor::new(1f32, &Device::Cpu).unwrap());
    let some = some.iter().map(|(name, tensor)| (name.clone(), raw(tensor, Kind::F32))).collect();
    write_safetensors(&copy.path("loras/some.safetensors"), &some, &[]);
    let uso = Uso::load_with(&copy.files(), &setup(&copy, "loras/some.safetensors", 0.5)).unwrap();
    let plain = Uso::load(&copy.files(), &Device::Cpu, DType::F32).unwrap();
    assert_ne!(uso.fingerprint(), plain.fingerprint());
}

#[test]
fn what_has_no_effect_is_refused() {
    let copy = Copy::new();
    let tensor = raw(&Tensor::zeros((4, 4), DType::F32, &Device::Cpu).unwrap(), Kind::F32);
    let foreign = [("unet.down_blocks.0.attn.lora_A.weight".to_owned(), tensor.clone())];
    write_safetensors(&copy.path("foreign.safetensors"), &foreign.into(), &[]);
    let said = refusal(&copy, "foreign.safetensors");
    assert!(said.contains("foreign.safetensors") && said.contains("no key fits"), "{said}");
    write_safetensors(&copy.path("none.safetensors"), &[("weight".to_owned(), tensor)].into(), &[]);
    assert!(refusal(&copy, "none.safetensors").contains("no keys of a LoRA"));
    assert!(refusal(&copy, "missing.safetensors").contains("missing.safetensors"));
}

#[test]
fn numbers_that_are_none_are_named_with_tensor_and_file() {
    const TENSOR: &str = "double_blocks.0.processor.qkv_lora1.up.weight";
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let copy = Copy::new();
        let spoil = |tensors: &mut HashMap<String, Tensor>| {
            let spoilt = (tensors[TENSOR].ones_like().unwrap() * number).unwrap();
            tensors.insert(TENSOR.into(), spoilt);
        };
        std::fs::copy(copy.path(LORA), copy.path("extra.safetensors")).unwrap();
        copy.edit("extra.safetensors", spoil);
        let extra = refusal(&copy, "extra.safetensors");
        assert!(extra.contains("extra.safetensors"), "{extra}");
        copy.edit(LORA, spoil);
        let own = Uso::load(&copy.files(), &Device::Cpu, DType::F32).err().unwrap().to_string();
        assert!(own.contains(LORA), "{own}");
        for said in [extra, own] {
            assert!(said.contains(TENSOR) && said.contains("not finite"), "{said}");
        }
    }
}
