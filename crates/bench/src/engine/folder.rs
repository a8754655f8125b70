//! Model folders that a measurement needs: true names and shapes, random numbers or holes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use uso_engine::model::{Manifest, Part};
use uso_engine::weights::{GGUF_ALIGNMENT, Placed, StoredType, gguf_header, safetensors_header};
use uso_engine::{ModelFiles, noise};

/// Width and depth of a transformer whose heads are FLUX.1-dev's.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) hidden: usize,
    pub(super) double: usize,
    pub(super) single: usize,
    /// T5's tokens.
    pub(super) text: usize,
}

impl Shape {
    /// The width of FLUX.1-dev.
    pub(super) const REAL: usize = 3072;

    /// Narrow models have the bundled model's autoencoder, others FLUX.1-dev's.
    fn is_narrow(self) -> bool {
        self.hidden < Self::REAL
    }

    /// The bundled model's configuration, with this transformer.
    fn config(self) -> anyhow::Result<Value> {
        const HEAD: usize = 128;
        let mut config: Value = ModelFiles::Bundled.read_json("config.json")?;
        for (key, value) in [
            ("hidden_size", json!(self.hidden)),
            ("num_heads", json!(self.hidden / HEAD)),
            ("axes_dim", json!([16, 56, 56])),
            ("depth", json!(self.double)),
            ("depth_single_blocks", json!(self.single)),
        ] {
            config["flux"][key] = value;
        }
        config["projector"]["hidden_size"] = json!(self.hidden);
        config["projector"]["style_token_nums"] = json!(64);
        config["t5_max_length"] = json!(self.text);
        if !self.is_narrow() {
            config.as_object_mut().context("config.json is no object")?.remove("ae");
        }
        Ok(config)
    }
}

/// Files of the encoders: the bundled model's, which take next to no memory.
const SMALL: [&str; 9] = [
    "t5-xxl/config.json",
    "t5-xxl/model.safetensors",
    "t5-xxl/tokenizer.json",
    "clip-vit-l14/config.json",
    "clip-vit-l14/model.safetensors",
    "clip-vit-l14/tokenizer.json",
    "siglip/config.json",
    "siglip/model.safetensors",
    "siglip/preprocessor_config.json",
];

/// A factor for a row of a tensor, by the tensor's name.
pub(super) type Factor = fn(name: &str, row: usize) -> f32;

/// Every row as it is.
pub(super) fn even(_: &str, _: usize) -> f32 {
    1.0
}

/// Writes a model with this transformer, whose numbers end after `filled` bytes of its file.
pub(super) fn model(shape: Shape, filled: u64, factor: Factor) -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir().context("cannot make a folder for a model")?;
    let config = shape.config()?;
    save(&folder.path().join("config.json"), &serde_json::to_vec(&config)?)?;
    let autoencoder = Part::Autoencoder.place();
    for path in SMALL.into_iter().chain(shape.is_narrow().then_some(autoencoder)) {
        save(&folder.path().join(path), &ModelFiles::Bundled.read(path)?)?;
    }
    let manifest =
        Manifest { config: serde_json::from_value(config)?, lora_rank: 16, ..Manifest::published()? };
    let parts = [
        (Part::Transformer, StoredType::BF16),
        (Part::Lora, StoredType::BF16),
        (Part::Projector, StoredType::BF16),
        (Part::Autoencoder, StoredType::F32),
    ];
    for (part, stored) in parts.into_iter().take(if shape.is_narrow() { 3 } else { 4 }) {
        let tensors = placed(manifest.tensors(part), "", |_, _| stored);
        weights(&folder.path().join(part.place()), &tensors, filled, factor)?;
    }
    Ok(folder)
}

/// Tensors under a prefix, each in a type of its own.
pub(super) fn placed(
    tensors: Vec<(String, Vec<usize>)>,
    prefix: &str,
    stored: impl Fn(&str, &[usize]) -> StoredType,
) -> Vec<Placed> {
    let placed = |(name, shape): (String, Vec<usize>)| Placed {
        stored: stored(&name, &shape),
        name: format!("{prefix}{name}"),
        shape,
    };
    tensors.into_iter().map(placed).collect()
}

/// Writes a safetensors file in bf16 and f32. Behind `filled` bytes there are holes.
pub(super) fn weights(path: &Path, tensors: &[Placed], filled: u64, factor: Factor) -> anyhow::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, create(path)?);
    file.write_all(&safetensors_header(&tensors.iter().collect::<Vec<_>>(), &BTreeMap::new()))?;
    let (numbers, mut written) = (Numbers::new(), 0);
    for tensor in tensors {
        if written >= filled {
            file.seek(SeekFrom::Current(tensor.bytes().try_into()?))?;
        } else {
            numbers.write(&mut file, tensor, factor)?;
            written += tensor.bytes();
        }
    }
    let end = file.stream_position()?;
    file.into_inner().context("cannot write weights")?.set_len(end).context("cannot write weights")
}

/// Writes a file's true header, and a hole where its numbers would be.
pub(super) fn hole(path: &Path, tensors: &[Placed]) -> anyhow::Result<()> {
    let is_gguf = path.extension().is_some_and(|extension| extension == "gguf");
    let all: Vec<&Placed> = tensors.iter().collect();
    let nothing_else = BTreeMap::new();
    let (header, alignment) = if is_gguf {
        (gguf_header(&all, &nothing_else), GGUF_ALIGNMENT as u64)
    } else {
        (safetensors_header(&all, &nothing_else), 1)
    };
    let mut file = create(path)?;
    file.write_all(&header)?;
    let numbers = tensors.iter().map(|tensor| tensor.bytes().next_multiple_of(alignment));
    Ok(file.set_len(header.len() as u64 + numbers.sum::<u64>())?)
}

/// Writes a small file.
pub(super) fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    Ok(create(path)?.write_all(bytes)?)
}

fn create(path: &Path) -> anyhow::Result<File> {
    let above = path.parent().context("a file has no folder")?;
    std::fs::create_dir_all(above)?;
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Normal numbers, begun elsewhere for each tensor.
struct Numbers(Vec<f32>);

impl Numbers {
    fn new() -> Self {
        // A prime: no row is another one again.
        const COUNT: usize = 1_048_573;
        Self(noise::normal(1, COUNT))
    }

    /// Weights are as large as keeps activations where they are; scales are 1.
    fn write(&self, file: &mut impl Write, tensor: &Placed, factor: Factor) -> std::io::Result<()> {
        let Placed { name, stored, shape } = tensor;
        let columns: usize = shape.iter().skip(1).product();
        let is_scale = shape.len() == 1 && !name.ends_with("bias");
        let (middle, spread) = if is_scale { (1.0, 0.02) } else { (0.0, 1.0 / (columns as f32).sqrt()) };
        let first = name.bytes().fold(0usize, |at, byte| (31 * at + usize::from(byte)) % self.0.len());
        let mut numbers = self.0.iter().cycle().skip(first);
        let mut bytes = Vec::new();
        for row in 0..shape.first().copied().unwrap_or(1) {
            let factor = factor(name, row);
            bytes.clear();
            for number in numbers.by_ref().take(columns) {
                let number = (middle + spread * number) * factor;
                match stored {
                    // The upper half of the same number in f32.
                    StoredType::BF16 => bytes.extend_from_slice(&number.to_le_bytes()[2..]),
                    _ => bytes.extend_from_slice(&number.to_le_bytes()),
                }
            }
            file.write_all(&bytes)?;
        }
        Ok(())
    }
}
