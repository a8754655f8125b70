//! Matrices of every stored type, against the numbers that the formats' own packages read.

use std::collections::HashMap;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};
use uso_engine::matrix::{Activations, Matrix, Tier};
use uso_engine::noise::normal;
use uso_engine::weights::StoredType;

use crate::golden::fixture;

/// Types of ggml's blocks.
pub(crate) const BLOCKS: [StoredType; 10] = [
    StoredType::Q4_0,
    StoredType::Q4_1,
    StoredType::Q5_0,
    StoredType::Q5_1,
    StoredType::Q8_0,
    StoredType::Q2K,
    StoredType::Q3K,
    StoredType::Q4K,
    StoredType::Q5K,
    StoredType::Q6K,
];

fn recorded(file: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture("ggml").join(file), &Device::Cpu).unwrap()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    numbers(tensor).into_iter().map(f32::to_bits).collect()
}

/// Normal numbers times `size`.
pub(crate) fn random(seed: u64, shape: (usize, usize), size: f64) -> Tensor {
    (Tensor::from_vec(normal(seed, shape.0 * shape.1), shape, &Device::Cpu).unwrap() * size).unwrap()
}

/// Relative difference in the L2 norm.
fn distance(ours: &Tensor, exact: &Tensor) -> f64 {
    let norm = |numbers: &[f32]| numbers.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    norm(&numbers(&(ours - exact).unwrap())) / norm(&numbers(exact))
}

/// A matrix of any type, as a file has it, from numbers in f32.
pub(crate) fn stored_as(stored: StoredType, weight: &Tensor, dtype: DType) -> Matrix {
    let shape = weight.dims2().unwrap();
    let bytes = match stored.quantised() {
        Some(ggml) => QTensor::quantize(weight, ggml).unwrap().data().unwrap().into_owned(),
        None => {
            let plain = match stored {
                StoredType::F16 => DType::F16,
                StoredType::BF16 => DType::BF16,
                _ => DType::F32,
            };
            let mut bytes = Vec::new();
            weight.to_dtype(plain).unwrap().write_bytes(&mut bytes).unwrap();
            bytes
        }
    };
    Matrix::from_bytes(stored, shape, &bytes, None, dtype, &Device::Cpu).unwrap()
}

