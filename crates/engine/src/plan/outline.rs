//! A model as its headers describe it: its tensors, with sizes and stored types.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::DType;

use crate::Error;
use crate::config::{ClipConfig, ModelConfig, SiglipConfig, T5Config};
use crate::files::missing;
use crate::matrix::{Tier, int8_scale_bytes, rule};
use crate::model::{Adapter, Model, Part};
use crate::placement::Keep;
use crate::weights::StoredType;

/// Everything that a plan needs to know about a model.
#[derive(Debug, Clone)]
pub struct Outline {
    pub(super) name: String,
    pub(super) config: ModelConfig,
    pub(super) t5: T5Config,
    pub(super) clip: ClipConfig,
    pub(super) siglip: SiglipConfig,
    parts: BTreeMap<Part, BTreeMap<String, Stored>>,
    pub(super) branches: BTreeMap<String, Vec<Branch>>,
}

/// A tensor in a file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) shape: Vec<usize>,
    pub(super) stored: StoredType,
    /// Whether each row has a scale of its own. Such a matrix is loaded as the scaled numbers.
    pub(super) by_rows: bool,
}

/// A low-rank change of a layer (out, in): `down` is (rank, in), `up` is (rows, rank).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Branch {
    pub(crate) rank: u64,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
}

/// A linear layer as it is stored in memory.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// (out, in).
    pub(crate) shape: (usize, usize),
    /// The stored type of its matrix.
    pub(crate) kept: StoredType,
    pub(crate) bias: bool,
    /// Side branches; those of a wide float matrix are merged into it.
    pub(crate) branches: Vec<Branch>,
}

/// Role of a tensor of the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role<'a> {
    /// A block, by its name.
    Block(&'a str),
    /// Needed once per job, before its first step.
    Modulation,
    /// Needed in every step, before or after the blocks.
    Ends,
}

impl Outline {
    /// The outline of a model. Reads no more than [`Model::open`] has read.
    ///
    /// # Errors
    /// If a part is missing or faulty, or a size is not possible.
    pub fn of(model: &Model) -> Result<Self, Error> {
        let mut parts = BTreeMap::new();
        for part in model.needed() {
            let weights = model.weights(part)?;
            let tensor = |(name, located): (&String, &crate::weights::Located)| {
                let (stored, shape) = (located.entry.stored?, located.entry.shape.clone());
                let scales = |scale: &crate::weights::Located| scale.entry.shape.iter().product::<usize>();
                let by_rows = located.scale.as_deref().is_some_and(|scale| scales(scale) > 1);
                Some((name.clone(), Stored { shape, stored, by_rows }))
            };
            parts.insert(part, weights.all().filter_map(tensor).collect::<BTreeMap<_, _>>());
        }
        model.check_encoders()?;
        let mut branches: BTreeMap<String, Vec<Branch>> = BTreeMap::new();
        let lora = parts.get(&Part::Lora);
        let shape = |name: &str| lora.and_then(|lora| lora.get(name)).map(|tensor| tensor.shape.as_slice());
        // A packed model's weights contain it already.
        let pairs = if lora.is_some() { model.lora()?.pairs() } else { &[] };
        for pair in pairs {
            if let (Some(&[rank, columns]), Some(&[rows, _])) = (shape(&pair.down), shape(&pair.up)) {
                let [rank, rows, columns] = [rank, rows, columns].map(|side| side as u64);
                branches.entry(pair.layer.clone()).or_default().push(Branch { rank, rows, columns });
            }
        }
        Self {
            name: model.files().name(),
            config: model.config(),
            t5: model.t5()?.clone(),
            clip: model.clip()?.clone(),
            siglip: model.siglip()?.clone(),
            parts,
            branches,
        }
        .checked()
    }

