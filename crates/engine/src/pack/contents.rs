//! The contents of a packed file, and how each tensor is made.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::Error;
use crate::matrix::{Matrix, Tier};
use crate::model::{Model, PACKED_LORA, Part};
use crate::plan::no_room_for;
use crate::uso::lora::Changes;
use crate::weights::{Located, Placed, StoredType, Weights};

/// A tensor of the model, with the tensors that it becomes: itself, and perhaps its scale.
pub(super) struct Packing {
    part: Part,
    name: String,
    pub(super) tensors: Vec<Placed>,
}

/// Everything that goes into a packed file.
pub(super) struct Contents {
    tier: Tier,
    weights: BTreeMap<Part, Weights>,
    changes: Changes,
    pub(super) packings: Vec<Packing>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Prefix of a part in an all-in-one checkpoint; empty if no other part has such names.
const fn prefix(part: Part) -> &'static str {
    match part {
        Part::Transformer => "model.diffusion_model.",
        Part::Autoencoder => "vae.",
        Part::T5 => "text_encoders.t5xxl.transformer.",
        Part::Clip => "text_encoders.clip_l.transformer.",
        Part::Projector => "feature_embedder.",
        Part::Siglip | Part::Lora => "",
    }
}

impl Contents {
    pub(super) fn new(model: &Model, tier: Tier) -> Result<Self, Error> {
        let weights: BTreeMap<Part, Weights> = Part::ALL
            .into_iter()
            .filter(|part| *part != Part::Lora)
            .map(|part| Ok((part, model.weights(part)?)))
            .collect::<Result<_, Error>>()?;
        refuse_quantised(&weights[&Part::Transformer])?;
        let (changes, lora) = model.lora_changes()?;
        let mut metadata = BTreeMap::from([
            ("general.architecture".to_owned(), "uso".to_owned()),
            ("uso.packed".to_owned(), "1".to_owned()),
            ("uso.tier".to_owned(), tier.to_string()),
            ("uso.software".to_owned(), concat!("uso-fleet ", env!("CARGO_PKG_VERSION")).to_owned()),
            (PACKED_LORA.to_owned(), lora),
        ]);
        for (part, weights) in &weights {
            metadata
                .insert(format!("uso.source.{}", prefix_name(*part)), weights.file().display().to_string());
        }
        let packings = weights.iter().flat_map(|(part, weights)| {
            weights.all().map(|(name, located)| Packing::new(*part, name, located, tier))
        });
        let packings: Vec<Packing> = packings.collect();
        refuse_no_room(&packings, tier)?;
        Ok(Self { tier, packings, weights, changes, metadata })
    }

    /// Whether the file is GGUF, which has ggml's blocks; safetensors has eight-bit numbers.
    pub(super) fn is_gguf(&self) -> bool {
        self.tier != Tier::Fp8
    }

    /// The matrices that get the tier's type if their rows are whole blocks of it.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Placed> {
        matrices(&self.packings)
    }

    /// How many of them get another type, by that type.
    pub(super) fn others(&self) -> BTreeMap<StoredType, usize> {
        let mut others = BTreeMap::new();
        let Some(wanted) = self.tier.stored() else { return others };
        for placed in self.matrices().filter(|placed| placed.stored != wanted) {
            *others.entry(placed.stored).or_default() += 1;
        }
        others
    }

    /// The bytes of a tensor, and of its scale if it gets one.
    pub(super) fn produce(&self, packing: &Packing) -> Result<Vec<Vec<u8>>, Error> {
        let weights = &self.weights[&packing.part];
        self.bytes(packing, weights).map_err(|error| weights.fault(&error))
    }

    fn bytes(&self, packing: &Packing, weights: &Weights) -> candle_core::Result<Vec<Vec<u8>>> {
        let Packing { part, name, tensors } = packing;
        let (located, placed) = (weights.located(name)?, &tensors[0]);
        let layer = name.strip_suffix(".weight").unwrap_or(name);
        let changes = if *part == Part::Transformer { self.changes.of(layer) } else { &[] };
        if changes.is_empty() && located.entry.stored == Some(placed.stored) && located.scale.is_none() {
            return Ok(vec![located.bytes()?]);
        }
        let weight = weights.tensor(name, DType::F32, &Device::Cpu)?;
        let weight = changes.iter().try_fold(weight, |weight, change| change.add_to(&weight))?;
        let tier = Tier::of(placed.stored).unwrap_or(self.tier);
        if placed.stored.is_wide_float() {
            return Ok(vec![raw(&weight, placed.stored)?]);
        }
        match Matrix::from_tensor(&weight, tier, DType::F32, &Device::Cpu)? {
            Matrix::Quantised(blocks) => Ok(vec![blocks.blocks().data()?.into_owned()]),
            Matrix::Fp8(codes) => {
                let scale = codes.scale().to_le_bytes().to_vec();
                Ok(vec![codes.codes().flatten_all()?.to_vec1::<u8>()?, scale])
            }
            Matrix::Dense(dense) => Ok(vec![raw(&dense, placed.stored)?]),
            Matrix::Int8(_) => candle_core::bail!("no file has integers of eight bits with scales of rows"),
        }
    }
}

