//! Published files at their real sizes, as headers before sparse data: they are recognised at once, and every tensor
//! has its place.

use std::path::Path;

use uso_engine::{Model, ModelFiles};

use crate::published::{Kind, Raw, Tensors, write_hole};

/// Names and shapes of a listing: `N` in a name runs over the range before it.
pub(crate) struct Line(pub(crate) &'static str, pub(crate) usize, pub(crate) &'static [usize]);

/// FLUX.1-dev's transformer; 19 double and 38 single blocks.
pub(crate) const FLUX: &[Line] = &[
    Line("img_in.weight", 1, &[3072, 64]),
    Line("img_in.bias", 1, &[3072]),
    Line("txt_in.weight", 1, &[3072, 4096]),
    Line("txt_in.bias", 1, &[3072]),
    Line("time_in.in_layer.weight", 1, &[3072, 256]),
    Line("time_in.in_layer.bias", 1, &[3072]),
    Line("time_in.out_layer.weight", 1, &[3072, 3072]),
    Line("time_in.out_layer.bias", 1, &[3072]),
    Line("vector_in.in_layer.weight", 1, &[3072, 768]),
    Line("vector_in.in_layer.bias", 1, &[3072]),
    Line("vector_in.out_layer.weight", 1, &[3072, 3072]),
    Line("vector_in.out_layer.bias", 1, &[3072]),
    Line("guidance_in.in_layer.weight", 1, &[3072, 256]),
    Line("guidance_in.in_layer.bias", 1, &[3072]),
    Line("guidance_in.out_layer.weight", 1, &[3072, 3072]),
    Line("guidance_in.out_layer.bias", 1, &[3072]),
    Line("double_blocks.N.img_mod.lin.weight", 19, &[18432, 3072]),
    Line("double_blocks.N.img_mod.lin.bias", 19, &[18432]),
    Line("double_blocks.N.img_attn.qkv.weight", 19, &[9216, 3072]),
    Line("double_blocks.N.img_attn.qkv.bias", 19, &[9216]),
    Line("double_blocks.N.img_attn.norm.query_norm.scale", 19, &[128]),
    Line("double_blocks.N.img_attn.norm.key_norm.scale", 19, &[128]),
    Line("double_blocks.N.img_attn.proj.weight", 19, &[3072, 3072]),
    Line("double_blocks.N.img_attn.proj.bias", 19, &[3072]),
    Line("double_blocks.N.img_mlp.0.weight", 19, &[12288, 3072]),
    Line("double_blocks.N.img_mlp.0.bias", 19, &[12288]),
    Line("double_blocks.N.img_mlp.2.weight", 19, &[3072, 12288]),
    Line("double_blocks.N.img_mlp.2.bias", 19, &[3072]),
    Line("double_blocks.N.txt_mod.lin.weight", 19, &[18432, 3072]),
    Line("double_blocks.N.txt_mod.lin.bias", 19, &[18432]),
    Line("double_blocks.N.txt_attn.qkv.weight", 19, &[9216, 3072]),
    Line("double_blocks.N.txt_attn.qkv.bias", 19, &[9216]),
    Line("double_blocks.N.txt_attn.norm.query_norm.scale", 19, &[128]),
    Line("double_blocks.N.txt_attn.norm.key_norm.scale", 19, &[128]),
    Line("double_blocks.N.txt_attn.proj.weight", 19, &[3072, 3072]),
    Line("double_blocks.N.txt_attn.proj.bias", 19, &[3072]),
    Line("double_blocks.N.txt_mlp.0.weight", 19, &[12288, 3072]),
    Line("double_blocks.N.txt_mlp.0.bias", 19, &[12288]),
    Line("double_blocks.N.txt_mlp.2.weight", 19, &[3072, 12288]),
    Line("double_blocks.N.txt_mlp.2.bias", 19, &[3072]),
    Line("single_blocks.N.linear1.weight", 38, &[21504, 3072]),
    Line("single_blocks.N.linear1.bias", 38, &[21504]),
    Line("single_blocks.N.linear2.weight", 38, &[3072, 15360]),
    Line("single_blocks.N.linear2.bias", 38, &[3072]),
    Line("single_blocks.N.norm.query_norm.scale", 38, &[128]),
    Line("single_blocks.N.norm.key_norm.scale", 38, &[128]),
    Line("single_blocks.N.modulation.lin.weight", 38, &[9216, 3072]),
    Line("single_blocks.N.modulation.lin.bias", 38, &[9216]),
    Line("final_layer.linear.weight", 1, &[64, 3072]),
    Line("final_layer.linear.bias", 1, &[64]),
    Line("final_layer.adaLN_modulation.1.weight", 1, &[6144, 3072]),
    Line("final_layer.adaLN_modulation.1.bias", 1, &[6144]),
];

