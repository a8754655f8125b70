//! The names under which LoRAs for FLUX are published, and the layers that they stand for.
//!
//! A LoRA changes a layer's weight by `scale * up @ down`. The name of a tensor has a stem, which stands for a layer or
//! some of its rows, and a side. Stems come in five styles: those of the reference's attention processors, Black Forest
//! Labs' own names (also as ComfyUI and PEFT write them), diffusers' names with separate queries, keys and values, and
//! both of these with underscores as kohya's scripts write them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::expected;
use crate::config::FluxConfig;
use crate::weights::Entry;

/// A low-rank change of a layer, by the names of its tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The layer under Black Forest Labs' name, without `.weight`.
    pub(crate) layer: String,
    /// Rows of the layer's weight that the rows of `up` change: one range, or two whose halves are swapped.
    pub(crate) rows: Vec<Range<usize>>,
    /// Name of the matrix (rank, input).
    pub(crate) down: String,
    /// Name of the matrix (rows, rank).
    pub(crate) up: String,
    /// Name of the alpha: the product is scaled with alpha divided by the rank.
    pub(crate) alpha: Option<String>,
}

/// A file's tensors, read as a LoRA.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) pairs: Vec<Pair>,
    /// Names of unknown tensors.
    pub(crate) unknown: Vec<String>,
    /// Faults of known tensors, with their names.
    pub(crate) faults: Vec<String>,
}

/// Endings of the two matrices, the more specific first.
const SIDES: [[&str; 2]; 6] = [
    [".lora_down.weight", ".lora_up.weight"],
    [".lora_A.weight", ".lora_B.weight"],
    [".lora_A.default.weight", ".lora_B.default.weight"],
    [".lora.down.weight", ".lora.up.weight"],
    [".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"],
    [".down.weight", ".up.weight"],
];
const ALPHA: &str = ".alpha";