fn prefix_name(part: Part) -> String {
    format!("{part:?}").to_lowercase()
}

fn refuse_quantised(transformer: &Weights) -> Result<(), Error> {
    let quantised =
        transformer.all().find(|(_, located)| !located.entry.stored.is_some_and(StoredType::is_wide_float));
    let Some((name, located)) = quantised else { return Ok(()) };
    let reason = format!(
        "tensor {name} is {} already, and packing would round it again: use a file in bf16, f16 or f32",
        located.entry.type_name
    );
    Err(Error::Weights { file: transformer.file().to_owned(), reason })
}

/// Refuses a tier that no matrix of the transformer's blocks can have, as a plan does: nothing would be quantised.
fn refuse_no_room(packings: &[Packing], tier: Tier) -> Result<(), Error> {
    let Some(wanted) = tier.stored() else { return Ok(()) };
    if matrices(packings).any(|placed| placed.stored == wanted) {
        return Ok(());
    }
    Err(no_room_for(tier))
}

/// The matrices of the transformer's blocks, without those of its modulations.
fn matrices(packings: &[Packing]) -> impl Iterator<Item = &Placed> {
    let of_blocks = packings.iter().filter(|packing| {
        packing.part == Part::Transformer && is_in_block(&packing.name) && !is_modulation(&packing.name)
    });
    of_blocks.map(|packing| &packing.tensors[0]).filter(|placed| placed.shape.len() == 2)
}

impl Packing {
    fn new(part: Part, name: &str, located: &Located, tier: Tier) -> Self {
        let shape = located.entry.shape.clone();
        let stored = packed_type(part, name, located, tier);
        let full = format!("{}{name}", prefix(part));
        let mut tensors = vec![Placed { name: full.clone(), stored, shape }];
        if stored.is_fp8() {
            let stem = full.strip_suffix(".weight").unwrap_or(&full);
            tensors.push(Placed {
                name: format!("{stem}.weight_scale"),
                stored: StoredType::F32,
                shape: Vec::new(),
            });
        }
        Self { part, name: name.to_owned(), tensors }
    }
}

/// The type that a tensor gets. Matrices of the transformer's blocks get the tier's type, those of T5 eight bits. A
/// quantised tensor keeps its type if the file format allows it, and becomes bf16 otherwise.
fn packed_type(part: Part, name: &str, located: &Located, tier: Tier) -> StoredType {
    let stored = located.entry.stored.unwrap_or(StoredType::F32);
    let is_gguf = tier != Tier::Fp8;
    if !stored.is_wide_float() {
        let held =
            if is_gguf { stored.quantised().is_some() } else { stored.is_fp8() && located.scale.is_some() };
        return if held { stored } else { StoredType::BF16 };
    }
    let fits =
        |wanted: StoredType| located.entry.shape.len() == 2 && wanted.bytes(&located.entry.shape).is_some();
    let wanted = match part {
        Part::Transformer if is_modulation(name) => {
            tier.stored().map(|stored| if is_gguf { StoredType::Q8_0 } else { stored })
        }
        Part::Transformer if is_in_block(name) => tier.stored(),
        Part::T5 if name.contains("SelfAttention.") || name.contains("DenseReluDense.") => {
            tier.stored().map(|stored| if is_gguf { StoredType::Q8_0 } else { stored })
        }
        _ => None,
    };
    let is_table = name.contains("relative_attention_bias");
    match wanted.filter(|wanted| fits(*wanted) && !is_table && name.ends_with(".weight")) {
        Some(wanted) => wanted,
        // Candle does not support f64 weights on every device.
        None if stored == StoredType::F64 => StoredType::F32,
        None => stored,
    }
}

fn is_in_block(name: &str) -> bool {
    name.starts_with("double_blocks.") || name.starts_with("single_blocks.")
}

/// Modulations are computed once per picture and influence every token, so they get eight bits.
fn is_modulation(name: &str) -> bool {
    name.contains("_mod.lin.") || name.contains(".modulation.lin.")
}

fn raw(tensor: &Tensor, stored: StoredType) -> candle_core::Result<Vec<u8>> {
    let flat = |dtype| tensor.to_dtype(dtype)?.flatten_all();
    Ok(match stored {
        StoredType::BF16 => to_bytes(flat(DType::BF16)?.to_vec1::<half::bf16>()?, half::bf16::to_le_bytes),
        StoredType::F16 => to_bytes(flat(DType::F16)?.to_vec1::<half::f16>()?, half::f16::to_le_bytes),
        _ => to_bytes(flat(DType::F32)?.to_vec1::<f32>()?, f32::to_le_bytes),
    })
}

fn to_bytes<T, const N: usize>(values: Vec<T>, bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.into_iter().flat_map(bytes).collect()
}
