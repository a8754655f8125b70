//! The engine's side of a comparison: a part of a model of real width.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;
use uso_engine::model::{Manifest, Part as ModelPart};
use uso_engine::plan::{Backend, Keep, Picture, Placement};
use uso_engine::weights::StoredType;
use uso_engine::{Engine as _, Image, Model, ModelFiles, Place, Setup, Tier, Uso, device};

use super::folder::{self, even, placed, save, weights};
use super::request;
use super::sizes::Sizes;
use super::turns::{Ready, serve};

/// What is computed.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    /// A forward pass of the transformer, with its LoRA merged.
    Transformer,
    /// The same in eight bits.
    TransformerQ8,
    /// The autoencoder's two halves.
    Decoder,
    Encoder,
    Siglip,
    T5,
}

impl Part {
    /// Writes what it computes with.
    pub(super) fn write(self, sizes: &Sizes) -> anyhow::Result<TempDir> {
        if !matches!(self, Self::Siglip | Self::T5) {
            return folder::model(sizes.shape, u64::MAX, even);
        }
        let folder = tempfile::tempdir()?;
        let width = sizes.text_width;
        let mut manifest = Manifest::published()?;
        let (part, config) = if self == Self::T5 {
            // Two layers of T5-XXL, at the width that is asked for.
            let config = json!({
                "vocab_size": 32_128, "d_model": width, "d_kv": 64, "d_ff": 5 * width / 2, "num_layers": 2,
                "num_heads": width / 64, "relative_attention_num_buckets": 32,
                "feed_forward_proj": "gated-gelu",
            });
            manifest.t5 = serde_json::from_value(config.clone())?;
            (ModelPart::T5, config)
        } else {
            let (layers, heads) = if width < 4096 { (20, 4) } else { (27, 16) };
            let config = json!({
                "hidden_size": 9 * width / 32, "intermediate_size": 4304 * width / 4096, "image_size": 384,
                "patch_size": 14, "num_attention_heads": heads, "num_hidden_layers": layers,
            });
            manifest.siglip = serde_json::from_value(config.clone())?;
            (ModelPart::Siglip, json!({ "vision_config": config }))
        };
        let place = folder.path().join(part.place());
        save(&place.join("config.json"), &serde_json::to_vec(&config)?)?;
        let tensors = placed(manifest.tensors(part), "", |_, _| StoredType::BF16);
        weights(&place.join("model.safetensors"), &tensors, u64::MAX, even)?;
        Ok(folder)
    }

    /// Loads it in this process and computes it whenever it is asked to.
    pub(super) fn serve(self, folder: &Path) -> anyhow::Result<()> {
        match self {
            Self::Transformer => transformer(folder, Keep::AsStored),
            Self::TransformerQ8 => transformer(folder, Keep::Tier(Tier::Q8_0)),
            Self::Decoder | Self::Encoder => autoencoder(folder, self == Self::Encoder),
            Self::Siglip => siglip(folder),
            Self::T5 => t5(folder),
        }
    }
}

fn transformer(folder: &Path, keep: Keep) -> anyhow::Result<()> {
    // With 512 text tokens and 64 style tokens for each of three states: 2,752 tokens.
    const PICTURE: Picture =
        Picture { width: 512, height: 512, content: Some((512, 512)), styles: 1, steps: 25 };
    let placement = Placement { keep, ..Placement::default() };
    let setup = Setup { placement, ..Setup::new(device::open("cpu")?, Backend::Cpu.compute()) };
    let mut uso = Uso::load_with(&ModelFiles::Folder(folder.to_owned()), &setup)?;
    let sample = uso.encode(&request::request(&PICTURE))?;
    uso.velocity(&sample)?;
    let begun = Instant::now();
    uso.encode(&request::request(&PICTURE))?;
    let ready = Ready { version: version(), sample: begun.elapsed().as_secs_f64() };
    serve(&ready, || Ok(uso.velocity(&sample).map(drop)?))
}

fn autoencoder(folder: &Path, encodes: bool) -> anyhow::Result<()> {
    const SIDE: u32 = 512;
    let (model, place) = open(folder)?;
    let autoencoder = model.autoencoder(&place)?;
    let rgb = (0..3 * SIDE * SIDE).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let image = Image { width: SIDE, height: SIDE, rgb };
    let latent = autoencoder.encode(&image)?;
    autoencoder.decode(&latent)?;
    serve(&ready(), || {
        let done = if encodes { autoencoder.encode(&image) } else { autoencoder.decode(&latent) };
        Ok(done.map(drop)?)
    })
}

fn siglip(folder: &Path) -> anyhow::Result<()> {
    let (model, place) = open(folder)?;
    let siglip = model.siglip_encoder(&place)?;
    let pixels: Vec<f32> = uso_engine::noise::normal(1, 3 * siglip.image_size() * siglip.image_size());
    siglip.encode(&pixels)?;
    serve(&ready(), || Ok(siglip.encode(&pixels).map(drop)?))
}

fn t5(folder: &Path) -> anyhow::Result<()> {
    let (model, place) = open(folder)?;
    let t5 = model.t5_encoder(&place)?;
    let ids: Vec<u32> = (0..512).map(|at| 37 * at % 32_000).collect();
    t5.encode(&ids)?;
    serve(&ready(), || Ok(t5.encode(&ids).map(drop)?))
}

fn open(folder: &Path) -> anyhow::Result<(Model, Place)> {
    let model = Model::open(&ModelFiles::Folder(folder.to_owned()))?;
    Ok((model, Place::new(device::open("cpu")?, Backend::Cpu.compute())))
}

fn ready() -> Ready {
    Ready { version: version(), sample: 0.0 }
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}
