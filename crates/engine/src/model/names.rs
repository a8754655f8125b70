//! Translates T5's tensor names between llama.cpp and Hugging Face.

use super::Part;
use crate::weights::Container;

/// The part's own name of a tensor.
pub(super) fn own_name(part: Part, name: &str, container: Container) -> String {
    if part == Part::T5 && container == Container::Gguf { t5_name(name) } else { name.to_owned() }
}

/// Pieces of T5's names in llama.cpp, with Hugging Face's.
const T5_NAMES: [(&str, &str); 12] = [
    ("enc.output_norm.", "encoder.final_layer_norm."),
    ("token_embd.", "shared."),
    (".attn_rel_b.", ".layer.0.SelfAttention.relative_attention_bias."),
    (".attn_q.", ".layer.0.SelfAttention.q."),
    (".attn_k.", ".layer.0.SelfAttention.k."),
    (".attn_v.", ".layer.0.SelfAttention.v."),
    (".attn_o.", ".layer.0.SelfAttention.o."),
    (".attn_norm.", ".layer.0.layer_norm."),
    (".ffn_gate.", ".layer.1.DenseReluDense.wi_0."),
    (".ffn_up.", ".layer.1.DenseReluDense.wi_1."),
    (".ffn_down.", ".layer.1.DenseReluDense.wo."),
    (".ffn_norm.", ".layer.1.layer_norm."),
];
const T5_BLOCKS: (&str, &str) = ("enc.blk.", "encoder.block.");

fn t5_name(name: &str) -> String {
    T5_NAMES
        .iter()
        .chain([&T5_BLOCKS])
        .fold(name.to_owned(), |name, (theirs, ours)| name.replace(theirs, ours))
}

/// The reverse of [`t5_name`].
pub(super) fn gguf_name(name: &str) -> String {
    T5_NAMES
        .iter()
        .chain([&T5_BLOCKS])
        .fold(name.to_owned(), |name, (theirs, ours)| name.replace(ours, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_llama_cpp_and_back() {
        for (theirs, ours) in [
            ("token_embd.weight", "shared.weight"),
            ("enc.blk.7.attn_o.weight", "encoder.block.7.layer.0.SelfAttention.o.weight"),
            (
                "enc.blk.0.attn_rel_b.weight",
                "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            ),
            ("enc.blk.23.ffn_norm.weight", "encoder.block.23.layer.1.layer_norm.weight"),
            ("enc.output_norm.weight", "encoder.final_layer_norm.weight"),
        ] {
            assert_eq!(t5_name(theirs), ours);
            assert_eq!(gguf_name(ours), theirs);
        }
    }
}