    /// The same with LoRAs besides USO's: beside a quantised transformer they take memory, too.
    ///
    /// # Errors
    /// [`Error::ModelFile`] names a file that is missing or no LoRA.
    pub fn with_loras<'a>(mut self, files: impl IntoIterator<Item = &'a Path>) -> Result<Self, Error> {
        for file in files {
            let adapter = Adapter::open(file, &self.config.flux)?;
            for pair in adapter.pairs() {
                let down = adapter.file.header.tensors.get(&pair.down).map(|entry| entry.shape.as_slice());
                let Some(&[rank, columns]) = down else { continue };
                let [rank, columns] = [rank, columns].map(|side| side as u64);
                // Each range of rows is a branch of its own.
                let branches = pair.rows.iter().map(|rows| Branch { rank, rows: rows.len() as u64, columns });
                self.branches.entry(pair.layer.clone()).or_default().extend(branches);
            }
        }
        Ok(self)
    }

    /// Refuses text lengths that no encoder has. All other sizes are checked against the tensors.
    fn checked(self) -> Result<Self, Error> {
        const MOST: usize = 4096;
        let lengths = [("t5_max_length", self.config.text.t5), ("clip_max_length", self.config.text.clip)];
        match lengths.into_iter().find(|(_, length)| !(1..=MOST).contains(length)) {
            None => Ok(self),
            Some((name, length)) => {
                Err(missing("config.json", format!("{name} {length} is not within 1 to {MOST}")))
            }
        }
    }

    /// Bytes of all tensors that loading reads, as stored in their files.
    pub fn stored_bytes(&self) -> u64 {
        let tensors = self.parts.values().flat_map(BTreeMap::values);
        tensors.map(|tensor| tensor.bytes(tensor.stored)).sum()
    }

    /// The type of most bytes of the matrices of transformer or T5.
    pub(super) fn stored(&self, part: Part) -> StoredType {
        let mut bytes: BTreeMap<StoredType, u64> = BTreeMap::new();
        for (_, tensor) in self.matrices(part) {
            *bytes.entry(tensor.stored).or_default() += tensor.bytes(tensor.stored);
        }
        let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
        most.map_or(StoredType::BF16, |(stored, _)| stored)
    }

    fn matrices(&self, part: Part) -> impl Iterator<Item = (&str, &Stored)> {
        self.tensors(part).filter(move |(name, tensor)| is_matrix(part, name, tensor))
    }

    /// Bytes of the second copy that candle keeps of T5's matrices in q8_0, on the processor.
    pub(super) fn repacked_t5_bytes(&self) -> u64 {
        let bytes = |(_, tensor): (_, &Stored)| match *tensor.shape {
            [rows, columns] => rule::repacked_bytes(StoredType::Q8_0, (rows, columns)),
            _ => 0,
        };
        self.matrices(Part::T5).map(bytes).sum()
    }

    /// Whether a matrix of the blocks can be stored in a tier: k-quants need rows of whole blocks.
    pub(super) fn has_room_for(&self, tier: Tier) -> bool {
        let compute = StoredType::F32;
        tier.stored().is_none_or(|wanted| {
            self.matrices(Part::Transformer).any(|(name, tensor)| {
                kept(Part::Transformer, name, tensor, Keep::Tier(tier), compute) == wanted
            })
        })
    }

    pub(super) fn tensors(&self, part: Part) -> impl Iterator<Item = (&str, &Stored)> {
        self.parts.get(&part).into_iter().flatten().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Bytes of a part that is stored as `keep` says.
    pub(super) fn bytes(&self, part: Part, keep: Keep, compute: DType) -> u64 {
        let compute = plain(compute);
        self.tensors(part).map(|(name, tensor)| tensor.bytes(kept(part, name, tensor, keep, compute))).sum()
    }

    /// Bytes of the transformer by role. Blocks include their side branches.
    pub(super) fn roles(&self, keep: Keep, compute: DType) -> BTreeMap<Role<'_>, u64> {
        let mut roles = BTreeMap::new();
        for (name, tensor) in self.tensors(Part::Transformer) {
            let kept = kept(Part::Transformer, name, tensor, keep, plain(compute));
            *roles.entry(role(name)).or_default() += tensor.bytes(kept);
        }
        for layer in self.branches.keys() {
            let bytes = self.branches_beside(layer, keep, compute).map(|branch| branch.bytes(compute));
            *roles.entry(role(layer)).or_default() += bytes.sum::<u64>();
        }
        roles
    }

    /// Bytes of all side branches, which [`Outline::roles`] includes, too.
    pub(super) fn branch_bytes(&self, keep: Keep, compute: DType) -> u64 {
        let layers = self.branches.keys();
        layers
            .flat_map(|layer| self.branches_beside(layer, keep, compute))
            .map(|branch| branch.bytes(compute))
            .sum()
    }

    /// Bytes of the transformer's weights as stored in its file: first all of them, which a step reads if it computes
    /// its own modulations, then those that a step reads if modulations are computed once per job.
    pub fn step_bytes(&self) -> (u64, u64) {
        let bytes = |(_, tensor): (&str, &Stored)| tensor.bytes(tensor.stored);
        let needed = |(name, _): &(&str, &Stored)| role(name) != Role::Modulation;
        let tensors = || self.tensors(Part::Transformer);
        (tensors().map(bytes).sum(), tensors().filter(needed).map(bytes).sum())
    }

    /// A linear layer of a part, by its name without `.weight`. A missing layer has no rows.
    pub(crate) fn layer(&self, part: Part, name: &str, keep: Keep, compute: DType) -> Layer {
        let weight = format!("{name}.weight");
        let tensors = self.parts.get(&part);
        let tensor = tensors.and_then(|tensors| tensors.get(&weight));
        let shape = match tensor.map(|tensor| tensor.shape.as_slice()) {
            Some(&[rows, columns]) => (rows, columns),
            _ => (0, 0),
        };
        let kept = tensor.map_or(plain(compute), |tensor| kept(part, &weight, tensor, keep, plain(compute)));
        let bias = tensors.is_some_and(|tensors| tensors.contains_key(&format!("{name}.bias")));
        let branches = match part {
            Part::Transformer => self.branches_beside(name, keep, compute).collect(),
            _ => Vec::new(),
        };
        Layer { shape, kept, bias, branches }
    }

    /// The side branches of a layer of the transformer. None if they are merged: branches are merged into wide floats
    /// before these are converted to a tier.
    pub(super) fn branches_beside(
        &self,
        layer: &str,
        keep: Keep,
        compute: DType,
    ) -> impl Iterator<Item = Branch> {
        let tensors = self.parts.get(&Part::Transformer);
        let tensor = tensors.and_then(|tensors| tensors.get(&format!("{layer}.weight")));
        let beside = tensor.is_some_and(|tensor| {
            let quantised = !tensor.stored.is_wide_float();
            quantised
                && kept(Part::Transformer, &format!("{layer}.weight"), tensor, keep, plain(compute))
                    == tensor.stored
        });
        self.branches.get(layer).filter(|_| beside).into_iter().flatten().copied()
    }
}

