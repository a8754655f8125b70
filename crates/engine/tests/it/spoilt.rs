//! Files that are damaged one tensor at a time, in every format: they are refused, and the error names file and tensor.

use std::fs::OpenOptions;

use candle_core::Tensor;
use candle_core::quantized::GgmlDType;
use uso_engine::Model;

use crate::formats::{all_in_one, lora_in, scaled, t5_gguf_name};
use crate::model_folder::{AE, CLIP, Copy, FLUX, LORA, PROJECTOR, SIGLIP, T5};
use crate::published::{Kind, Raw, Tensors, raw, read, write_hole};

/// How a tensor is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoilt {
    Dropped,
    Renamed,
    Misshapen,
    Mistyped,
    Cut,
}

const WAYS: [Spoilt; 5] =
    [Spoilt::Dropped, Spoilt::Renamed, Spoilt::Misshapen, Spoilt::Mistyped, Spoilt::Cut];

/// A model with one file in the format that is spoilt.
struct Format {
    copy: Copy,
    file: &'static str,
    tensors: Tensors,
}

impl Format {
    /// The model's file as it is, in bfloat16.
    fn plain(file: &'static str) -> Self {
        let copy = Copy::new();
        let tensors = read(&copy.path(file));
        let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), raw(tensor, Kind::BF16))).collect();
        Self { copy, file, tensors }
    }

    /// The file `old` in another format under the name `file`.
    fn other(old: &str, file: &'static str, convert: impl Fn(&Copy) -> Tensors) -> Self {
        let copy = Copy::new();
        let tensors = convert(&copy);
        if copy.path(old).is_file() {
            std::fs::remove_file(copy.path(old)).unwrap();
        }
        Self { copy, file, tensors }
    }

    /// What the model says of the file with these tensors.
    fn refusal(&self, tensors: &Tensors) -> Option<String> {
        write_hole(&self.copy.path(self.file), tensors);
        self.said()
    }

    fn said(&self) -> Option<String> {
        Model::open(&self.copy.files()).unwrap().check().err().map(|error| error.to_string())
    }

    /// Cuts the file within the numbers of a tensor.
    fn cut(&self, name: &str) -> Option<String> {
        let start = write_hole(&self.copy.path(self.file), &self.tensors);
        let align = if self.file.ends_with(".gguf") { 32 } else { 1 };
        let before = self
            .tensors
            .iter()
            .take_while(|(other, _)| other.as_str() < name)
            .map(|(_, raw)| raw.kind.bytes(&raw.shape).next_multiple_of(align));
        let end =
            start as usize + before.sum::<usize>() + self.tensors[name].kind.bytes(&self.tensors[name].shape);
        OpenOptions::new()
            .write(true)
            .open(self.copy.path(self.file))
            .unwrap()
            .set_len(end as u64 - 1)
            .unwrap();
        self.said()
    }

    fn spoil(&self, name: &str, way: Spoilt) -> Option<String> {
        let mut tensors = self.tensors.clone();
        let Some(mut tensor) = tensors.remove(name) else { panic!("no {name}") };
        match way {
            Spoilt::Cut => return self.cut(name),
            Spoilt::Dropped => {}
            Spoilt::Renamed => drop(tensors.insert(format!("{name}_"), tensor)),
            Spoilt::Misshapen => {
                let block = if let Kind::Blocks(blocks) = tensor.kind { blocks.block_size() } else { 1 };
                match tensor.shape.last_mut() {
                    Some(side) => *side += block,
                    None => tensor.shape = vec![2],
                }
                tensors.insert(name.into(), tensor);
            }
            Spoilt::Mistyped => {
                tensor.kind = Kind::I64;
                tensors.insert(name.into(), tensor);
            }
        }
        self.refusal(&tensors)
    }

    /// Spoils every tensor in every way. Those that `spare` names may be anything but cut; the others are refused.
    fn check(&self, spare: impl Fn(&str) -> bool) {
        assert_eq!(self.refusal(&self.tensors), None, "{}: the whole file", self.file);
        let mut refused = 0;
        for (name, tensor) in &self.tensors {
            for way in WAYS {
                if tensor.kind.bytes(&tensor.shape) == 0 && way == Spoilt::Cut {
                    continue;
                }
                // Under another name it is unknown.
                if spare(name) && way == Spoilt::Renamed {
                    continue;
                }
                let said = self.spoil(name, way);
                if spare(name) && way != Spoilt::Cut {
                    assert_eq!(said, None, "{}: {way:?} {name}", self.file);
                    continue;
                }
                let said = said.unwrap_or_else(|| panic!("{}: {way:?} {name} was not noticed", self.file));
                assert!(said.contains(self.file) && said.contains(name.as_str()), "{way:?} {name}: {said}");
                refused += 1;
            }
        }
        assert!(refused > self.tensors.len());
    }

    /// How an unknown tensor is handled: refused by name, or only reported.
    fn check_added(&self, name: &str, is_refused: bool) {
        let mut tensors = self.tensors.clone();
        tensors.insert(name.into(), Raw { kind: Kind::BF16, shape: vec![32], bytes: Vec::new() });
        let said = self.refusal(&tensors);
        if is_refused {
            let said = said.unwrap_or_else(|| panic!("{}: {name} was not noticed", self.file));
            assert!(said.contains(self.file) && said.contains(name), "{said}");
        } else {
            assert_eq!(said, None);
            let parts = Model::open(&self.copy.files()).unwrap().inspect().parts;
            assert!(parts.iter().any(|part| part.added == [name]), "{name} is not named");
        }
    }
}

