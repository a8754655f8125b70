//! The scorers' published files at their real sizes, as headers before sparse data: every tensor is used, or known and
//! counted. And what is said of files that are not as they must be.

use std::path::Path;

use candle_core::Device;
use uso_engine::scorers::{FOLDER, ScorerKind, Scorers, inspect};
use uso_engine::{Error, Model, ModelFiles};

use crate::golden::fixture;
use crate::listings::{Line, listed};
use crate::published::{Kind, Tensors, write_hole};
use crate::torch_file::write_torch_hole;

/// CLIP ViT-B/32 of openai/clip-vit-base-patch32, without the buffers.
const CLIP: &[Line] = &[
    Line("text_model.embeddings.token_embedding.weight", 1, &[49408, 512]),
    Line("text_model.embeddings.position_embedding.weight", 1, &[77, 512]),
    Line("text_model.encoder.layers.N.layer_norm1.weight", 12, &[512]),
    Line("text_model.encoder.layers.N.layer_norm1.bias", 12, &[512]),
    Line("text_model.encoder.layers.N.layer_norm2.weight", 12, &[512]),
    Line("text_model.encoder.layers.N.layer_norm2.bias", 12, &[512]),
    Line("text_model.encoder.layers.N.self_attn.k_proj.weight", 12, &[512, 512]),
    Line("text_model.encoder.layers.N.self_attn.k_proj.bias", 12, &[512]),
    Line("text_model.encoder.layers.N.self_attn.q_proj.weight", 12, &[512, 512]),
    Line("text_model.encoder.layers.N.self_attn.q_proj.bias", 12, &[512]),
    Line("text_model.encoder.layers.N.self_attn.v_proj.weight", 12, &[512, 512]),
    Line("text_model.encoder.layers.N.self_attn.v_proj.bias", 12, &[512]),
    Line("text_model.encoder.layers.N.self_attn.out_proj.weight", 12, &[512, 512]),
    Line("text_model.encoder.layers.N.self_attn.out_proj.bias", 12, &[512]),
    Line("text_model.encoder.layers.N.mlp.fc1.weight", 12, &[2048, 512]),
    Line("text_model.encoder.layers.N.mlp.fc1.bias", 12, &[2048]),
    Line("text_model.encoder.layers.N.mlp.fc2.weight", 12, &[512, 2048]),
    Line("text_model.encoder.layers.N.mlp.fc2.bias", 12, &[512]),
    Line("text_model.final_layer_norm.weight", 1, &[512]),
    Line("text_model.final_layer_norm.bias", 1, &[512]),
    Line("vision_model.embeddings.class_embedding", 1, &[768]),
    Line("vision_model.embeddings.patch_embedding.weight", 1, &[768, 3, 32, 32]),
    Line("vision_model.embeddings.position_embedding.weight", 1, &[50, 768]),
    Line("vision_model.pre_layrnorm.weight", 1, &[768]),
    Line("vision_model.pre_layrnorm.bias", 1, &[768]),
    Line("vision_model.encoder.layers.N.layer_norm1.weight", 12, &[768]),
    Line("vision_model.encoder.layers.N.layer_norm1.bias", 12, &[768]),
    Line("vision_model.encoder.layers.N.layer_norm2.weight", 12, &[768]),
    Line("vision_model.encoder.layers.N.layer_norm2.bias", 12, &[768]),
    Line("vision_model.encoder.layers.N.self_attn.k_proj.weight", 12, &[768, 768]),
    Line("vision_model.encoder.layers.N.self_attn.k_proj.bias", 12, &[768]),
    Line("vision_model.encoder.layers.N.self_attn.q_proj.weight", 12, &[768, 768]),
    Line("vision_model.encoder.layers.N.self_attn.q_proj.bias", 12, &[768]),
    Line("vision_model.encoder.layers.N.self_attn.v_proj.weight", 12, &[768, 768]),
    Line("vision_model.encoder.layers.N.self_attn.v_proj.bias", 12, &[768]),
    Line("vision_model.encoder.layers.N.self_attn.out_proj.weight", 12, &[768, 768]),
    Line("vision_model.encoder.layers.N.self_attn.out_proj.bias", 12, &[768]),
    Line("vision_model.encoder.layers.N.mlp.fc1.weight", 12, &[3072, 768]),
    Line("vision_model.encoder.layers.N.mlp.fc1.bias", 12, &[3072]),
    Line("vision_model.encoder.layers.N.mlp.fc2.weight", 12, &[768, 3072]),
    Line("vision_model.encoder.layers.N.mlp.fc2.bias", 12, &[768]),
    Line("vision_model.post_layernorm.weight", 1, &[768]),
    Line("vision_model.post_layernorm.bias", 1, &[768]),
    Line("visual_projection.weight", 1, &[512, 768]),
    Line("text_projection.weight", 1, &[512, 512]),
    Line("logit_scale", 1, &[]),
];