impl Stored {
    /// Bytes in a type. Rows that are not whole blocks are never stored in that type.
    fn bytes(&self, stored: StoredType) -> u64 {
        let scales = match (stored, self.shape.as_slice()) {
            (StoredType::I8, [rows, _]) => int8_scale_bytes(*rows),
            _ => 0,
        };
        stored.bytes(&self.shape).unwrap_or(0) + scales
    }
}

impl Branch {
    pub(super) fn bytes(self, compute: DType) -> u64 {
        self.rank * (self.rows + self.columns) * compute.size_in_bytes() as u64
    }
}

/// The stored type of numbers in a compute type.
pub(crate) fn plain(compute: DType) -> StoredType {
    match compute {
        DType::F16 => StoredType::F16,
        DType::BF16 => StoredType::BF16,
        _ => StoredType::F32,
    }
}

/// The type that a tensor is stored in in memory.
pub(super) fn kept(part: Part, name: &str, tensor: &Stored, keep: Keep, compute: StoredType) -> StoredType {
    if !is_matrix(part, name, tensor) {
        return compute;
    }
    let quantised = !tensor.stored.is_wide_float();
    let keep = match keep {
        Keep::Tier(tier) if tier != Tier::Bf16 && is_modulation(part, name) => Keep::AsStored,
        keep => keep,
    };
    let wanted = match keep {
        Keep::Tier(Tier::Bf16) => return compute,
        _ if quantised => return if tensor.by_rows { compute } else { tensor.stored },
        Keep::AsStored => return compute,
        Keep::Tier(tier) => tier.stored().unwrap_or(compute),
    };
    if wanted.bytes(&tensor.shape).is_some() { wanted } else { compute }
}

