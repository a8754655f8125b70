//! What streamed layers take: slots of device memory, and the host memory that they are copied from.

use std::collections::BTreeMap;

use candle_core::DType;

use super::outline::{Outline, Role, kept, plain, role};
use crate::config::FluxConfig;
use crate::model::Part;
use crate::placement::{Blocks, Keep, Place, Placement, T5Place};
use crate::stream::{Kind, Slots};
use crate::weights::StoredType;

/// Bytes that streamed layers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Streaming {
    /// On the device, while they are used: two layers at a time.
    pub(crate) slots: u64,
    /// In host memory, pinned.
    pub(crate) pinned: u64,
}

/// A tensor of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Numbers {
    stored: StoredType,
    shape: Vec<usize>,
}

impl Kind for Numbers {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn bytes(&self) -> u64 {
        self.stored.bytes(&self.shape).unwrap_or(0)
    }
}

/// Layers by what they belong to and their numbers, each with its tensors.
type Layers<'a> = BTreeMap<(&'a str, usize), Vec<Numbers>>;

impl Outline {
    /// What the transformer's blocks take if they are streamed.
    pub(crate) fn streamed_blocks(&self, keep: Keep, compute: DType) -> Streaming {
        let block = |name| matches!(role(name), Role::Block(_)).then(|| numbered(name)).flatten();
        of(&self.layers(Part::Transformer, keep, compute, block))
    }

    /// What the layers for modulations take if they are streamed.
    pub(crate) fn streamed_modulations(&self, keep: Keep, compute: DType) -> Streaming {
        let config = &self.config.flux;
        let layer = |name| (role(name) == Role::Modulation).then(|| modulation(config, name)).flatten();
        of(&self.layers(Part::Transformer, keep, compute, layer))
    }

    /// What T5's blocks take if they are streamed.
    pub(crate) fn streamed_t5(&self, keep: Keep, compute: DType) -> Streaming {
        let block = |name: &str| {
            let rest =
                name.strip_prefix("encoder.block.").filter(|_| !name.contains("relative_attention_bias"));
            Some(("", rest?.split('.').next()?.parse().ok()?))
        };
        of(&self.layers(Part::T5, keep, compute, block))
    }

    /// Host memory that a placement pins on a device with its own memory. `t5` is how T5 is kept, and its compute type.
    pub(crate) fn pinned_bytes(&self, placement: &Placement, dtype: DType, t5: (Keep, DType)) -> u64 {
        let blocks =
            (placement.blocks == Blocks::Streamed).then(|| self.streamed_blocks(placement.keep, dtype));
        let modulations =
            (placement.modulations == Place::Host).then(|| self.streamed_modulations(placement.keep, dtype));
        let t5 = (placement.t5 == T5Place::Streamed).then(|| self.streamed_t5(t5.0, t5.1));
        [blocks, modulations, t5].into_iter().flatten().map(|streaming| streaming.pinned).sum()
    }

    /// The layers that `layer_of` finds the names of tensors to belong to.
    fn layers<'a>(
        &'a self,
        part: Part,
        keep: Keep,
        compute: DType,
        layer_of: impl Fn(&'a str) -> Option<(&'a str, usize)>,
    ) -> Layers<'a> {
        let mut layers = Layers::new();
        let wide = |shape: &[usize]| Numbers { stored: plain(compute), shape: shape.to_vec() };
        for (name, tensor) in self.tensors(part) {
            let Some(layer) = layer_of(name) else { continue };
            let stored = kept(part, name, tensor, keep, plain(compute));
            let tensors = layers.entry(layer).or_default();
            tensors.push(Numbers { stored, shape: tensor.shape.clone() });
            // The number of each code.
            if stored.is_fp8() {
                tensors.push(wide(&[256]));
            }
            // The scale of each row.
            if let (StoredType::I8, [rows, _]) = (stored, tensor.shape.as_slice()) {
                tensors.push(Numbers { stored: StoredType::F32, shape: vec![*rows] });
            }
        }
        let branches = if part == Part::Transformer { Some(&self.branches) } else { None };
        for name in branches.into_iter().flat_map(BTreeMap::keys) {
            let Some(layer) = layer_of(name) else { continue };
            for branch in self.branches_beside(name, keep, compute) {
                let [rank, rows, columns] =
                    [branch.rank, branch.rows, branch.columns].map(|side| side as usize);
                layers.entry(layer).or_default().extend([wide(&[rank, columns]), wide(&[rows, rank])]);
            }
        }
        layers
    }
}

/// Only one kind of blocks is on the device at a time.
fn of(layers: &Layers<'_>) -> Streaming {
    let mut sequences: BTreeMap<&str, Vec<&[Numbers]>> = BTreeMap::new();
    for ((sequence, _), tensors) in layers {
        sequences.entry(sequence).or_default().push(tensors);
    }
    let slots = sequences.into_values().flat_map(Slots::of).map(|slots| slots.bytes()).max();
    let pinned = layers.values().flatten().map(Kind::bytes).sum();
    Streaming { slots: slots.unwrap_or(0), pinned }
}

/// The kind of a block and its number, from a name like `double_blocks.3.img_attn.qkv.weight`.
fn numbered(name: &str) -> Option<(&str, usize)> {
    let (kind, rest) = name.split_once('.')?;
    Some((kind, rest.split('.').next()?.parse().ok()?))
}

/// The number of a layer for modulations, in the order in which a job uses them.
fn modulation<'a>(config: &FluxConfig, name: &'a str) -> Option<(&'a str, usize)> {
    let (double, single) = (2 * config.depth, config.depth_single_blocks);
    let number = match numbered(name) {
        Some(("double_blocks", block)) => 2 * block + usize::from(name.contains(".txt_mod.")),
        Some(("single_blocks", block)) => double + block,
        _ => double + single,
    };
    Some(("", number))
}