/// Prefixes that writers put before names with dots.
const PREFIXES: [&str; 5] =
    ["base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "unet."];

/// The tensors of one stem.
#[derive(Default)]
struct Group {
    matrices: [Option<String>; 2],
    endings: Option<[&'static str; 2]>,
    alpha: Option<String>,
}

/// Reads a file's tensors as a LoRA for a transformer of these sizes.
pub(crate) fn read(tensors: &BTreeMap<String, Entry>, flux: &FluxConfig) -> Read {
    let targets = targets(flux);
    let (groups, mut unknown) = groups(tensors);
    let mut read = Read::default();
    let with_alpha =
        groups.iter().any(|(stem, group)| group.alpha.is_some() && targets.contains_key(bare(stem)));
    for (stem, group) in groups {
        let Some(target) = targets.get(bare(&stem)) else {
            unknown.extend(group.matrices.into_iter().flatten().chain(group.alpha));
            continue;
        };
        match pair(&stem, group, target, tensors, with_alpha) {
            Ok(pair) => read.pairs.push(pair),
            Err(fault) => read.faults.push(fault),
        }
    }
    unknown.sort();
    read.unknown = unknown;
    read
}

/// Whether a name is one that only LoRAs have.
pub(crate) fn is_name(name: &str) -> bool {
    let named = SIDES.iter().flatten().any(|ending| name.ends_with(ending));
    named && (name.contains("lora") || name.contains(".processor."))
}

fn bare(stem: &str) -> &str {
    PREFIXES.iter().fold(stem, |stem, prefix| stem.strip_prefix(prefix).unwrap_or(stem))
}

fn groups(tensors: &BTreeMap<String, Entry>) -> (BTreeMap<String, Group>, Vec<String>) {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut unknown = Vec::new();
    for name in tensors.keys() {
        if let Some(stem) = name.strip_suffix(ALPHA) {
            groups.entry(stem.to_owned()).or_default().alpha = Some(name.clone());
            continue;
        }
        let side = SIDES.iter().find_map(|endings| {
            let side = endings.iter().position(|ending| name.ends_with(ending))?;
            Some((name.strip_suffix(endings[side])?, side, endings))
        });
        let Some((stem, side, endings)) = side else {
            unknown.push(name.clone());
            continue;
        };
        let group = groups.entry(stem.to_owned()).or_default();
        group.matrices[side] = Some(name.clone());
        group.endings = Some(*endings);
    }
    (groups, unknown)
}

fn pair(
    stem: &str,
    group: Group,
    target: &Target,
    tensors: &BTreeMap<String, Entry>,
    with_alpha: bool,
) -> Result<Pair, String> {
    let endings = group.endings.unwrap_or(SIDES[0]);
    let missing = |side: usize| format!("tensor {stem}{} is missing", endings[side]);
    let [down, up] = group.matrices;
    let (down, up) = (down.ok_or_else(|| missing(0))?, up.ok_or_else(|| missing(1))?);
    if with_alpha && group.alpha.is_none() {
        return Err(format!("tensor {stem}{ALPHA} is missing, the file's other layers have one"));
    }
    if let Some(alpha) = &group.alpha
        && tensors[alpha].shape.iter().any(|side| *side != 1)
    {
        return Err(format!(
            "tensor {alpha} has shape {:?}, a single number was expected",
            tensors[alpha].shape
        ));
    }
    let rows = target.rows(&down, &up, tensors)?;
    Ok(Pair { layer: target.layer.clone(), rows, down, up, alpha: group.alpha })
}

/// What a stem stands for.
#[derive(Debug, Clone)]
struct Target {
    layer: String,
    input: usize,
    /// Rows of the layer that `up` changes, in the order of its own rows.
    rows: Vec<Range<usize>>,
    /// Number of rows that `up` may have instead, at the beginning of the layer.
    fewer: Option<usize>,
}

impl Target {
    fn rows(
        &self,
        down: &str,
        up: &str,
        tensors: &BTreeMap<String, Entry>,
    ) -> Result<Vec<Range<usize>>, String> {
        let shape = |name: &str| tensors[name].shape.as_slice();
        let misshapen = |name: &str, asked: String| {
            Err(format!("tensor {name} has shape {:?}, the layer asks for {asked}", shape(name)))
        };
        let &[rank, input] = shape(down) else { return misshapen(down, format!("[rank, {}]", self.input)) };
        if input != self.input {
            return misshapen(down, format!("[{rank}, {}]", self.input));
        }
        let all = self.rows.iter().map(Range::len).sum::<usize>();
        match *shape(up) {
            [rows, columns] if columns == rank && rows == all => Ok(self.rows.clone()),
            [rows, columns] if columns == rank && Some(rows) == self.fewer => Ok(one(0..rows)),
            _ => misshapen(up, format!("[{}, {rank}]", self.fewer.unwrap_or(all))),
        }
    }
}

/// Every stem without its prefix, with its target.
fn targets(flux: &FluxConfig) -> HashMap<String, Target> {
    let mut targets = HashMap::new();
    let mut named = |stem: String, target: Target| {
        targets.insert(format!("lora_unet_{}", stem.replace('.', "_")), target.clone());
        targets.insert(format!("lora_transformer_{}", stem.replace('.', "_")), target.clone());
        targets.insert(stem, target);
    };
    let shapes: HashMap<String, [usize; 2]> = expected::transformer(flux)
        .into_iter()
        .filter_map(|(name, shape)| Some((name.strip_suffix(".weight")?.to_owned(), shape.try_into().ok()?)))
        .collect();
    let hidden = flux.hidden_size;
    for (layer, [output, input]) in &shapes {
        let fewer = layer.ends_with(".linear1").then_some(3 * hidden);
        let whole = Target { layer: layer.clone(), input: *input, rows: one(0..*output), fewer };
        named(layer.clone(), whole);
    }
    for (stem, layer, rows) in processors(flux).into_iter().chain(diffusers(flux)) {
        if let Some([output, input]) = shapes.get(&layer) {
            let rows = if rows.is_empty() { one(0..*output) } else { rows };
            named(stem, Target { layer, input: *input, rows, fewer: None });
        }
    }
    targets
}

/// A single range of rows.
fn one(rows: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(rows).collect()
}

/// A stem, its layer, and the rows that it changes; no rows for the whole layer.
pub(super) type Stem = (String, String, Vec<Range<usize>>);

/// Names of the reference's attention processors: in a double block `..1` is the image stream, `..2` the text stream.
/// In a single block `linear1` fuses qkv with the first feed-forward layer; the LoRA covers only its qkv rows.
pub(super) fn processors(flux: &FluxConfig) -> Vec<Stem> {
    let mut stems = Vec::new();
    for block in 0..flux.depth {
        for (processor, layer) in [
            ("qkv_lora1", "img_attn.qkv"),
            ("proj_lora1", "img_attn.proj"),
            ("qkv_lora2", "txt_attn.qkv"),
            ("proj_lora2", "txt_attn.proj"),
        ] {
            let at = format!("double_blocks.{block}");
            stems.push((format!("{at}.processor.{processor}"), format!("{at}.{layer}"), Vec::new()));
        }
    }
    let qkv = one(0..3 * flux.hidden_size);
    for block in 0..flux.depth_single_blocks {
        let at = format!("single_blocks.{block}");
        stems.push((format!("{at}.processor.qkv_lora"), format!("{at}.linear1"), qkv.clone()));
        stems.push((format!("{at}.linear1_qkv"), format!("{at}.linear1"), qkv.clone()));
        stems.push((format!("{at}.processor.proj_lora"), format!("{at}.linear2"), Vec::new()));
    }
    stems
}

/// Names of diffusers' `FluxTransformer2DModel`.
fn diffusers(flux: &FluxConfig) -> Vec<Stem> {
    let hidden = flux.hidden_size;
    let third = |i: usize| one(i * hidden..(i + 1) * hidden);
    let mut stems: Vec<Stem> = [
        ("x_embedder", "img_in"),
        ("context_embedder", "txt_in"),
        ("proj_out", "final_layer.linear"),
        ("time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"),
        ("time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"),
        ("time_text_embed.text_embedder.linear_1", "vector_in.in_layer"),
        ("time_text_embed.text_embedder.linear_2", "vector_in.out_layer"),
        ("time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"),
        ("time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"),
    ]
    .map(|(stem, layer)| (stem.to_owned(), layer.to_owned(), Vec::new()))
    .to_vec();
    // Diffusers puts the scale before the shift, Black Forest Labs the shift before the scale.
    let swapped = vec![hidden..2 * hidden, 0..hidden];
    stems.push(("norm_out.linear".into(), "final_layer.adaLN_modulation.1".into(), swapped));
    for block in 0..flux.depth {
        let (from, to) = (format!("transformer_blocks.{block}"), format!("double_blocks.{block}"));
        for (names, layer) in [
            (["to_q", "to_k", "to_v"], "img_attn.qkv"),
            (["add_q_proj", "add_k_proj", "add_v_proj"], "txt_attn.qkv"),
        ] {
            for (i, name) in names.into_iter().enumerate() {
                stems.push((format!("{from}.attn.{name}"), format!("{to}.{layer}"), third(i)));
            }
        }
        for (name, layer) in [
            ("attn.to_out.0", "img_attn.proj"),
            ("attn.to_add_out", "txt_attn.proj"),
            ("ff.net.0.proj", "img_mlp.0"),
            ("ff.net.2", "img_mlp.2"),
            ("ff_context.net.0.proj", "txt_mlp.0"),
            ("ff_context.net.2", "txt_mlp.2"),
            ("norm1.linear", "img_mod.lin"),
            ("norm1_context.linear", "txt_mod.lin"),
        ] {
            stems.push((format!("{from}.{name}"), format!("{to}.{layer}"), Vec::new()));
        }
    }
    for block in 0..flux.depth_single_blocks {
        let (from, to) = (format!("single_transformer_blocks.{block}"), format!("single_blocks.{block}"));
        for (i, name) in ["to_q", "to_k", "to_v"].into_iter().enumerate() {
            stems.push((format!("{from}.attn.{name}"), format!("{to}.linear1"), third(i)));
        }
        let expanded = one(3 * hidden..3 * hidden + flux.mlp_hidden());
        stems.push((format!("{from}.proj_mlp"), format!("{to}.linear1"), expanded));
        stems.push((format!("{from}.proj_out"), format!("{to}.linear2"), Vec::new()));
        stems.push((format!("{from}.norm.linear"), format!("{to}.modulation.lin"), Vec::new()));
    }
    stems
}

/// The layers that USO's LoRA changes, and how many of their rows.
pub(crate) fn uso_layers(flux: &FluxConfig) -> Vec<(String, usize)> {
    let hidden = flux.hidden_size;
    let double = (0..flux.depth).flat_map(|block| {
        let at = format!("double_blocks.{block}");
        [("img_attn.qkv", 3), ("img_attn.proj", 1), ("txt_attn.qkv", 3), ("txt_attn.proj", 1)]
            .map(|(layer, rows)| (format!("{at}.{layer}"), rows * hidden))
    });
    let single = (0..flux.depth_single_blocks).flat_map(|block| {
        [("linear1", 3), ("linear2", 1)]
            .map(|(layer, rows)| (format!("single_blocks.{block}.{layer}"), rows * hidden))
    });
    double.chain(single).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::StoredType;

    fn file(names: &[(&str, &[usize])]) -> BTreeMap<String, Entry> {
        let entry = |shape: &[usize]| Entry {
            stored: Some(StoredType::BF16),
            type_name: "BF16".into(),
            shape: shape.to_vec(),
            start: 0,
            bytes: 0,
        };
        names.iter().map(|(name, shape)| ((*name).to_owned(), entry(shape))).collect()
    }

    fn read_one(names: &[(&str, &[usize])]) -> (String, Vec<Range<usize>>) {
        let read = read(&file(names), &FluxConfig::default());
        assert_eq!((read.unknown.len(), read.faults.as_slice()), (0, [].as_slice()), "{names:?}");
        let [pair] = read.pairs.as_slice() else { panic!("{:?}", read.pairs) };
        (pair.layer.clone(), pair.rows.clone())
    }

    #[test]
    fn a_stem_in_each_style_means_its_layer() {
        let (h, mlp) = (3072, 12288);
        for (down, up, rows, layer, at) in [
            (
                "double_blocks.7.processor.qkv_lora1.down.weight",
                "double_blocks.7.processor.qkv_lora1.up.weight",
                3 * h,
                "double_blocks.7.img_attn.qkv",
                0..3 * h,
            ),
            (
                "diffusion_model.double_blocks.7.processor.proj_lora2.down.weight",
                "diffusion_model.double_blocks.7.processor.proj_lora2.up.weight",
                h,
                "double_blocks.7.txt_attn.proj",
                0..h,
            ),
            (
                "transformer.single_blocks.37.processor.qkv_lora.down.weight",
                "transformer.single_blocks.37.processor.qkv_lora.up.weight",
                3 * h,
                "single_blocks.37.linear1",
                0..3 * h,
            ),
            (
                "diffusion_model.single_blocks.3.linear1_qkv.lora_down.weight",
                "diffusion_model.single_blocks.3.linear1_qkv.lora_up.weight",
                3 * h,
                "single_blocks.3.linear1",
                0..3 * h,
            ),
            (
                "lora_unet_single_blocks_3_linear1.lora_down.weight",
                "lora_unet_single_blocks_3_linear1.lora_up.weight",
                3 * h + mlp,
                "single_blocks.3.linear1",
                0..3 * h + mlp,
            ),
            (
                "lora_unet_single_blocks_3_linear1.lora_down.weight",
                "lora_unet_single_blocks_3_linear1.lora_up.weight",
                3 * h,
                "single_blocks.3.linear1",
                0..3 * h,
            ),
            (
                "base_model.model.double_blocks.0.img_attn.qkv.lora_A.weight",
                "base_model.model.double_blocks.0.img_attn.qkv.lora_B.weight",
                3 * h,
                "double_blocks.0.img_attn.qkv",
                0..3 * h,
            ),
            (
                "transformer.transformer_blocks.4.attn.add_k_proj.lora_A.weight",
                "transformer.transformer_blocks.4.attn.add_k_proj.lora_B.weight",
                h,
                "double_blocks.4.txt_attn.qkv",
                h..2 * h,
            ),
            (
                "transformer.single_transformer_blocks.4.proj_mlp.lora_A.default.weight",
                "transformer.single_transformer_blocks.4.proj_mlp.lora_B.default.weight",
                mlp,
                "single_blocks.4.linear1",
                3 * h..3 * h + mlp,
            ),
            (
                "lora_transformer_single_transformer_blocks_4_attn_to_v.lora_down.weight",
                "lora_transformer_single_transformer_blocks_4_attn_to_v.lora_up.weight",
                h,
                "single_blocks.4.linear1",
                2 * h..3 * h,
            ),
        ] {
            let found = read_one(&[(down, &[16, h]), (up, &[rows, 16])]);
            assert_eq!(found, (layer.to_owned(), one(at)), "{down}");
        }
        let swapped = read_one(&[
            ("transformer.norm_out.linear.lora_A.weight", &[4, h]),
            ("transformer.norm_out.linear.lora_B.weight", &[2 * h, 4]),
        ]);
        assert_eq!(swapped, ("final_layer.adaLN_modulation.1".to_owned(), vec![h..2 * h, 0..h]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fault = |names: &[(&str, &[usize])]| {
            let read = read(&file(names), &FluxConfig::default());
            read.faults.first().cloned().unwrap_or_else(|| panic!("no fault: {:?}", read.pairs))
        };
        let down = "double_blocks.0.processor.proj_lora1.down.weight";
        let up = "double_blocks.0.processor.proj_lora1.up.weight";
        assert!(fault(&[(down, &[8, 3072])]).contains(&format!("tensor {up} is missing")));
        assert!(fault(&[(up, &[3072, 8])]).contains(&format!("tensor {down} is missing")));
        assert!(fault(&[(down, &[8, 3073]), (up, &[3072, 8])]).contains(down));
        assert!(fault(&[(down, &[8, 3072]), (up, &[3072, 9])]).contains("asks for [3072, 8]"));
        let stem = |i: u32, end: &str| format!("lora_unet_double_blocks_{i}_img_mlp_0.{end}");
        let names: Vec<(String, &[usize])> = vec![
            (stem(0, "lora_down.weight"), &[8, 3072]),
            (stem(0, "lora_up.weight"), &[12288, 8]),
            (stem(0, "alpha"), &[]),
            (stem(1, "lora_down.weight"), &[8, 3072]),
            (stem(1, "lora_up.weight"), &[12288, 8]),
        ];
        let names: Vec<(&str, &[usize])> =
            names.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        assert!(fault(&names).contains("double_blocks_1_img_mlp_0.alpha is missing"));
    }

    #[test]
    fn unknown_names_are_kept_apart() {
        let names: [(&str, &[usize]); 3] = [
            ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", &[]),
            ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", &[8, 768]),
            ("single_blocks.99.linear2.lora_A.weight", &[8, 15360]),
        ];
        let read = read(&file(&names), &FluxConfig::default());
        assert_eq!(read.unknown, names.map(|(name, _)| name.to_owned()));
        assert!(read.pairs.is_empty() && read.faults.is_empty());
    }
}
