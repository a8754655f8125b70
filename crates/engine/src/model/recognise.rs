//! Recognises the parts that a file holds by the names of its tensors.

use std::collections::BTreeMap;

use super::Part;
use super::names::gguf_name;
use crate::weights::Entry;

/// A part in a file, with the prefix of its tensors there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) part: Part,
    pub(super) prefix: &'static str,
}

/// How many of a part's typical names must be there: one may be missing or misspelt, and is reported later.
const ENOUGH: usize = 2;

/// Names that are typical of a part.
const fn marks(part: Part) -> &'static [&'static str] {
    match part {
        Part::Transformer => &["img_in.weight", "txt_in.weight", "final_layer.linear.weight"],
        Part::Autoencoder => &[
            "encoder.conv_in.weight",
            "decoder.conv_in.weight",
            "decoder.conv_out.weight",
            "decoder.mid.attn_1.q.weight",
        ],
        Part::Projector => &["high_projection.weight", "mid_projection.weight", "low_projection.weight"],
        Part::T5 => &[
            "encoder.final_layer_norm.weight",
            "encoder.block.0.layer.0.SelfAttention.q.weight",
            "encoder.block.1.layer.1.DenseReluDense.wi_0.weight",
        ],
        Part::Clip => &[
            "text_model.final_layer_norm.weight",
            "text_model.embeddings.token_embedding.weight",
            "text_model.encoder.layers.0.self_attn.q_proj.weight",
        ],
        Part::Siglip => &[
            "vision_model.embeddings.patch_embedding.weight",
            "vision_model.embeddings.patch_embedding.bias",
            "vision_model.encoder.layers.0.self_attn.q_proj.weight",
        ],
        // A LoRA's names depend on who wrote it: `lora.rs` knows them.
        Part::Lora => &[],
    }
}

/// Names that only other models of the same family have.
const fn foreign(part: Part) -> &'static [&'static str] {
    match part {
        // SigLIP has a text tower under CLIP's names, and CLIP a vision tower under SigLIP's.
        Part::Clip => &["text_model.head.weight", "logit_bias", "vision_model.head.probe"],
        Part::Siglip => &["vision_model.embeddings.class_embedding", "vision_model.pre_layrnorm.weight"],
        // The multilingual T5 has position biases in every block.
        Part::T5 => &["encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"],
        _ => &[],
    }
}

/// All parts that a file with these tensors holds, except LoRAs.
pub(super) fn parts(tensors: &BTreeMap<String, Entry>) -> Vec<Held> {
    Part::ALL.into_iter().filter_map(|part| held(part, tensors)).collect()
}

fn held(part: Part, tensors: &BTreeMap<String, Entry>) -> Option<Held> {
    let prefixes = part.prefixes().iter().copied();
    prefixes.map(|prefix| Held { part, prefix }).find(|Held { prefix, .. }| {
        let has = |name: &&&str| {
            let is_there = |name: &str| tensors.contains_key(&format!("{prefix}{name}"));
            is_there(name) || (part == Part::T5 && is_there(&gguf_name(name)))
        };
        marks(part).iter().filter(has).count() >= ENOUGH && !foreign(part).iter().any(|name| has(&name))
    })
}
