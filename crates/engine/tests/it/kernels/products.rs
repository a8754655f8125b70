//! Products in cuBLASLt's terms against layers, and rounding to eight bits against the numbers of weights in fp8.

use std::slice::from_ref;

use candle_core::{D, DType, Device, Tensor};
use uso_engine::kernels::products::{Part, Scales, linear, linear_fp8, linear_of_parts};
use uso_engine::kernels::{Call, Kernel, Work, rounding};
use uso_engine::matrix::{Linear, Matrix, Tier};

use super::twin::twin;
use super::{assert_close, f32, random};

const HALVES: [DType; 2] = [DType::BF16, DType::F16];

/// `x W^T + bias` in float32.
fn layer(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let product =
        f32(x).contiguous().unwrap().broadcast_matmul(&f32(weight).contiguous().unwrap().t().unwrap());
    product.unwrap().broadcast_add(&f32(bias)).unwrap()
}

#[test]
fn a_product_is_that_of_the_layer_whatever_the_shape() {
    // One token, sides of all sizes to each other, rows of longer rows, several dimensions before the last one.
    for (i, (shape, out)) in [(vec![1, 16], 8), (vec![2, 3, 8], 40), (vec![1, 70, 24], 16), (vec![5, 64], 64)]
        .into_iter()
        .enumerate()
    {
        for dtype in HALVES {
            let (into, seed) = (shape[shape.len() - 1], 10 * i as u64);
            let x = random(&shape, seed, dtype);
            let wide = random(&[out, into + 24], seed + 1, dtype);
            let bias = random(&[out], seed + 2, dtype);
            for weight in [wide.narrow(1, 0, into).unwrap(), wide.narrow(1, 16, into).unwrap()] {
                let expected = layer(&x, &weight, &bias);
                let part = Part { x: &x, weight: &weight };
                let what = format!("{shape:?}, {out} outputs, {dtype:?}");
                assert_close(linear(part, Some(&bias), false), &expected, 1.0, &what);
                assert_close(linear(part, Some(&bias), true), &expected.gelu().unwrap(), 1.0, &what);
                let none = Tensor::zeros(out, dtype, &Device::Cpu).unwrap();
                assert_close(linear(part, None, false), &layer(&x, &weight, &none), 1.0, &what);
            }
        }
    }
}

#[test]
fn parts_of_an_input_add_up() {
    for dtype in HALVES {
        let (x, weight) = (random(&[1, 9, 72], 1, dtype), random(&[24, 72], 2, dtype));
        let bias = random(&[24], 3, dtype);
        let columns = [(0, 8), (8, 40), (48, 24)];
        let narrow =
            |tensor: &Tensor, dim| columns.map(|(start, width)| tensor.narrow(dim, start, width).unwrap());
        let (inputs, weights) = (narrow(&x, 2), narrow(&weight, 1));
        let parts: Vec<Part<'_>> =
            inputs.iter().zip(&weights).map(|(x, weight)| Part { x, weight }).collect();
        let work = linear_of_parts(&parts, Some(&bias));
        assert_close(work, &layer(&x, &weight, &bias), 3.0, &format!("{dtype:?}"));
    }
}