/// Whether it is a weight for modulations, which are never rounded.
fn is_modulation(part: Part, name: &str) -> bool {
    part == Part::Transformer && role(name) == Role::Modulation
}

/// Whether it is one of the large matrices that tiers apply to. Tables, embedders and convolutions are not.
fn is_matrix(part: Part, name: &str, tensor: &Stored) -> bool {
    let inside = match part {
        Part::Transformer => matches!(role(name), Role::Block(_) | Role::Modulation),
        Part::T5 => name.starts_with("encoder.block.") && !name.contains("relative_attention_bias"),
        _ => false,
    };
    inside && tensor.shape.len() == 2 && name.ends_with(".weight")
}

/// The role of a tensor or a layer of the transformer.
pub(super) fn role(name: &str) -> Role<'_> {
    let in_block = name.starts_with("double_blocks.") || name.starts_with("single_blocks.");
    if name.starts_with("final_layer.adaLN_modulation.")
        || in_block && (name.contains("_mod.lin") || name.contains(".modulation.lin"))
    {
        return Role::Modulation;
    }
    if !in_block {
        return Role::Ends;
    }
    let mut dots = name.match_indices('.').map(|(at, _)| at);
    Role::Block(dots.nth(1).map_or(name, |end| &name[..end]))
}

#[cfg(test)]
impl Outline {
    /// A model of these sizes with the published encoders, each part stored in one type, USO's LoRA of rank 128.
    pub(super) fn published(config: ModelConfig, stored: impl Fn(Part) -> StoredType) -> Self {
        use crate::config::Nested;
        use crate::model::small::Published;
        use crate::model::{expected, lora};

        fn read<C: Nested + Published>() -> C {
            C::from_json(C::JSON).unwrap()
        }
        let (t5, clip, siglip): (T5Config, ClipConfig, SiglipConfig) = (read(), read(), read());
        let part = |part: Part| match part {
            Part::Transformer => expected::transformer(&config.flux),
            Part::Autoencoder => expected::autoencoder(&config.ae),
            Part::Projector => expected::projector(&config.projector),
            Part::T5 => expected::t5(&t5),
            Part::Clip => expected::clip(&clip),
            Part::Siglip => expected::siglip(&siglip),
            Part::Lora => Vec::new(),
        };
        let parts = Part::ALL.map(|name| {
            let tensor = |(name_of, shape): (String, Vec<usize>)| {
                let plain = stored(name).bytes(&shape).is_none() || shape.len() < 2;
                let stored = if plain { StoredType::BF16 } else { stored(name) };
                (name_of, Stored { shape, stored, by_rows: false })
            };
            (name, part(name).into_iter().map(tensor).collect())
        });
        let columns = config.flux.hidden_size + config.flux.mlp_hidden();
        let branch = |layer: &str, rows: usize| {
            let columns = if layer.ends_with("linear2") { columns } else { config.flux.hidden_size };
            Branch { rank: 128, rows: rows as u64, columns: columns as u64 }
        };
        let branches = lora::uso_layers(&config.flux);
        let branches = branches.into_iter().map(|(layer, rows)| (layer.clone(), vec![branch(&layer, rows)]));
        let branches = branches.collect();
        Self { name: "published".into(), t5, clip, siglip, parts: parts.into(), branches, config }
    }
}
