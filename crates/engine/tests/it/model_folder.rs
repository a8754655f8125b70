//! Layouts of model folders, and the errors for faulty ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use uso_engine::tokenize::T5Tokenizer;
use uso_engine::{Defaults, Engine as _, Model, ModelConfig, ModelFiles, Place, Uso};

use crate::golden::{fixture, tiny, values};

const CPU: Device = Device::Cpu;
const PLACE: Place = Place::new(CPU, DType::F32);
pub(crate) const FLUX: &str = "FLUX.1-dev/flux1-dev.safetensors";
pub(crate) const AE: &str = "FLUX.1-dev/ae.safetensors";
pub(crate) const LORA: &str = "USO/uso_flux_v1.0/dit_lora.safetensors";
pub(crate) const PROJECTOR: &str = "USO/uso_flux_v1.0/projector.safetensors";

pub(crate) const T5: &str = "t5-xxl/model.safetensors";
pub(crate) const SIGLIP: &str = "siglip/model.safetensors";
pub(crate) const CLIP: &str = "clip-vit-l14/model.safetensors";

/// A copy of a model that a test may damage.
pub(crate) struct Copy(tempfile::TempDir);

impl Copy {
    pub(crate) fn new() -> Self {
        Self::of(&fixture("tiny"))
    }

    pub(crate) fn of(model: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(model, folder.path());
        Self(folder)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub(crate) fn edit(&self, file: &str, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
        let mut tensors = candle_core::safetensors::load(self.path(file), &CPU).unwrap();
        change(&mut tensors);
        candle_core::safetensors::save(&tensors, self.path(file)).unwrap();
    }

    pub(crate) fn files(&self) -> ModelFiles {
        ModelFiles::Folder(self.0.path().to_owned())
    }

    /// The message with which loading fails.
    fn refusal(&self) -> String {
        match Uso::load(&self.files(), &CPU, DType::F32) {
            Ok(_) => panic!("the model loaded"),
            Err(error) => error.to_string(),
        }
    }
}

/// The bundled model as a folder.
pub(crate) fn bundled_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/mini")
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn assert_names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not name {part:?}");
    }
}

#[test]
fn the_undamaged_copy_loads() {
    Uso::load(&Copy::new().files(), &CPU, DType::F32).unwrap();
}

#[test]
fn a_missing_tensor_is_named_with_its_file() {
    for (file, tensor) in [
        (FLUX, "double_blocks.1.txt_mlp.2.bias"),
        (AE, "decoder.mid.attn_1.q.weight"),
        (LORA, "single_blocks.2.processor.proj_lora.up.weight"),
        (PROJECTOR, "feature_embedder.mid_layer_norm.bias"),
        ("t5-xxl/model.safetensors", "encoder.block.1.layer.1.DenseReluDense.wo.weight"),
        ("clip-vit-l14/model.safetensors", "text_model.final_layer_norm.weight"),
        ("siglip/model.safetensors", "vision_model.encoder.layers.9.mlp.fc1.bias"),
    ] {
        let model = Copy::new();
        model.edit(file, |tensors| assert!(tensors.remove(tensor).is_some(), "no {tensor} to remove"));
        assert_names(&model.refusal(), &[tensor, file, "missing"]);
    }
}

#[test]
fn a_misshapen_tensor_is_named_with_its_file_and_both_shapes() {
    for (file, tensor) in [
        (FLUX, "single_blocks.0.linear2.weight"),
        (AE, "encoder.conv_in.weight"),
        (LORA, "double_blocks.0.processor.qkv_lora1.up.weight"),
        (LORA, "double_blocks.0.processor.qkv_lora2.down.weight"),
        (PROJECTOR, "feature_embedder.high_projection.weight"),
        ("t5-xxl/model.safetensors", "shared.weight"),
        ("clip-vit-l14/model.safetensors", "text_model.embeddings.token_embedding.weight"),
        ("siglip/model.safetensors", "vision_model.embeddings.position_embedding.weight"),
    ] {
        let model = Copy::new();
        model.edit(file, |tensors| {
            let wrong = tensors[tensor].pad_with_zeros(1, 0, 1).unwrap();
            tensors.insert(tensor.into(), wrong);
        });
        assert_names(&model.refusal(), &[tensor, file, "has shape", "asks for"]);
    }
}