#[test]
fn layers_in_every_form_multiply_some_rows_and_parts() {
    let dtype = DType::BF16;
    let (x, weight, bias) =
        (random(&[1, 9, 64], 1, dtype), random(&[48, 64], 2, dtype), random(&[48], 3, dtype));
    let compute = |work: &Work| twin().compute(work).map(Some).map_err(candle_core::Error::msg);
    for tier in [Tier::Bf16, Tier::Fp8] {
        let matrix = Matrix::from_tensor(&f32(&weight), tier, dtype, &Device::Cpu).unwrap();
        let expected = layer(&x, &matrix.dequantise(dtype).unwrap(), &bias);
        let linear = Linear::new(matrix, Some(bias.clone())).unwrap();
        let of = |parts: &[Tensor], rows, kernel| linear.by_products(parts, &rows, kernel, &compute).unwrap();
        let near = |ours: Tensor, theirs: &Tensor| {
            let apart = (f32(&ours) - theirs).unwrap().abs().unwrap().max_all().unwrap();
            assert!(apart.to_scalar::<f32>().unwrap() < 0.3, "{tier}: {apart}");
            assert_eq!(ours.dims(), theirs.dims(), "{tier}");
        };
        let some = of(from_ref(&x), 16..40, Kernel::Product).unwrap();
        near(some, &expected.narrow(2, 16, 24).unwrap());
        let activated = of(from_ref(&x), 0..48, Kernel::ProductGelu).unwrap();
        near(activated, &expected.gelu().unwrap());
        let parts = [x.narrow(2, 0, 16).unwrap(), x.narrow(2, 16, 48).unwrap()];
        near(of(&parts, 0..48, Kernel::Product).unwrap(), &expected);
        assert!(of(&parts, 0..48, Kernel::ProductGelu).is_none(), "GELU of a sum of products");
        assert!(of(&parts[..1], 0..48, Kernel::Product).is_none(), "columns are missing");
        assert!(of(from_ref(&x), 0..48, Kernel::ProductFp8).is_none(), "{tier} rounds nothing");
    }
}

#[test]
fn inputs_are_rounded_to_the_codes_of_weights() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        // From the largest down to numbers that become subnormal, and zero.
        let values: Vec<f32> = (0..64u8)
            .flat_map(|i| {
                let size = 2f32.powi(-(i32::from(i) / 3)) * (1.0 + f32::from(i % 7) / 16.0);
                [size, -1.03 * size, 0.9 * size, if i == 9 { 0.0 } else { -size }]
            })
            .collect();
        let x = Tensor::from_vec(values, (4, 64), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let Matrix::Fp8(expected) =
            Matrix::from_tensor(&f32(&x), Tier::Fp8, DType::F32, &Device::Cpu).unwrap()
        else {
            panic!("fp8 is not fp8")
        };
        let scale = twin().compute(&rounding::fp8_scale(&x).unwrap()).unwrap();
        assert_eq!(scale.get(0).unwrap().to_scalar::<f32>().unwrap(), expected.scale(), "{dtype:?}");
        let codes = twin().compute(&rounding::round_fp8(&x, &scale).unwrap()).unwrap();
        let numbers = |codes: &Tensor| codes.to_vec2::<u8>().unwrap();
        assert_eq!(numbers(&codes), numbers(expected.codes()), "{dtype:?}");
    }
}

#[test]
fn numbers_that_are_not_finite_stay_so_and_tiny_ones_become_zero() {
    let first = |work: &Work| twin().compute(work).unwrap().get(0).unwrap().to_scalar::<f32>().unwrap();
    for broken in [f32::NAN, f32::INFINITY] {
        for place in [0, 77, 1023] {
            let mut values = vec![1.0; 1024];
            values[place] = broken;
            let x = Tensor::from_vec(values, (1, 1024), &Device::Cpu).unwrap();
            let scale = first(&rounding::fp8_scale(&x).unwrap());
            assert!(!scale.is_finite(), "{broken} at {place}");
            let scale = Tensor::new(&[scale], &Device::Cpu).unwrap();
            let codes = twin().compute(&rounding::round_fp8(&x, &scale).unwrap()).unwrap();
            let codes = codes.flatten_all().unwrap().to_vec1::<u8>().unwrap();
            assert_eq!(codes[place] & 0x7f, 0x7f, "{broken} at {place} is no NaN");
        }
    }
    let tiny = Tensor::full(f32::MIN_POSITIVE, (1, 8), &Device::Cpu).unwrap();
    assert_eq!(first(&rounding::fp8_scale(&tiny).unwrap()), 1.0);
    let codes = twin()
        .compute(&rounding::round_fp8(&tiny, &Tensor::ones(1, DType::F32, &Device::Cpu).unwrap()).unwrap());
    assert_eq!(codes.unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap(), [0; 8]);
}

