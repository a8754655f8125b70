//! Scorers against their originals in PyTorch; `fixtures/scorers/record.py` recorded them.

use std::path::{Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::{Device, Tensor};
use uso_engine::Image;
use uso_engine::scorers::picture::{flatness, sharpness};
use uso_engine::scorers::{PictureHash, Preprocessing, ScorerKind, Scorers};

use crate::golden::{Golden, fixture, image};
use crate::mini::{examples, reference};
use crate::published::{Kind, Raw, Tensors, raw, write_safetensors};

/// Names of the pictures in the recording.
const PICTURES: [(&str, &str); 4] = [
    ("landscape", "inputs/landscape.png"),
    ("banner", "inputs/banner.png"),
    ("portrait", "preprocess/portrait_decoded.png"),
    ("style", "inputs/style_a.png"),
];

fn pictures() -> impl Iterator<Item = (&'static str, Image)> {
    PICTURES.into_iter().map(|(name, path)| (name, image(fixture(path))))
}

fn recorded() -> Golden {
    Golden::open(fixture("scorers/recorded.safetensors"))
}

fn numbers() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture("scorers/recorded.json")).unwrap()).unwrap()
}

/// The numbers of a tensor, which follow from its name; see `generated` in `record.py`.
fn generated(name: &str, shape: &[usize]) -> Raw {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    let hash = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(OFFSET, hash);
    let count: usize = shape.iter().product();
    let is_lookup = ["position", "pos_embed", "token", "class"].iter().any(|word| name.contains(word));
    let (base, spread) = match shape {
        [_] | [] if name.ends_with("weight") => (1.0, 0.25),
        [_] | [] => (0.0, 0.25),
        _ if is_lookup => (0.0, 0.5),
        [rows, ..] => (0.0, 2.0 / ((count / rows) as f64).sqrt()),
    };
    let number = |index: u64| {
        let mut x = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        let unit = (x >> 40) as f64 / f64::from(1 << 23) - 1.0;
        (base + spread * unit) as f32
    };
    let bytes = (1..=count as u64).flat_map(|index| number(index).to_le_bytes()).collect();
    Raw { kind: Kind::F32, shape: shape.to_vec(), bytes }
}

struct Names(Tensors);

impl Names {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.insert(name.into(), generated(name, shape));
    }

    fn linear(&mut self, name: &str, output: usize, input: usize) {
        self.add(&format!("{name}.weight"), &[output, input]);
        self.add(&format!("{name}.bias"), &[output]);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(&format!("{name}.weight"), &[width]);
        self.add(&format!("{name}.bias"), &[width]);
    }

    fn clip_layers(&mut self, half: &str, width: usize, expanded: usize) {
        for layer in 0..2 {
            let at = format!("{half}.encoder.layers.{layer}");
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                self.linear(&format!("{at}.self_attn.{name}"), width, width);
            }
            self.linear(&format!("{at}.mlp.fc1"), expanded, width);
            self.linear(&format!("{at}.mlp.fc2"), width, expanded);
            self.norm(&format!("{at}.layer_norm1"), width);
            self.norm(&format!("{at}.layer_norm2"), width);
        }
    }
}

fn clip() -> Tensors {
    let mut names = Names(Tensors::new());
    names.add("logit_scale", &[]);
    names.add("text_model.embeddings.token_embedding.weight", &[49408, 64]);
    names.add("text_model.embeddings.position_embedding.weight", &[77, 64]);
    names.clip_layers("text_model", 64, 128);
    names.norm("text_model.final_layer_norm", 64);
    names.add("text_projection.weight", &[96, 64]);
    names.add("vision_model.embeddings.class_embedding", &[128]);
    names.add("vision_model.embeddings.patch_embedding.weight", &[128, 3, 8, 8]);
    names.add("vision_model.embeddings.position_embedding.weight", &[17, 128]);
    names.norm("vision_model.pre_layrnorm", 128);
    names.clip_layers("vision_model", 128, 256);
    names.norm("vision_model.post_layernorm", 128);
    names.add("visual_projection.weight", &[96, 128]);
    names.0
}

fn dino() -> Tensors {
    let mut names = Names(Tensors::new());
    names.add("cls_token", &[1, 1, 128]);
    names.add("pos_embed", &[1, 50, 128]);
    names.add("patch_embed.proj.weight", &[128, 3, 4, 4]);
    names.add("patch_embed.proj.bias", &[128]);
    for block in 0..2 {
        let at = format!("blocks.{block}");
        names.norm(&format!("{at}.norm1"), 128);
        names.linear(&format!("{at}.attn.qkv"), 384, 128);
        names.linear(&format!("{at}.attn.proj"), 128, 128);
        names.norm(&format!("{at}.norm2"), 128);
        names.linear(&format!("{at}.mlp.fc1"), 512, 128);
        names.linear(&format!("{at}.mlp.fc2"), 128, 512);
    }
    names.norm("norm", 128);
    names.0
}