#[test]
fn a_tensor_without_a_place_is_refused_in_the_four_files_of_uso() {
    for (file, tensor) in [
        (FLUX, "double_blocks.2.img_mod.lin.weight"),
        (AE, "encoder.quant_conv.weight"),
        (LORA, "double_blocks.9.processor.qkv_lora1.up.weight"),
        (PROJECTOR, "feature_embedder.extra.weight"),
    ] {
        let model = Copy::new();
        model.edit(file, |tensors| {
            tensors.insert(tensor.into(), Tensor::zeros((2, 2), DType::F32, &CPU).unwrap());
        });
        assert_names(&model.refusal(), &[tensor, file, "no place"]);
    }
}

#[test]
fn towers_and_heads_that_uso_does_not_use_are_left_alone() {
    let model = Copy::new();
    for folder in ["t5-xxl", "clip-vit-l14", "siglip"] {
        model.edit(&format!("{folder}/model.safetensors"), |tensors| {
            tensors.insert("some.buffer".into(), Tensor::zeros(2, DType::F32, &CPU).unwrap());
        });
    }
    Uso::load(&model.files(), &CPU, DType::F32).unwrap();
}

#[test]
fn a_missing_file_is_named() {
    for file in [FLUX, AE, LORA, PROJECTOR, "siglip/config.json", "siglip/preprocessor_config.json"] {
        let model = Copy::new();
        std::fs::remove_file(model.path(file)).unwrap();
        assert_names(&model.refusal(), &[file]);
    }
}

#[test]
fn small_files_are_found_beside_weights_in_the_model_folder_itself() {
    const NAME: &str = "preprocessor_config.json";
    let model = Copy::new();
    let fingerprint = || Uso::load(&model.files(), &CPU, DType::F32).unwrap().fingerprint().to_owned();
    let before = fingerprint();
    std::fs::rename(model.path(SIGLIP), model.path("siglip.safetensors")).unwrap();
    std::fs::rename(model.path(&format!("siglip/{NAME}")), model.path(NAME)).unwrap();
    assert_eq!(fingerprint(), before);
}

#[test]
fn a_file_that_is_no_checkpoint_is_named() {
    let model = Copy::new();
    std::fs::write(model.path(LORA), b"<html>404</html>").unwrap();
    assert_names(&model.refusal(), &[LORA]);
}

/// A folder of the alternative layouts by itself.
/// Nothing of it is part of the model.
#[cfg(unix)]
#[test]
fn strange_files_do_not_stop_a_load_and_change_no_fingerprint() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let copy = Copy::new();
    let fingerprint = || Uso::load(&copy.files(), &CPU, DType::F32).unwrap().fingerprint().to_owned();
    let before = fingerprint();
    std::fs::create_dir(copy.path("lost+found")).unwrap();
    std::fs::set_permissions(copy.path("lost+found"), PermissionsExt::from_mode(0o0)).unwrap();
    symlink("/nowhere/at/all.safetensors", copy.path("dangling.safetensors")).unwrap();
    symlink("/nowhere/at/all.json", copy.path("model.safetensors.index.json")).unwrap();
    symlink("round.gguf", copy.path("round.gguf")).unwrap();
    std::fs::create_dir(copy.path("folder.safetensors")).unwrap();
    std::fs::write(copy.path("notes.json"), "{ not even JSON").unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(copy.path("pipe.safetensors")).status();
    assert!(pipe.unwrap().success());
    assert_eq!(fingerprint(), before);
}

#[cfg(unix)]
#[test]
fn a_part_behind_a_link_that_leads_nowhere_is_named() {
    let copy = Copy::new();
    std::fs::remove_file(copy.path(AE)).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all.safetensors", copy.path(AE)).unwrap();
    assert_names(&copy.refusal(), &[AE, "No such file"]);
}

#[test]
fn what_lies_in_the_place_of_weights_is_called_what_it_is() {
    let whole = std::fs::read(fixture("tiny").join(FLUX)).unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let cases: [(&[u8], &str); 4] = [
        (pointer, "git-lfs pointer"),
        (b"<!DOCTYPE html><html>Please log in</html>", "web page"),
        (&whole[..whole.len() / 2], "cut short"),
        (&whole[..20], "cut short"),
    ];
    for (bytes, name) in cases {
        let copy = Copy::new();
        std::fs::write(copy.path(FLUX), bytes).unwrap();
        assert_names(&copy.refusal(), &[FLUX, name]);
    }
}

fn alternative(folder: &str) -> Copy {
    let copy = Copy(tempfile::tempdir().unwrap());
    std::fs::create_dir(copy.path(folder)).unwrap();
    self::copy(&fixture("alt").join(folder), &copy.path(folder));
    copy
}