#[test]
fn rounding_the_input_costs_what_the_type_says() {
    // The relative error of a number in e4m3; and of a token's largest number, here about 3, as an integer.
    for (tier, kernel, near) in
        [(Tier::Fp8W8A8, Kernel::ProductFp8, 2e-2..3.2e-2), (Tier::Int8W8A8, Kernel::ProductInt8, 4e-3..1e-2)]
    {
        let apart = rounding_apart(tier, kernel);
        assert!(near.contains(&apart), "{tier}: {apart}");
    }
}

/// Relative L2 distance of a product from the one with the same weights and an input that is not rounded.
fn rounding_apart(tier: Tier, kernel: Kernel) -> f32 {
    let compute = |work: &Work| twin().compute(work).map(Some).map_err(candle_core::Error::msg);
    let (x, weight) = (random(&[1, 40, 256], 1, DType::BF16), random(&[64, 256], 2, DType::F32));
    let matrix = Matrix::from_tensor(&weight, tier, DType::BF16, &Device::Cpu).unwrap();
    let exact = f32(&x).broadcast_matmul(&matrix.dequantise(DType::F32).unwrap().t().unwrap()).unwrap();
    let bias = Tensor::zeros(64, DType::BF16, &Device::Cpu).unwrap();
    let linear = Linear::new(matrix, Some(bias)).unwrap();
    let product = linear.by_products(&[x], &(0..64), kernel, &compute).unwrap().unwrap();
    let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    norm(&(f32(&product) - &exact).unwrap()) / norm(&exact)
}

#[test]
fn samples_are_rounded_each_for_itself() {
    let compute = |work: &Work| twin().compute(work).map(Some).map_err(candle_core::Error::msg);
    // Of very different sizes: with one scale for both, the small one would be rounded to nothing.
    let small = (f32(&random(&[1, 5, 32], 1, DType::F32)) * 1e-6).unwrap().to_dtype(DType::BF16).unwrap();
    let samples = [random(&[1, 5, 32], 2, DType::BF16), small];
    let together = Tensor::cat(&samples, 0).unwrap();
    for (tier, kernel) in [(Tier::Fp8W8A8, Kernel::ProductFp8), (Tier::Int8W8A8, Kernel::ProductInt8)] {
        let weight = random(&[16, 32], 3, DType::F32);
        let matrix = Matrix::from_tensor(&weight, tier, DType::BF16, &Device::Cpu).unwrap();
        let bias = Tensor::zeros(16, DType::BF16, &Device::Cpu).unwrap();
        let linear = Linear::new(matrix, Some(bias)).unwrap();
        let of = |x: &Tensor| {
            let product = linear.by_products(from_ref(x), &(0..16), kernel, &compute).unwrap().unwrap();
            f32(&product).flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let apart = samples.each_ref().map(of).concat();
        assert!(apart.iter().all(|value| *value != 0.0), "{tier}");
        assert_eq!(of(&together), apart, "{tier}");
    }
}

#[test]
fn tokens_are_rounded_to_the_integers_of_rows_of_weights() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        // More than a block's threads read at once, rows of very different sizes, one of them of zeros.
        let sizes = Tensor::new(&[1f32, 100.0, 1e-3, 0.0], &Device::Cpu).unwrap().unsqueeze(1).unwrap();
        let x =
            f32(&random(&[4, 1100], 1, DType::F32)).broadcast_mul(&sizes).unwrap().to_dtype(dtype).unwrap();
        let matrix = Matrix::from_tensor(&f32(&x), Tier::Int8W8A8, DType::F32, &Device::Cpu).unwrap();
        let Matrix::Int8(expected) = matrix else { panic!("int8 is not int8") };
        let scales = twin().compute(&rounding::row_scales(&x).unwrap()).unwrap();
        let floats = |x: &Tensor| x.to_vec1::<f32>().unwrap();
        assert_eq!(floats(&scales), floats(expected.scales()), "{dtype:?}");
        let codes = twin().compute(&rounding::round_int8(&x, &scales).unwrap()).unwrap();
        assert_eq!(codes.to_vec2::<u8>().unwrap(), expected.codes().to_vec2::<u8>().unwrap(), "{dtype:?}");
    }
    let broken = Tensor::new(&[[1f32, 2.0, f32::NAN, 3.0], [1.0, 2.0, 3.0, 4.0]], &Device::Cpu).unwrap();
    let scales = twin().compute(&rounding::row_scales(&broken).unwrap()).unwrap().to_vec1::<f32>().unwrap();
    assert!(scales[0].is_nan() && scales[1] == 4.0 / 127.0, "{scales:?}");
}