fn csd() -> Tensors {
    let mut names = Names(Tensors::new());
    names.add("backbone.class_embedding", &[128]);
    names.add("backbone.positional_embedding", &[17, 128]);
    names.add("backbone.conv1.weight", &[128, 3, 8, 8]);
    names.norm("backbone.ln_pre", 128);
    for block in 0..2 {
        let at = format!("backbone.transformer.resblocks.{block}");
        names.add(&format!("{at}.attn.in_proj_weight"), &[384, 128]);
        names.add(&format!("{at}.attn.in_proj_bias"), &[384]);
        names.linear(&format!("{at}.attn.out_proj"), 128, 128);
        names.norm(&format!("{at}.ln_1"), 128);
        names.linear(&format!("{at}.mlp.c_fc"), 512, 128);
        names.linear(&format!("{at}.mlp.c_proj"), 128, 512);
        names.norm(&format!("{at}.ln_2"), 128);
    }
    names.norm("backbone.ln_post", 128);
    names.add("last_layer_style", &[128, 48]);
    names.add("last_layer_content", &[128, 48]);
    names.0
}

/// The configuration of a small tower.
fn tower(width: usize, depth: usize, patch: usize, side: usize) -> serde_json::Value {
    serde_json::json!({
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth, "projection_dim": 48,
        "num_attention_heads": width / 64, "patch_size": patch, "image_size": side,
    })
}

fn put(folder: &Path, kind: ScorerKind, configuration: &serde_json::Value) -> PathBuf {
    let place = folder.join(kind.folder());
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("config.json"), configuration.to_string()).unwrap();
    place
}

/// A folder with all three scorers as they were recorded.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let configuration = serde_json::json!({
        "projection_dim": 96,
        "vision_config": {
            "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 8, "hidden_act": "quick_gelu",
        },
        "text_config": {
            "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
        },
    });
    for (kind, configuration, tensors) in [
        (ScorerKind::Clip, configuration, clip()),
        (ScorerKind::Dino, tower(128, 2, 4, 28), dino()),
        (ScorerKind::Csd, tower(128, 2, 8, 32), csd()),
    ] {
        let place = put(folder.path(), kind, &configuration);
        write_safetensors(&place.join("model.safetensors"), &tensors, &[]);
    }
    folder
}

fn near(golden: &mut Golden, name: &str, ours: Vec<f32>) {
    let width = ours.len();
    golden.near(name, &Tensor::from_vec(ours, width, &Device::Cpu).unwrap());
}

#[test]
fn features_are_those_of_the_originals() {
    let (folder, mut golden, numbers) = (folder(), recorded(), numbers());
    let scorers = Scorers::load(folder.path(), &ScorerKind::ALL, &Device::Cpu).unwrap();
    for (name, picture) in pictures() {
        for (kind, recorded) in ScorerKind::ALL.into_iter().zip(["clip", "dino", "csd"]) {
            let ours = scorers.feature(kind, &picture).unwrap().unwrap();
            near(&mut golden, &format!("{recorded}.{name}"), ours);
        }
    }
    let texts = numbers["texts"].as_array().unwrap();
    assert_eq!(texts.len(), 3);
    for (index, text) in texts.iter().enumerate() {
        let ours = scorers.text_feature(text.as_str().unwrap()).unwrap().unwrap();
        near(&mut golden, &format!("clip.text.{index}"), ours);
    }
}

#[test]
fn files_that_torch_saved_give_the_same() {
    let (folder, mut golden) = (tempfile::tempdir().unwrap(), recorded());
    let kinds = [ScorerKind::Dino, ScorerKind::Csd];
    let place = put(folder.path(), ScorerKind::Dino, &tower(64, 1, 4, 28));
    let file = place.join("dino_deitsmall16_pretrain.pth");
    std::fs::copy(fixture("scorers/dino_pretrain.pth"), file).unwrap();
    let place = put(folder.path(), ScorerKind::Csd, &tower(64, 1, 8, 32));
    std::fs::copy(fixture("scorers/csd_checkpoint.pth"), place.join("checkpoint.pth")).unwrap();
    let scorers = Scorers::load(folder.path(), &kinds, &Device::Cpu).unwrap();
    for (name, picture) in pictures() {
        for (kind, recorded) in kinds.into_iter().zip(["dino_file", "csd_file"]) {
            let ours = scorers.feature(kind, &picture).unwrap().unwrap();
            near(&mut golden, &format!("{recorded}.{name}"), ours);
        }
    }
}