/// Buffers that older files of CLIP have.
const BUFFERS: &[Line] = &[
    Line("text_model.embeddings.position_ids", 1, &[1, 77]),
    Line("vision_model.embeddings.position_ids", 1, &[1, 50]),
];

/// `dino_deitsmall16_pretrain.pth`.
const DINO: &[Line] = &[
    Line("cls_token", 1, &[1, 1, 384]),
    Line("pos_embed", 1, &[1, 197, 384]),
    Line("patch_embed.proj.weight", 1, &[384, 3, 16, 16]),
    Line("patch_embed.proj.bias", 1, &[384]),
    Line("blocks.N.norm1.weight", 12, &[384]),
    Line("blocks.N.norm1.bias", 12, &[384]),
    Line("blocks.N.attn.qkv.weight", 12, &[1152, 384]),
    Line("blocks.N.attn.qkv.bias", 12, &[1152]),
    Line("blocks.N.attn.proj.weight", 12, &[384, 384]),
    Line("blocks.N.attn.proj.bias", 12, &[384]),
    Line("blocks.N.norm2.weight", 12, &[384]),
    Line("blocks.N.norm2.bias", 12, &[384]),
    Line("blocks.N.mlp.fc1.weight", 12, &[1536, 384]),
    Line("blocks.N.mlp.fc1.bias", 12, &[1536]),
    Line("blocks.N.mlp.fc2.weight", 12, &[384, 1536]),
    Line("blocks.N.mlp.fc2.bias", 12, &[384]),
    Line("norm.weight", 1, &[384]),
    Line("norm.bias", 1, &[384]),
];

/// The `model_state_dict` of CSD's training checkpoint.
const CSD: &[Line] = &[
    Line("module.backbone.class_embedding", 1, &[1024]),
    Line("module.backbone.positional_embedding", 1, &[257, 1024]),
    Line("module.backbone.conv1.weight", 1, &[1024, 3, 14, 14]),
    Line("module.backbone.ln_pre.weight", 1, &[1024]),
    Line("module.backbone.ln_pre.bias", 1, &[1024]),
    Line("module.backbone.transformer.resblocks.N.attn.in_proj_weight", 24, &[3072, 1024]),
    Line("module.backbone.transformer.resblocks.N.attn.in_proj_bias", 24, &[3072]),
    Line("module.backbone.transformer.resblocks.N.attn.out_proj.weight", 24, &[1024, 1024]),
    Line("module.backbone.transformer.resblocks.N.attn.out_proj.bias", 24, &[1024]),
    Line("module.backbone.transformer.resblocks.N.ln_1.weight", 24, &[1024]),
    Line("module.backbone.transformer.resblocks.N.ln_1.bias", 24, &[1024]),
    Line("module.backbone.transformer.resblocks.N.mlp.c_fc.weight", 24, &[4096, 1024]),
    Line("module.backbone.transformer.resblocks.N.mlp.c_fc.bias", 24, &[4096]),
    Line("module.backbone.transformer.resblocks.N.mlp.c_proj.weight", 24, &[1024, 4096]),
    Line("module.backbone.transformer.resblocks.N.mlp.c_proj.bias", 24, &[1024]),
    Line("module.backbone.transformer.resblocks.N.ln_2.weight", 24, &[1024]),
    Line("module.backbone.transformer.resblocks.N.ln_2.bias", 24, &[1024]),
    Line("module.backbone.ln_post.weight", 1, &[1024]),
    Line("module.backbone.ln_post.bias", 1, &[1024]),
    Line("module.last_layer_style", 1, &[1024, 768]),
    Line("module.last_layer_content", 1, &[1024, 768]),
];

fn counts(folder: &Path, kind: ScorerKind) -> (usize, usize, u64) {
    let file = inspect(folder, kind).unwrap();
    assert!(file.memory > 4 * file.parameters && file.memory < 5 * file.parameters, "{}", file.memory);
    (file.used, file.unused, file.parameters)
}

fn said(folder: &Path, kind: ScorerKind) -> String {
    inspect(folder, kind).unwrap_err().to_string()
}