#[test]
fn shards_and_pickles_hold_the_same_text_encoder() {
    let ids: Vec<u32> = (0..40).map(|i| i * 7 % 500).collect();
    let states = |files: &ModelFiles| {
        let encoder = Model::open(files).unwrap().t5_encoder(&PLACE).unwrap();
        values(&encoder.encode(&ids).unwrap())
    };
    let whole = states(&tiny());
    for folder in ["text_encoder_2", "text_encoder_2_bin"] {
        assert_eq!(states(&alternative(folder).files()), whole, "{folder}");
    }
}

#[test]
fn a_flat_clip_configuration_reads_like_the_nested_one() {
    let ids: Vec<u32> = (0..77).map(|i| (i * 13 + 5) % 734).collect();
    let pooled = |files: &ModelFiles| {
        let encoder = Model::open(files).unwrap().clip_encoder(&PLACE).unwrap();
        values(&encoder.encode(&ids).unwrap())
    };
    assert_eq!(pooled(&alternative("text_encoder").files()), pooled(&tiny()));
}

#[test]
fn a_missing_shard_is_named() {
    let copy = alternative("text_encoder_2");
    let shard = "text_encoder_2/model-00002-of-00002.safetensors";
    std::fs::remove_file(copy.path(shard)).unwrap();
    for index in [true, false] {
        if !index {
            std::fs::remove_file(copy.path("text_encoder_2/model.safetensors.index.json")).unwrap();
        }
        let error = Model::open(&copy.files()).unwrap().t5().err().unwrap().to_string();
        assert_names(&error, &[shard, "shard not found"]);
    }
}

#[test]
fn a_shard_index_cannot_point_out_of_its_folder() {
    let copy = alternative("text_encoder_2");
    let index = copy.path("text_encoder_2/model.safetensors.index.json");
    std::fs::write(index, r#"{"weight_map": {"shared.weight": "../text_encoder/model.safetensors"}}"#)
        .unwrap();
    std::fs::remove_file(copy.path("text_encoder_2/model-00002-of-00002.safetensors")).unwrap();
    let inspection = Model::open(&copy.files()).unwrap().inspect();
    let reason = &inspection.unreadable["text_encoder_2/model.safetensors.index.json"];
    assert_names(reason, &["../text_encoder/model.safetensors", "not a file name"]);
}

#[test]
fn the_published_t5_folder_without_tokenizer_json_uses_the_vocabulary_inside() {
    let model = Copy::new();
    std::fs::remove_file(model.path("t5-xxl/tokenizer.json")).unwrap();
    let ids = T5Tokenizer::load(&model.files(), "t5-xxl").unwrap().encode("a", 4).unwrap().ids;
    assert_eq!(ids, [3, 9, 1, 0], "ids of the published vocabulary");
}

#[test]
fn a_folder_without_config_has_the_sizes_of_flux_dev() {
    let folder = tempfile::tempdir().unwrap();
    let config = ModelConfig::read(&ModelFiles::Folder(folder.path().to_owned())).unwrap();
    assert_eq!((config.flux.hidden_size, config.flux.depth, config.flux.depth_single_blocks), (3072, 19, 38));
    assert_eq!((config.text.t5, config.text.clip), (512, 77));
    assert_eq!(config.defaults, Defaults::default());
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    let model = Copy::new();
    let text = std::fs::read_to_string(model.path("config.json")).unwrap();
    let refusal = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(model.path("config.json"), text.replacen(from, to, 1)).unwrap();
        model.refusal()
    };
    assert_names(
        &refusal("\"num_heads\": 4", "\"num_heads\": 5"),
        &["config.json", "num_heads 5", "hidden_size 64"],
    );
    assert_names(&refusal("\"ch\": 32", "\"ch\": 9000000000000000000"), &["config.json", "ae.ch", "65536"]);
    assert_names(
        &refusal("\"num_res_blocks\": 1", "\"num_res_blocks\": 0"),
        &["ae.num_res_blocks 0", "1024"],
    );
    assert_names(&refusal("\"ch_mult\": [", "\"ch_mult\": [1, "), &["ae.ch_mult [1, 1, 1, 2, 2]"]);
}

#[test]
fn parts_that_do_not_fit_each_other_are_refused_by_both_sizes() {
    for (file, from, to, named) in [
        (
            "config.json",
            "\"in_channels\": 64",
            "\"in_channels\": 32",
            ["flux.in_channels 32", "ae.z_channels 16"],
        ),
        (
            "config.json",
            "\"clip_max_length\": 77",
            "\"clip_max_length\": 78",
            ["clip_max_length 78", "77 of CLIP"],
        ),
    ] {
        let model = Copy::new();
        let text = std::fs::read_to_string(model.path(file)).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(model.path(file), text.replacen(from, to, 1)).unwrap();
        assert_names(&model.refusal(), &named);
    }
}
