//! Initial noise, bit for bit.

use std::collections::BTreeMap;

use candle_core::{DType, Device};
use sha2::{Digest, Sha256};
use uso_engine::noise::normal;

use crate::golden::fixture;

/// Count, seed and part of a recorded vector, from a name such as `f32_1x16x64x64_seed0_first64`.
fn parse(name: &str) -> (usize, u64, Option<&str>) {
    let mut parts = name.split('_').skip(1);
    let count = parts.next().unwrap().split('x').map(|side| side.parse::<usize>().unwrap()).product();
    let seed = parts.next().unwrap().strip_prefix("seed").unwrap().parse().unwrap();
    (count, seed, parts.next())
}

#[test]
fn every_recorded_float32_value_is_the_same_bit_for_bit() {
    let recorded = candle_core::safetensors::load(fixture("noise/noise.safetensors"), &Device::Cpu).unwrap();
    let mut compared = 0;
    for (name, theirs) in recorded {
        let Some(name) = name.strip_prefix("vector.") else { continue };
        // The engine makes float32 noise only.
        if theirs.dtype() != DType::F32 {
            continue;
        }
        let (count, seed, part) = parse(name);
        let ours = normal(seed, count);
        let ours = match part {
            Some("first64") => &ours[..64],
            Some("last64") => &ours[count - 64..],
            _ => &ours[..],
        };
        let theirs: Vec<f32> = theirs.flatten_all().unwrap().to_vec1().unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(ours), bits(&theirs), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 19);
}

#[test]
fn whole_latents_have_the_recorded_digests() {
    let recorded: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("noise/noise.json")).unwrap()).unwrap();
    let digests: BTreeMap<String, String> =
        serde_json::from_value(recorded["sha256_vector"].clone()).unwrap();
    assert_eq!(digests.len(), 4);
    for (name, digest) in digests {
        let (count, seed, _) = parse(&name);
        let bytes: Vec<u8> = normal(seed, count).into_iter().flat_map(f32::to_le_bytes).collect();
        let ours = hex::encode(Sha256::digest(&bytes));
        assert_eq!(ours, digest, "{name}");
    }
}
