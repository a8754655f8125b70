//! A random model wide enough for blocks of 256: every type that GGUF files come in, beside its twin in float32.

use std::collections::BTreeMap;

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use uso_engine::noise;

use crate::formats::{assert_like_its_twin, lossy_of};
use crate::listings::{FLUX as LISTED, Line};
use crate::model_folder::{Copy, FLUX, LORA, PROJECTOR};
use crate::published::{Kind, Tensors, raw, read, write_gguf, write_safetensors};

const HIDDEN: usize = 256;
const RANK: usize = 8;

/// FLUX.1-dev's sizes and those of the wide model.
const SIZES: [(usize, usize); 10] = [
    (3072, HIDDEN),
    (18432, 6 * HIDDEN),
    (9216, 3 * HIDDEN),
    (12288, 4 * HIDDEN),
    (21504, 7 * HIDDEN),
    (15360, 5 * HIDDEN),
    (6144, 2 * HIDDEN),
    (4096, 32),
    (768, 48),
    (128, 32),
];

/// Random numbers of a name's own; scales of norms are near 1.
fn random(name: &str, shape: &[usize]) -> Tensor {
    let seed = name.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let numbers = noise::normal(seed, shape.iter().product::<usize>().max(16));
    let (middle, spread) = if name.ends_with("scale") { (1.0, 0.1) } else { (0.0, 0.05) };
    let numbers: Vec<f32> = numbers.into_iter().map(|number| middle + spread * number).collect();
    let count = shape.iter().product();
    Tensor::from_vec(numbers[..count].to_vec(), shape, &Device::Cpu).unwrap()
}

fn transformer() -> BTreeMap<String, Tensor> {
    let scaled =
        |side: &usize| SIZES.iter().find(|(theirs, _)| theirs == side).map_or(*side, |(_, ours)| *ours);
    let one = |Line(name, _, shape): &Line| {
        let (name, shape) = (name.replace(".N.", ".0."), shape.iter().map(scaled).collect::<Vec<_>>());
        let tensor = random(&name, &shape);
        (name, tensor)
    };
    LISTED.iter().map(one).collect()
}

fn lora() -> Tensors {
    let layers = [
        ("double_blocks.0.processor.qkv_lora1", HIDDEN, 3 * HIDDEN),
        ("double_blocks.0.processor.proj_lora1", HIDDEN, HIDDEN),
        ("double_blocks.0.processor.qkv_lora2", HIDDEN, 3 * HIDDEN),
        ("double_blocks.0.processor.proj_lora2", HIDDEN, HIDDEN),
        ("single_blocks.0.processor.qkv_lora", HIDDEN, 3 * HIDDEN),
        ("single_blocks.0.processor.proj_lora", 5 * HIDDEN, HIDDEN),
    ];
    let pair = |(stem, input, output): (&str, usize, usize)| {
        let one = |side: &str, shape: &[usize]| {
            let name = format!("{stem}.{side}.weight");
            let tensor = random(&name, shape);
            (name, raw(&tensor, Kind::F32))
        };
        [one("down", &[RANK, input]), one("up", &[output, RANK])]
    };
    layers.into_iter().flat_map(pair).collect()
}

/// A copy of the small model whose transformer is wide and has a block of each kind.
fn wide() -> Copy {
    let copy = Copy::new();
    let file = copy.path("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for (name, value) in [("hidden_size", HIDDEN), ("num_heads", 8), ("depth", 1), ("depth_single_blocks", 1)]
    {
        config["flux"][name] = value.into();
    }
    config["flux"]["axes_dim"] = [8, 12, 12].into();
    config["projector"]["hidden_size"] = HIDDEN.into();
    std::fs::write(file, config.to_string()).unwrap();
    let plain = transformer().iter().map(|(name, tensor)| (name.clone(), raw(tensor, Kind::F32))).collect();
    write_safetensors(&copy.path(FLUX), &plain, &[]);
    write_safetensors(&copy.path(LORA), &lora(), &[]);
    let projector = read(&copy.path(PROJECTOR)).into_iter().map(|(name, tensor)| {
        let mut shape = tensor.dims().to_vec();
        if name.contains("_projection.") {
            shape[0] = HIDDEN;
        }
        let tensor = random(&name, &shape);
        (name, raw(&tensor, Kind::F32))
    });
    write_safetensors(&copy.path(PROJECTOR), &projector.collect(), &[]);
    copy
}

#[test]
fn every_type_of_block_computes_with_its_own_numbers_and_keeps_the_lora() {
    use GgmlDType::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    for blocks in [Q8_0, Q6K, Q5K, Q5_1, Q5_0, Q4K, Q4_1, Q4_0] {
        let lower = |name: &str, tensor: &Tensor| {
            let is_large = tensor.rank() == 2 && name.contains("_blocks.");
            raw(tensor, if is_large { Kind::Blocks(blocks) } else { Kind::F32 })
        };
        let file = "FLUX.1-dev/flux1-dev.gguf";
        let models =
            lossy_of([wide(), wide()], lower, |copy, tensors| write_gguf(&copy.path(file), tensors, None));
        assert_like_its_twin(&format!("{blocks:?}"), models, 3e-2);
    }
}