#[test]
fn pictures_are_prepared_as_by_the_originals() {
    let mut golden = recorded();
    let small = [Preprocessing::clip(32), Preprocessing::dino(28), Preprocessing::csd(32)];
    let published = [Preprocessing::clip(224), Preprocessing::dino(224), Preprocessing::csd(224)];
    for (name, picture) in pictures() {
        for (i, scorer) in ["clip", "dino", "csd"].into_iter().enumerate() {
            let pixels = |preprocessing: &Preprocessing| {
                let side = preprocessing.side() as usize;
                let pixels = preprocessing.pixels(&picture).unwrap();
                Tensor::from_vec(pixels, (3, side, side), &Device::Cpu).unwrap()
            };
            golden.near(&format!("{scorer}.pixels.{name}"), &pixels(&small[i]));
            let every_seventh = Tensor::arange_step(0u32, 224, 7, &Device::Cpu).unwrap();
            let ours = pixels(&published[i]);
            let ours = ours.index_select(&every_seventh, 1).unwrap().index_select(&every_seventh, 2).unwrap();
            golden.near(&format!("{scorer}.published.{name}"), &ours);
        }
    }
}

#[test]
fn measures_of_pixels_are_those_of_the_originals() {
    let numbers = numbers();
    for (name, picture) in pictures() {
        let recorded = &numbers["pictures"][name];
        let is_near = |ours: f32, theirs: &serde_json::Value| {
            let theirs = theirs.as_f64().unwrap();
            assert!((f64::from(ours) - theirs).abs() <= 1e-6 * theirs, "{name}: {ours} and {theirs}");
        };
        is_near(sharpness(&picture).unwrap(), &recorded["sharpness"]);
        is_near(flatness(&picture).unwrap(), &recorded["flatness"]);
        assert_eq!(
            PictureHash::of(&picture).unwrap().to_string(),
            recorded["phash"].as_str().unwrap(),
            "{name}"
        );
    }
}

#[test]
fn scores_are_cosines_of_the_features_and_name_their_profiles() {
    let folder = folder();
    let mut scorers = Scorers::load(folder.path(), &ScorerKind::ALL, &Device::Cpu).unwrap();
    let [picture, content, one, other] = PICTURES.map(|(_, path)| image(fixture(path)));
    let cosine = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>();
    let between = |scorers: &Scorers, kind, a: &Image, b: &Image| {
        cosine(scorers.feature(kind, a).unwrap().unwrap(), scorers.feature(kind, b).unwrap().unwrap())
    };
    let text = scorers.text_feature("a cat").unwrap().unwrap();
    let expected = [
        between(&scorers, ScorerKind::Clip, &picture, &content),
        between(&scorers, ScorerKind::Dino, &picture, &content),
        between(&scorers, ScorerKind::Csd, &picture, &one),
        between(&scorers, ScorerKind::Csd, &picture, &other),
        cosine(scorers.feature(ScorerKind::Clip, &picture).unwrap().unwrap(), text),
    ];
    let styles = [one, other];
    let scores = scorers.score(&picture, Some(&content), &styles, "a cat").unwrap();
    let csd = scores.csd.as_ref().unwrap();
    let found = [
        scores.clip_i.as_ref().unwrap().value,
        scores.dino.as_ref().unwrap().value,
        csd.each[0],
        csd.each[1],
        scores.clip_t.as_ref().unwrap().value,
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
    }
    assert_eq!(csd.min, csd.each[0].min(csd.each[1]));
    assert!((csd.mean - (csd.each[0] + csd.each[1]) / 2.0).abs() < 1e-6);
    assert_eq!(scores.profiles.len(), 3);
    assert!(scores.profiles[0].starts_with("clip-128x2-p8@"), "not the name of the published CLIP");
    assert_eq!(scores.clip_i.as_ref().unwrap().profile, scores.profiles[0]);
    assert_eq!((&csd.profile, scores.clip_t_cut), (&scores.profiles[2], Some(0)));
    assert_eq!(scores.siglip_subject, None);
    let again = scorers.score(&picture, Some(&content), &styles, "a cat").unwrap();
    assert_eq!(again, scores, "the features of references that were kept are the same");
    assert_eq!((scorers.counts().hits, scorers.counts().misses), (4, 4));
}