#[test]
fn every_tensor_of_clip_is_used_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = listed(CLIP, Kind::F32);
    let path = folder.path().join("clip-vit-b32/model.safetensors");
    write_hole(&path, &tensors);
    assert_eq!(counts(folder.path(), ScorerKind::Clip), (397, 1, 151_277_312));
    tensors.extend(listed(BUFFERS, Kind::I64));
    write_hole(&path, &tensors);
    assert_eq!(counts(folder.path(), ScorerKind::Clip), (397, 3, 151_277_312));
}

#[test]
fn every_tensor_of_dino_is_used_and_the_file_loads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dino-vits16/dino_deitsmall16_pretrain.pth");
    write_torch_hole(&path, None, &listed(DINO, Kind::F32));
    assert_eq!(counts(folder.path(), ScorerKind::Dino), (150, 0, 21_665_664));
    let scorers = Scorers::load(folder.path(), &[ScorerKind::Dino], &Device::Cpu).unwrap();
    let profile = scorers.profiles().next().unwrap();
    assert!(profile.name.starts_with("dino-vits16@"), "{}", profile.name);
    assert!(scorers.memory() > 4 * 21_665_664);
}

#[test]
fn every_tensor_of_csd_is_used_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = listed(CSD, Kind::F32);
    let path = folder.path().join("csd-vitl14/pytorch_model.bin");
    write_torch_hole(&path, Some("model_state_dict"), &tensors);
    assert_eq!(counts(folder.path(), ScorerKind::Csd), (296, 1, 303_966_208));
    // The same in another container, without the prefix.
    let bare = tensors.into_iter().map(|(name, raw)| (name.replace("module.", ""), raw)).collect();
    std::fs::remove_file(&path).unwrap();
    write_hole(&folder.path().join("csd-vitl14/model.safetensors"), &bare);
    assert_eq!(counts(folder.path(), ScorerKind::Csd), (296, 1, 303_966_208));
}

#[test]
fn a_tensor_that_is_missing_misshapen_or_unknown_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("csd-vitl14/csd.pth");
    let spoilt = |spoil: &dyn Fn(&mut Tensors)| {
        let mut tensors = listed(CSD, Kind::F32);
        spoil(&mut tensors);
        write_torch_hole(&path, Some("model_state_dict"), &tensors);
        said(folder.path(), ScorerKind::Csd)
    };
    let last = "module.backbone.transformer.resblocks.23.mlp.c_proj.bias";
    let missing = spoilt(&|tensors| drop(tensors.remove(last)));
    assert!(
        missing.contains("csd.pth") && missing.contains(&format!("tensor {last} is missing")),
        "{missing}"
    );
    let shape = spoilt(&|tensors| tensors.get_mut(last).unwrap().shape = vec![512]);
    assert!(shape.contains(last) && shape.contains("[512]") && shape.contains("[1024]"), "{shape}");
    let unknown = spoilt(&|tensors| {
        let one = tensors[last].clone();
        tensors.insert("module.backbone.transformer.resblocks.24.mlp.c_proj.bias".into(), one);
    });
    assert!(unknown.contains("no place") && unknown.contains("resblocks.24"), "{unknown}");
}

#[test]
fn a_folder_without_the_scorer_says_what_it_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let said = said(folder.path(), ScorerKind::Dino);
    assert!(said.contains("dino-vits16") && said.contains("dino_deitsmall16_pretrain.pth"), "{said}");
}

#[test]
fn the_clip_of_the_scorers_is_not_taken_for_the_models_own() {
    let found = |place: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(place).join("clip-vit-b32/model.safetensors");
        write_hole(&path, &listed(CLIP, Kind::F32));
        let model = Model::open(&ModelFiles::Folder(folder.path().to_owned())).unwrap();
        let parts = model.inspect().parts;
        parts.into_iter().find(|part| part.part == "CLIP text encoder").unwrap().files
    };
    assert_eq!(found(FOLDER), Vec::<String>::new());
    assert_eq!(found("text"), ["text/clip-vit-b32/model.safetensors"]);
}

#[test]
fn weights_without_direction_are_refused_when_they_score() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dino-vits16/dino_deitsmall16_pretrain.pth");
    write_torch_hole(&path, None, &listed(DINO, Kind::F32));
    let mut scorers = Scorers::load(folder.path(), &[ScorerKind::Dino], &Device::Cpu).unwrap();
    let picture = crate::golden::image(fixture("inputs/style_a.png"));
    let error = scorers.score(&picture, Some(&picture), &[], "").unwrap_err();
    assert!(matches!(&error, Error::Weights { reason, .. } if reason.contains("no direction")), "{error}");
}