#[test]
fn blocks_are_worth_what_gguf_reads_to_the_bit() {
    let recorded = recorded("blocks.safetensors");
    for stored in BLOCKS.into_iter().chain([StoredType::F16, StoredType::BF16]) {
        let values = &recorded[&format!("{stored}.values")];
        let shape = values.dims2().unwrap();
        let raw = bytes(&recorded[&format!("{stored}.blocks")]);
        let matrix = Matrix::from_bytes(stored, shape, &raw, None, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(bits(&matrix.dequantise(DType::F32).unwrap()), bits(values), "{stored}");
        let identity = Tensor::eye(shape.1, DType::F32, &Device::Cpu).unwrap();
        let product = matrix.forward(&identity).unwrap().t().unwrap();
        assert_eq!(numbers(&product), numbers(values), "{stored} as multiplied by");
    }
}

#[test]
fn blocks_may_begin_at_any_address() {
    let recorded = recorded("blocks.safetensors");
    let raw = bytes(&recorded["q8_0.blocks"]);
    for shift in [0, 1] {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(&raw);
        let (stored, at) = (StoredType::Q8_0, &shifted[shift..]);
        let matrix = Matrix::from_bytes(stored, (4, 512), at, None, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(bits(&matrix.dequantise(DType::F32).unwrap()), bits(&recorded["q8_0.values"]));
    }
}

#[test]
fn eight_bit_floats_are_worth_code_times_scale_rounded_once() {
    let recorded = recorded("fp8.safetensors");
    for stored in [StoredType::F8E4M3, StoredType::F8E5M2] {
        let values = numbers(&recorded[&format!("{stored}.values")]);
        let codes: Vec<u8> = (0..=255).filter(|code| values[usize::from(*code)].is_finite()).collect();
        let scale = 0.013_f32;
        let scaled: Vec<f32> = codes.iter().map(|code| values[usize::from(*code)] * scale).collect();
        let exact = Tensor::new(scaled, &Device::Cpu).unwrap();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let shape = (2, codes.len() / 2);
            let matrix = Matrix::from_bytes(stored, shape, &codes, Some(scale), dtype, &Device::Cpu).unwrap();
            let ours = matrix.dequantise(dtype).unwrap();
            assert_eq!(bits(&ours), bits(&exact.to_dtype(dtype).unwrap()), "{stored} in {dtype:?}");
            let identity = Tensor::eye(shape.1, dtype, &Device::Cpu).unwrap();
            let product = matrix.forward(&identity).unwrap().t().unwrap();
            assert_eq!(numbers(&product), numbers(&ours), "{stored} in {dtype:?} as multiplied by");
        }
    }
}

#[test]
fn every_type_multiplies_as_its_numbers_do() {
    let (weight, x) = (random(1, (48, 256), 0.02), random(2, (6, 256), 1.0));
    let x = x.reshape((2, 3, 256)).unwrap();
    for stored in BLOCKS.into_iter().chain([StoredType::F32, StoredType::F16, StoredType::BF16]) {
        let matrix = stored_as(stored, &weight, DType::F32);
        let dense = matrix.dequantise(DType::F32).unwrap().t().unwrap();
        let exact = x.broadcast_matmul(&dense).unwrap();
        let product = matrix.forward(&x).unwrap();
        assert_eq!(product.dims(), [2, 3, 48], "{stored}");
        assert!(distance(&product, &exact) < 1e-6, "{stored}");
        // Rounded to eight bits: as near as those are, and no nearer if blocks are multiplied as they are.
        let rounded = matrix.with_activations(Activations::Rounded).forward(&x).unwrap();
        let far = distance(&rounded, &exact);
        let blocks = stored.quantised().is_some();
        assert!(if blocks { (1e-4..2e-2).contains(&far) } else { far < 1e-6 }, "{stored}: {far}");
    }
}

#[test]
fn a_product_has_the_type_of_its_input() {
    let (weight, x) = (random(1, (32, 256), 0.02), random(2, (5, 256), 1.0));
    let exact = x.matmul(&weight.t().unwrap()).unwrap();
    for tier in [Tier::Bf16, Tier::Fp8, Tier::Fp8W8A8, Tier::Int8W8A8, Tier::Q8_0] {
        for (dtype, near) in [(DType::F32, 3e-2), (DType::F16, 3e-2), (DType::BF16, 4e-2)] {
            let matrix = Matrix::from_tensor(&weight, tier, DType::BF16, &Device::Cpu).unwrap();
            let product = matrix.forward(&x.to_dtype(dtype).unwrap()).unwrap();
            assert_eq!(product.dtype(), dtype, "{tier}");
            let far = distance(&product.to_dtype(DType::F32).unwrap(), &exact);
            assert!(far < near, "{tier} in {dtype:?}: {far}");
        }
    }
}

#[test]
fn each_tier_keeps_weights_as_near_as_its_bits_allow() {
    let weight = random(3, (64, 256), 0.02);
    let bounds = [
        (Tier::Bf16, 0.0, 4.0),
        (Tier::Fp8, 0.04, 1.0),
        (Tier::Int8W8A8, 0.008, 1.0 + 4.0 / 256.0),
        (Tier::Q8_0, 0.007, 34.0 / 32.0),
        (Tier::Q6K, 0.025, 210.0 / 256.0),
        (Tier::Q4K, 0.09, 144.0 / 256.0),
    ];
    for (tier, near, bytes) in bounds {
        let matrix = Matrix::from_tensor(&weight, tier, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(matrix.tier(), Some(tier));
        assert_eq!(matrix.bytes() as f64, bytes * 64.0 * 256.0, "{tier}");
        let far = distance(&matrix.dequantise(DType::F32).unwrap(), &weight);
        assert!(far <= near, "{tier}: {far}");
        let again = matrix.to_tier(tier, DType::F32).unwrap();
        assert_eq!(
            bits(&again.dequantise(DType::F32).unwrap()),
            bits(&matrix.dequantise(DType::F32).unwrap())
        );
        assert_eq!(matrix.to_tier(Tier::Q8_0, DType::F32).unwrap().stored(), StoredType::Q8_0, "{tier}");
    }
}

#[test]
fn what_is_no_such_matrix_is_refused_by_what_it_is() {
    let cpu = &Device::Cpu;
    let refused = |stored, shape, bytes: &[u8], scale| {
        Matrix::from_bytes(stored, shape, bytes, scale, DType::F32, cpu).unwrap_err().to_string()
    };
    let cases = [
        (
            refused(StoredType::Q4K, (1, 128), &[0; 72], None),
            "rows of 128 numbers are not whole blocks of q4_k, which have 256",
        ),
        (
            refused(StoredType::Q8_0, (2, 32), &[0; 67], None),
            "a matrix (2, 32) of q8_0 takes 68 bytes, not 67",
        ),
        (refused(StoredType::F32, (usize::MAX, 4), &[], None), "is too large"),
        (refused(StoredType::F32, (0, 4), &[], None), "a matrix (0, 4) has no numbers"),
        (refused(StoredType::I8, (1, 2), &[0; 2], None), "i8 is not a type for a weight matrix"),
        (refused(StoredType::F16, (1, 1), &[0; 2], Some(1.0)), "a matrix of f16 has no scale of its own"),
        (refused(StoredType::F8E4M3, (1, 1), &[0], Some(f32::NAN)), "the scale of a matrix is NaN"),
        (
            refused(StoredType::F8E4M3, (2, 1), &[0, 0xff], None),
            "row 1 of a matrix (2, 1) of fp8_e4m3 has a number that is not finite",
        ),
        (
            refused(StoredType::F8E5M2, (2, 1), &[0x7c, 0], None),
            "row 0 of a matrix (2, 1) of fp8_e5m2 has a number that is not finite",
        ),
    ];
    for (message, part) in cases {
        assert!(message.contains(part), "{message:?} has no {part:?}");
    }
    let odd = random(1, (4, 48), 1.0);
    let error = Matrix::from_tensor(&odd, Tier::Q6K, DType::F32, cpu).unwrap_err().to_string();
    assert!(error.contains("rows of 48 numbers are not whole blocks of q6_k, which have 256"), "{error}");
    let broken = Tensor::new(&[[1f32, 2.0], [f32::INFINITY, 0.0]], cpu).unwrap();
    let error = Matrix::from_tensor(&broken, Tier::Fp8, DType::F32, cpu).unwrap_err().to_string();
    assert!(error.contains("row 1 of a matrix [2, 2] has a number that is not finite"), "{error}");
    let narrow = stored_as(StoredType::F32, &odd, DType::F32).forward(&random(1, (12, 4), 1.0)).unwrap_err();
    assert!(narrow.to_string().contains("shape [12, 4] does not fit a matrix (4, 48)"), "{narrow}");
}