fn never(_: &str) -> bool {
    false
}

#[test]
fn the_transformer_as_published() {
    let format = Format::plain(FLUX);
    format.check(never);
    format.check_added("double_blocks.7.img_attn.qkv.weight", true);
}

#[test]
fn the_autoencoder() {
    let format = Format::plain(AE);
    format.check(never);
    format.check_added("quant_conv.weight", true);
}

#[test]
fn usos_own_files() {
    let lora = Format::plain(LORA);
    lora.check(never);
    lora.check_added("double_blocks.9.processor.qkv_lora1.up.weight", true);
    lora.check_added("anything", true);
    let projector = Format::plain(PROJECTOR);
    projector.check(never);
    projector.check_added("feature_embedder.lowest_projection.weight", true);
}

#[test]
fn the_encoders() {
    for (file, spare) in [
        (T5, &["encoder.embed_tokens.weight"][..]),
        (CLIP, &["position_ids", "vision_model.", "logit_scale", "_projection."]),
        (SIGLIP, &["text_model.", "vision_model.head.", "post_layernorm", "layers.26.", "logit_"]),
    ] {
        let format = Format::plain(file);
        format.check(|name| spare.iter().any(|part| name.contains(part)));
        format.check_added("some.buffer", false);
    }
}

#[test]
fn lora_names_of_other_writers() {
    let file = "loras/uso.safetensors";
    for style in ["comfy", "kohya", "diffusers"] {
        let format = Format::other(LORA, file, |copy| lora_in(style, &read(&copy.path(LORA))));
        format.check(never);
        format.check_added("double_blocks.0.anything", true);
    }
}

#[test]
fn eight_bit_floats_with_scales() {
    for (prefix, ending) in [("model.diffusion_model.", "scale_weight"), ("", "weight_scale")] {
        let file = "diffusion_models/flux1-dev-fp8.safetensors";
        let format = Format::other(FLUX, file, |copy| scaled(&read(&copy.path(FLUX)), prefix, ending).0);
        let beside = [".scale_input", ".comfy_quant", "scaled_fp8"];
        format.check(|name| beside.iter().any(|end| name.ends_with(end)));
        format.check_added(&format!("{prefix}double_blocks.9.img_mlp.0.{ending}"), true);
    }
}

#[test]
fn gguf_files() {
    let blocks = |name: &str, tensor: &Tensor| {
        let is_large = tensor.rank() == 2 && name.contains("_blocks.");
        if is_large { Kind::Blocks(GgmlDType::Q8_0) } else { Kind::F32 }
    };
    let flux = Format::other(FLUX, "unet/flux1-dev-Q8_0.gguf", |copy| {
        read(&copy.path(FLUX))
            .iter()
            .map(|(name, tensor)| (name.clone(), raw(tensor, blocks(name, tensor))))
            .collect()
    });
    flux.check(never);
    flux.check_added("img_out.weight", true);
    let t5 = Format::other(T5, "t5-xxl/t5.gguf", |copy| {
        read(&copy.path(T5))
            .iter()
            .map(|(name, tensor)| (t5_gguf_name(name), raw(tensor, Kind::F32)))
            .collect()
    });
    t5.check(never);
    t5.check_added("enc.something.weight", false);
}

#[test]
fn an_all_in_one_checkpoint() {
    let format = Format::other(FLUX, "checkpoints/flux1-dev-fp8.safetensors", all_in_one);
    let spare = ["position_ids", "vision_model.", "logit_scale", "_projection."];
    format.check(|name| name.starts_with("text_encoders.") && spare.iter().any(|part| name.contains(part)));
    format.check_added("vae.quant_conv.weight", true);
    format.check_added("model.diffusion_model.extra", true);
    format.check_added("text_encoders.t5xxl.transformer.extra", false);
}