/// T5's encoder as ComfyUI's files have it, its embedding twice.
const T5: &[Line] = &[
    Line("shared.weight", 1, &[32128, 4096]),
    Line("encoder.embed_tokens.weight", 1, &[32128, 4096]),
    Line("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 1, &[32, 64]),
    Line("encoder.block.N.layer.0.SelfAttention.q.weight", 24, &[4096, 4096]),
    Line("encoder.block.N.layer.0.SelfAttention.k.weight", 24, &[4096, 4096]),
    Line("encoder.block.N.layer.0.SelfAttention.v.weight", 24, &[4096, 4096]),
    Line("encoder.block.N.layer.0.SelfAttention.o.weight", 24, &[4096, 4096]),
    Line("encoder.block.N.layer.0.layer_norm.weight", 24, &[4096]),
    Line("encoder.block.N.layer.1.DenseReluDense.wi_0.weight", 24, &[10240, 4096]),
    Line("encoder.block.N.layer.1.DenseReluDense.wi_1.weight", 24, &[10240, 4096]),
    Line("encoder.block.N.layer.1.DenseReluDense.wo.weight", 24, &[4096, 10240]),
    Line("encoder.block.N.layer.1.layer_norm.weight", 24, &[4096]),
    Line("encoder.final_layer_norm.weight", 1, &[4096]),
];

/// CLIP's text tower alone.
const CLIP: &[Line] = &[
    Line("text_model.embeddings.token_embedding.weight", 1, &[49408, 768]),
    Line("text_model.embeddings.position_embedding.weight", 1, &[77, 768]),
    Line("text_model.encoder.layers.N.layer_norm1.weight", 12, &[768]),
    Line("text_model.encoder.layers.N.layer_norm1.bias", 12, &[768]),
    Line("text_model.encoder.layers.N.layer_norm2.weight", 12, &[768]),
    Line("text_model.encoder.layers.N.layer_norm2.bias", 12, &[768]),
    Line("text_model.encoder.layers.N.self_attn.k_proj.weight", 12, &[768, 768]),
    Line("text_model.encoder.layers.N.self_attn.k_proj.bias", 12, &[768]),
    Line("text_model.encoder.layers.N.self_attn.q_proj.weight", 12, &[768, 768]),
    Line("text_model.encoder.layers.N.self_attn.q_proj.bias", 12, &[768]),
    Line("text_model.encoder.layers.N.self_attn.v_proj.weight", 12, &[768, 768]),
    Line("text_model.encoder.layers.N.self_attn.v_proj.bias", 12, &[768]),
    Line("text_model.encoder.layers.N.self_attn.out_proj.weight", 12, &[768, 768]),
    Line("text_model.encoder.layers.N.self_attn.out_proj.bias", 12, &[768]),
    Line("text_model.encoder.layers.N.mlp.fc1.weight", 12, &[3072, 768]),
    Line("text_model.encoder.layers.N.mlp.fc1.bias", 12, &[3072]),
    Line("text_model.encoder.layers.N.mlp.fc2.weight", 12, &[768, 3072]),
    Line("text_model.encoder.layers.N.mlp.fc2.bias", 12, &[768]),
    Line("text_model.final_layer_norm.weight", 1, &[768]),
    Line("text_model.final_layer_norm.bias", 1, &[768]),
];

pub(crate) fn listed(lines: &[Line], kind: Kind) -> Tensors {
    let each = |Line(name, count, shape): &Line| {
        let raw = Raw { kind, shape: shape.to_vec(), bytes: Vec::new() };
        let named = move |i: usize| (name.replace(".N.", &format!(".{i}.")), raw.clone());
        (0..*count).map(named).collect::<Vec<_>>()
    };
    lines.iter().flat_map(each).collect()
}

/// A folder with these files; what was found of the part at `index` of its report.
fn inspected(files: &[(&str, Tensors)], part: &str) -> uso_engine::model::PartInspection {
    let folder = tempfile::tempdir().unwrap();
    for (path, tensors) in files {
        write_hole(&folder.path().join(path), tensors);
    }
    let parts = inspect(folder.path());
    parts.into_iter().find(|found| found.part == part).unwrap()
}

fn inspect(folder: &Path) -> Vec<uso_engine::model::PartInspection> {
    Model::open(&ModelFiles::Folder(folder.to_owned())).unwrap().inspect().parts
}

#[test]
fn the_published_transformer_has_every_tensor_and_no_other() {
    let tensors = listed(FLUX, Kind::BF16);
    assert_eq!(tensors.len(), 780, "as published");
    let found = inspected(&[("diffusion_models/anything.safetensors", tensors)], "FLUX transformer");
    assert_eq!((found.fault, found.used, found.unused), (None, 780, 0));
    assert_eq!(found.bytes, 23_802_816_640);
}

#[test]
fn schnell_needs_no_guidance() {
    let mut tensors = listed(FLUX, Kind::BF16);
    tensors.retain(|name, _| !name.starts_with("guidance_in."));
    let found = inspected(&[("x/flux1-schnell.safetensors", tensors)], "FLUX transformer");
    assert_eq!((found.fault, found.used), (None, 776));
}

#[test]
fn encoders_without_small_files_take_the_published_ones() {
    let files = [
        ("text_encoders/t5xxl_fp16.safetensors", listed(T5, Kind::F16)),
        ("text_encoders/clip_l.safetensors", listed(CLIP, Kind::F16)),
    ];
    let t5 = inspected(&files, "T5 encoder");
    assert_eq!((t5.fault, t5.used, t5.unused), (None, 219, 1), "the second embedding is not used");
    let clip = inspected(&files, "CLIP text encoder");
    assert_eq!((clip.fault, clip.used, clip.unused), (None, 196, 0));
    for part in [t5.configuration, t5.tokenizer, clip.configuration, clip.tokenizer] {
        assert_eq!(part.as_deref(), Some("the published one, embedded"));
    }
}

#[test]
fn other_encoders_of_the_same_family_are_not_taken() {
    // A T5 with position biases in every block, and a CLIP of another width.
    let mut multilingual = listed(T5, Kind::F16);
    let bias = multilingual["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"].clone();
    for block in 1..24 {
        multilingual.insert(
            format!("encoder.block.{block}.layer.0.SelfAttention.relative_attention_bias.weight"),
            bias.clone(),
        );
    }
    let mut wide = listed(CLIP, Kind::F16);
    wide.values_mut()
        .for_each(|raw| raw.shape.iter_mut().filter(|side| **side == 768).for_each(|side| *side = 1280));
    let files = [
        ("text_encoders/a_umt5.safetensors", multilingual),
        ("text_encoders/clip_g.safetensors", wide),
        ("text_encoders/t5xxl_fp16.safetensors", listed(T5, Kind::F16)),
        ("text_encoders/the_clip_l.safetensors", listed(CLIP, Kind::F16)),
    ];
    let (t5, clip) = (inspected(&files, "T5 encoder"), inspected(&files, "CLIP text encoder"));
    assert_eq!(t5.files, ["text_encoders/t5xxl_fp16.safetensors"]);
    assert_eq!(
        (clip.files, clip.passed_over),
        (
            vec!["text_encoders/the_clip_l.safetensors".to_owned()],
            vec!["text_encoders/clip_g.safetensors".to_owned()]
        )
    );
}

#[test]
fn of_several_files_one_rule_says_which_wins() {
    let chosen = |files: &[(&str, Tensors)]| inspected(files, "FLUX transformer").files;
    let (fine, coarse) = (listed(FLUX, Kind::BF16), listed(FLUX, Kind::F8E4M3));
    let files = [("unet/a.safetensors", coarse.clone()), ("unet/b.safetensors", fine.clone())];
    assert_eq!(chosen(&files), ["unet/b.safetensors"], "more bits a number");
    let at_home = "FLUX.1-dev/flux1-dev.safetensors";
    let files = [(at_home, coarse.clone()), ("unet/b.safetensors", fine.clone())];
    assert_eq!(chosen(&files), [at_home], "its own place");
    let mut broken = fine.clone();
    broken.remove("img_in.bias");
    let files = [("a.safetensors", broken), ("unet/b.safetensors", coarse)];
    assert_eq!(chosen(&files), ["unet/b.safetensors"], "what is whole");
    let files = [("unet/b.safetensors", fine.clone()), ("unet/ab.safetensors", fine)];
    assert_eq!(chosen(&files), ["unet/b.safetensors"], "the shorter path");
}

#[test]
fn what_is_no_weight_file_is_named_where_the_part_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("FLUX.1-dev")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 23802932552\n";
    std::fs::write(folder.path().join("FLUX.1-dev/flux1-dev.safetensors"), pointer).unwrap();
    let fault = inspect(folder.path())[0].fault.clone().unwrap();
    assert!(fault.contains("flux1-dev.safetensors") && fault.contains("git-lfs pointer"), "{fault}");
}

#[cfg(unix)]
#[test]
fn links_of_a_cache_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("models--black-forest-labs--FLUX.1-dev/snapshots/0123abcd");
    let blobs = folder.path().join("models--black-forest-labs--FLUX.1-dev/blobs");
    std::fs::create_dir_all(&snapshot).unwrap();
    write_hole(&blobs.join("4d7a"), &listed(FLUX, Kind::BF16));
    std::os::unix::fs::symlink("../../blobs/4d7a", snapshot.join("flux1-dev.safetensors")).unwrap();
    let found = &inspect(folder.path())[0];
    assert_eq!((found.fault.as_deref(), found.files.len()), (None, 1));
}