#[test]
fn scorers_may_be_moved_to_a_thread_of_their_own() {
    let scorers = Scorers::bundled(&Device::Cpu).unwrap();
    let memory = scorers.memory();
    assert_eq!(std::thread::spawn(move || scorers.memory()).join().unwrap(), memory);
}

#[test]
fn what_has_nothing_to_compare_with_is_absent() {
    let folder = folder();
    let mut scorers = Scorers::load(folder.path(), &[ScorerKind::Clip], &Device::Cpu).unwrap();
    let picture = image(fixture("inputs/style_a.png"));
    let scores = scorers.score(&picture, None, std::slice::from_ref(&picture), "").unwrap();
    let json = serde_json::to_value(&scores).unwrap();
    let mut keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["flatness", "phash", "profiles", "sharpness"]);
    assert_eq!(json["phash"]["value"], "cc912587996a9c7b");
    let long = "many words ".repeat(60);
    let scores = scorers.score(&picture, None, &[], &long).unwrap();
    assert_eq!(scores.clip_t_cut, Some(45), "of 122 tokens CLIP reads 77");
}

#[test]
fn other_weights_are_another_profile() {
    let (one, other) = (folder(), folder());
    let mut tensors = dino();
    tensors.get_mut("norm.bias").unwrap().bytes[0] ^= 1;
    write_safetensors(&other.path().join("dino-vits16/model.safetensors"), &tensors, &[]);
    let name = |folder: &Path| uso_engine::scorers::inspect(folder, ScorerKind::Dino).unwrap().profile.name;
    assert_ne!(name(one.path()), name(other.path()));
    assert_eq!(name(one.path()), name(folder().path()));
}

#[test]
fn the_same_weights_in_another_container_are_the_same_profile() {
    let folder = tempfile::tempdir().unwrap();
    let place = put(folder.path(), ScorerKind::Dino, &tower(64, 1, 4, 28));
    let name = || uso_engine::scorers::inspect(folder.path(), ScorerKind::Dino).unwrap().profile.name;
    std::fs::copy(fixture("scorers/dino_pretrain.pth"), place.join("dino_deitsmall16_pretrain.pth")).unwrap();
    let of_torch = name();
    let saved = PthTensors::new(fixture("scorers/dino_pretrain.pth"), None).unwrap();
    let tensor = |name: &String| (name.clone(), raw(&saved.get(name).unwrap().unwrap(), Kind::F32));
    let tensors = saved.tensor_infos().keys().map(tensor).collect();
    write_safetensors(&place.join("model.safetensors"), &tensors, &[]);
    assert_eq!(name(), of_torch);
}

const STYLES: [&str; 5] = ["dots", "mosaic", "neon", "sketch", "watercolour"];
const CONTENTS: [&str; 3] = ["heart", "scene", "star"];

#[test]
fn the_bundled_encoder_knows_the_style_of_a_picture() {
    let mut scorers = Scorers::bundled(&Device::Cpu).unwrap();
    let styles = STYLES.map(|name| reference(&format!("style_{name}.png")));
    let mut compared = 0;
    for example in examples() {
        let picture = reference(&example.golden);
        let scores = scorers.score(&picture, None, &styles, "").unwrap();
        assert_eq!((&scores.csd, &scores.siglip_subject), (&None, &None));
        let scores = scores.siglip_style.unwrap();
        assert!(scores.profile.starts_with("mini-siglip@"), "{}", scores.profile);
        let [own] = example.styles() else { continue };
        let own = STYLES.iter().position(|name| own.contains(name)).unwrap();
        let others = scores.each.iter().enumerate().filter(|(style, _)| *style != own);
        let nearest = others.map(|(_, score)| *score).reduce(f32::max).unwrap();
        assert!(scores.each[own] > 0.9 && nearest < 0.4, "{}: {:?}", example.golden, scores.each);
        compared += 1;
    }
    assert_eq!(compared, 4);
}

#[test]
fn the_bundled_encoder_knows_most_subjects() {
    let mut scorers = Scorers::bundled(&Device::Cpu).unwrap();
    let (mut right, mut compared) = (0, 0);
    for example in examples() {
        let Some(own) = example.content() else { continue };
        let picture = reference(&example.golden);
        let mut score = |name: &str| {
            let content = reference(&format!("content_{name}.png"));
            scorers.score(&picture, Some(&content), &[], "").unwrap().siglip_subject.unwrap().value
        };
        let nearest = CONTENTS.into_iter().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
        right += usize::from(own.contains(nearest));
        compared += 1;
    }
    assert_eq!((right, compared), (4, 5));
}