#[test]
fn what_cublaslt_cannot_read_has_no_product() {
    let tensor = |shape: &[usize]| random(shape, 1, DType::BF16);
    let (x, weight, bias) = (tensor(&[3, 32]), tensor(&[16, 32]), tensor(&[16]));
    let work = |x: &Tensor, weight: &Tensor, bias: &Tensor| linear(Part { x, weight }, Some(bias), false);
    assert!(work(&x, &weight, &bias).is_some());
    assert!(work(&f32(&x), &weight, &bias).is_none(), "mixed types");
    assert!(work(&f32(&x), &f32(&weight), &f32(&bias)).is_none(), "float32, which candle multiplies");
    assert!(work(&x, &weight, &tensor(&[24])).is_none(), "a bias of another length");
    assert!(work(&tensor(&[3, 40]), &weight, &bias).is_none(), "another width");
    let odd = tensor(&[16, 36]);
    assert!(
        work(&x, &odd.narrow(1, 4, 32).unwrap(), &bias).is_none(),
        "an address between the lines of a read"
    );
    assert!(work(&tensor(&[3, 20]), &tensor(&[16, 20]), &bias).is_none(), "rows that are no whole lines");
    assert!(work(&tensor(&[32, 3]).t().unwrap(), &weight, &bias).is_none(), "columns side by side");
    let codes = |shape: &[usize]| Tensor::zeros(shape, DType::U8, &Device::Cpu).unwrap();
    let scale = Tensor::ones(1, DType::F32, &Device::Cpu).unwrap();
    let fp8 = |x: &Tensor, weight: &Tensor, dtype| {
        linear_fp8(Part { x, weight }, Scales { weight: 1.0, x: &scale }, None, false, dtype)
    };
    assert!(fp8(&codes(&[3, 32]), &codes(&[16, 32]), DType::BF16).is_some());
    assert!(fp8(&codes(&[3, 24]), &codes(&[16, 24]), DType::BF16).is_none(), "rows that are no whole lines");
    assert!(
        fp8(&codes(&[3, 32]), &codes(&[8, 32]), DType::BF16).is_none(),
        "outputs that are no whole lines"
    );
    assert!(fp8(&codes(&[3, 32]), &codes(&[16, 32]), DType::F32).is_none(), "a result in float32");
}

#[test]
fn sums_go_where_the_first_product_wrote() {
    let (x, weight) = (random(&[2, 16], 1, DType::F16), random(&[8, 16], 2, DType::F16));
    let parts =
        [0, 8].map(|start| (x.narrow(D::Minus1, start, 8).unwrap(), weight.narrow(1, start, 8).unwrap()));
    let parts = parts.each_ref().map(|(x, weight)| Part { x, weight });
    let work = linear_of_parts(&parts, None).unwrap();
    let adds: Vec<bool> =
        work.calls.iter().map(|call| matches!(call, Call::Product(gemm) if gemm.adds)).collect();
    assert_eq!((adds, work.shape), (vec![false, true], vec![2, 8]));
}
