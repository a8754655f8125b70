//! The CUDA kernels' own source, compiled for the host and compared with candle's operations.
//!
//! `tests/kernels/host.h` gives it blocks, threads, barriers, shared memory and the products of a warp. A program runs
//! one call at a time, with its tensors in files; an untouchable page lies behind each of them.

mod gemm;
mod products;
mod twin;

use candle_core::{D, DType, Device, Tensor};
use uso_engine::kernels::{Call, SOURCE, Work, calls, rounding};
use uso_engine::noise::normal;
use uso_engine::uso::kernel_check::{Checked, check};

use self::twin::{Change, Twin, twin};

const ALL: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

fn random(shape: &[usize], seed: u64, dtype: DType) -> Tensor {
    let count = shape.iter().product();
    Tensor::from_vec(normal(seed, count), shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn f32(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F32).unwrap()
}

/// Softmax attention of (1, heads, tokens, size) in float32: (1, tokens, heads * size).
fn attention(query: &Tensor, key: &Tensor, value: &Tensor) -> Tensor {
    let scores = f32(query).matmul(&f32(key).t().unwrap()).unwrap();
    let scores = (scores / (calls::HEAD as f64).sqrt()).unwrap();
    let attended = candle_nn::ops::softmax(&scores, D::Minus1).unwrap().matmul(&f32(value)).unwrap();
    attended.transpose(1, 2).unwrap().flatten_from(2).unwrap()
}

/// The same with the first value of each row changed.
fn moved(x: &Tensor, by: f32) -> Tensor {
    let mut change = vec![0.0; calls::HEAD];
    change[0] = by;
    let change = Tensor::new(change, &Device::Cpu).unwrap();
    f32(x).broadcast_add(&change).unwrap().to_dtype(x.dtype()).unwrap()
}

/// Compares with what is expected in float32: `roundings` of the type's precision, as a share of the largest value.
fn assert_close(work: Option<Work>, expected: &Tensor, roundings: f32, what: &str) {
    let computed = twin().compute(&work.unwrap()).unwrap();
    assert_eq!(computed.dims(), expected.dims(), "{what}");
    let precision = match computed.dtype() {
        DType::BF16 => 1.0 / 256.0,
        DType::F16 => 1.0 / 2048.0,
        // Several of float32: results of long sums.
        _ => 16.0 * f32::EPSILON,
    };
    let values = |x: &Tensor| f32(x).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (computed, expected) = (values(&computed), values(expected));
    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    for (at, (computed, expected)) in computed.iter().zip(&expected).enumerate() {
        let difference = (computed - expected).abs();
        assert!(
            difference <= roundings * precision * largest,
            "{what}: value {at} is {computed} instead of {expected}"
        );
    }
}

#[test]
fn attention_is_softmax_attention_for_any_number_of_tokens() {
    // One token, tails of tiles of 64 keys and of blocks of 64 and 128 queries, and sizes without a tail.
    for (i, tokens) in [1, 7, 63, 64, 65, 128, 130, 200].into_iter().enumerate() {
        let heads = 1 + i % 3;
        for dtype in ALL {
            let [query, key, value] =
                [1, 2, 3].map(|seed| random(&[1, heads, tokens, calls::HEAD], 10 * i as u64 + seed, dtype));
            // All scores are about -6: a key after the last token would have 0, and nearly all of the weight.
            let (query, key) = (moved(&query, 8.0), moved(&key, -8.0));
            let work = calls::attend(&query, &key, &value);
            assert_close(
                work,
                &attention(&query, &key, &value),
                8.0,
                &format!("{heads} heads, {tokens} tokens, {dtype:?}"),
            );
        }
    }
}

#[test]
fn attention_follows_scores_that_rise_and_fall_by_far() {
    // The maximum of a row moves from tile to tile by up to 80, where a sum that is not adapted overflows or vanishes.
    for dtype in ALL {
        let tokens = 150;
        let query = (random(&[1, 1, tokens, calls::HEAD], 1, dtype) * 8.0).unwrap();
        let [key, value] = [2, 3].map(|seed| random(&[1, 1, tokens, calls::HEAD], seed, dtype));
        let attended = attention(&query, &key, &value);
        assert_close(calls::attend(&query, &key, &value), &attended, 8.0, &format!("{dtype:?}"));
    }
}

#[test]
fn queries_and_keys_are_normed_and_rotated_in_the_order_of_their_streams() {
    for (heads, size, streams) in
        [(3, 128, vec![5, 12]), (1, 128, vec![1]), (4, 36, vec![9, 2]), (2, 256, vec![3])]
    {
        for dtype in ALL {
            let (all, hidden) = (streams.iter().sum::<usize>(), heads * size);
            let [cosines, sines] = [1, 2].map(|seed| random(&[all, size / 2], seed, DType::F32));
            // The first stream's rows go on after queries, keys and values, as in a single block.
            let projections: Vec<Tensor> = streams
                .iter()
                .enumerate()
                .map(|(i, &tokens)| {
                    let width = 3 * hidden + if i == 0 { 22 } else { 0 };
                    random(&[1, tokens, width], 3 + i as u64, dtype).narrow(2, 0, 3 * hidden).unwrap()
                })
                .collect();
            let scales: Vec<[Tensor; 2]> = (0..streams.len())
                .map(|i| [5, 6].map(|seed| random(&[size], seed + 2 * i as u64, dtype)))
                .collect();
            let parts: Vec<[&Tensor; 3]> =
                projections.iter().zip(&scales).map(|(qkv, [query, key])| [qkv, query, key]).collect();
            let expected: Vec<Tensor> =
                (0..3).map(|part| expected_part(part, &parts, heads, [&cosines, &sines])).collect();
            let work = calls::split_norm_rotate(&parts, heads, [&cosines, &sines], 1e-6);
            let what = format!("{heads} heads of {size}, {streams:?}, {dtype:?}");
            assert_close(work, &Tensor::cat(&expected, 0).unwrap(), 4.0, &what);
        }
    }
}

/// Queries, keys or values as (1, heads, tokens, size).
fn expected_part(
    part: usize,
    streams: &[[&Tensor; 3]],
    heads: usize,
    [cosines, sines]: [&Tensor; 2],
) -> Tensor {
    let streams: Vec<Tensor> = streams
        .iter()
        .map(|stream| {
            let (_, tokens, width) = stream[0].dims3().unwrap();
            let split = f32(stream[0]).reshape((1, tokens, 3, heads, width / 3 / heads)).unwrap();
            let own = split.narrow(2, part, 1).unwrap().squeeze(2).unwrap().transpose(1, 2).unwrap();
            let own = own.contiguous().unwrap();
            if part == 2 {
                own
            } else {
                candle_nn::ops::rms_norm(&own, &f32(stream[1 + part]), 1e-6).unwrap()
            }
        })
        .collect();
    let joined = Tensor::cat(&streams, 2).unwrap();
    if part == 2 { joined } else { candle_nn::rotary_emb::rope_i(&joined, cosines, sines).unwrap() }
}

#[test]
fn rows_are_normed_and_modulated() {
    for (rows, size) in [(1, 3072), (5, 144), (2, 2), (3, 514)] {
        for dtype in ALL {
            // Far from zero, where the variance must not be a difference of large numbers.
            let x = (random(&[1, rows, size], 1, dtype) + 40.0).unwrap();
            let [weight, bias] = [2, 3].map(|seed| random(&[size], seed, dtype));
            let mean = f32(&x).mean_keepdim(2).unwrap();
            let apart = f32(&x).broadcast_sub(&mean).unwrap();
            let deviation = (apart.sqr().unwrap().mean_keepdim(2).unwrap() + 1e-6).unwrap().sqrt().unwrap();
            let normed = apart.broadcast_div(&deviation).unwrap();
            let expected = normed.broadcast_mul(&f32(&weight)).unwrap().broadcast_add(&f32(&bias)).unwrap();
            let work = calls::modulated_norm(&x, &weight, &bias, 1e-6);
            assert_close(work, &expected, 40.0, &format!("{rows} rows of {size}, {dtype:?}"));
        }
    }
}

#[test]
fn sums_are_gated() {
    for (rows, size) in [(1, 3072), (5, 144), (2, 2), (3, 514)] {
        for dtype in ALL {
            let [x, y] = [1, 2].map(|seed| random(&[1, rows, size], seed, dtype));
            let gate = random(&[size], 3, dtype);
            let expected = (f32(&x) + f32(&y).broadcast_mul(&f32(&gate)).unwrap()).unwrap();
            assert_close(
                calls::gated_add(&x, &gate, &y),
                &expected,
                2.0,
                &format!("{rows}x{size}, {dtype:?}"),
            );
        }
    }
}

#[test]
fn groups_have_their_moments() {
    for (rows, channels, columns) in [(1, 32, 1), (3, 128, 67), (2, 64, 300)] {
        let x = (random(&[rows, channels, columns], 1, DType::F32) + 30.0).unwrap();
        let groups = x.reshape((rows, 32, channels / 32 * columns)).unwrap();
        let means = groups.mean_keepdim(2).unwrap();
        let variances = groups.broadcast_sub(&means).unwrap().sqr().unwrap().mean(2).unwrap();
        let work = calls::group_moments(&x, 32).unwrap();
        let computed = twin().compute(&work).unwrap();
        for (i, expected) in [means.squeeze(2).unwrap(), variances].iter().enumerate() {
            let difference = (computed.get(i).unwrap() - expected).unwrap().abs().unwrap().max_all().unwrap();
            let difference = difference.to_scalar::<f32>().unwrap();
            assert!(difference < 1e-4, "{rows}, {channels}, {columns}, part {i}: {difference}");
        }
    }
}

#[test]
fn maps_are_normed_and_activated() {
    for (rows, channels, columns) in [(1, 32, 1), (3, 128, 67), (2, 64, 300)] {
        for activate in [false, true] {
            let x = random(&[rows, channels, columns], 1, DType::F32);
            let [factors, offsets] = [2, 3].map(|seed| random(&[1, channels, 1], seed, DType::F32));
            let expected = x.broadcast_mul(&factors).unwrap().broadcast_add(&offsets).unwrap();
            let expected = if activate { expected.silu().unwrap() } else { expected };
            let work = calls::group_norm(&x, &factors, &offsets, activate);
            assert_close(work, &expected, 4.0, &format!("{rows}, {channels}, {columns}, {activate}"));
        }
    }
}

#[test]
fn what_a_kernel_cannot_read_has_no_call() {
    let heads = |size: usize| random(&[1, 2, 8, size], 1, DType::BF16);
    let (good, small) = (heads(128), heads(64));
    assert!(calls::attend(&good, &good, &good).is_some());
    assert!(calls::attend(&small, &small, &small).is_none(), "another size of heads");
    assert!(calls::attend(&good, &good, &f32(&good)).is_none(), "mixed types");
    let strided = random(&[1, 8, 2, 128], 1, DType::BF16).transpose(1, 2).unwrap();
    assert!(calls::attend(&strided, &good, &good).is_none(), "rows that do not lie side by side");
    let odd = random(&[1, 2, 7], 1, DType::F32);
    let vector = random(&[7], 1, DType::F32);
    assert!(calls::gated_add(&odd, &vector, &odd).is_none(), "rows that are no pairs");
    assert!(calls::modulated_norm(&odd, &vector, &vector, 1e-6).is_none(), "rows that are no pairs");
    let map = random(&[1, 48, 4], 1, DType::F32);
    assert!(calls::group_moments(&map, 32).is_none(), "channels that make no groups");
}

#[test]
fn blocks_have_the_threads_that_the_compiler_is_told() {
    let x = random(&[1, 32, 128], 1, DType::F32);
    let vector = random(&[128], 1, DType::F32);
    let channels = random(&[1, 32, 1], 1, DType::F32);
    let sums = Tensor::zeros((32, 128), DType::I32, &Device::Cpu).unwrap();
    let rows = Tensor::ones(32, DType::F32, &Device::Cpu).unwrap();
    let factors = rounding::Factors { rows: &rows, columns: &vector, added: &vector };
    let works = [
        calls::modulated_norm(&x, &vector, &vector, 1e-6),
        calls::gated_add(&x, &vector, &x),
        calls::group_moments(&x, 32),
        calls::group_norm(&x, &channels, &channels, true),
        calls::attend(&x.unsqueeze(0).unwrap(), &x.unsqueeze(0).unwrap(), &x.unsqueeze(0).unwrap()),
        rounding::fp8_scale(&x),
        rounding::round_fp8(&x, &vector),
        rounding::row_scales(&x),
        rounding::round_int8(&x, &Tensor::ones(32, DType::F32, &Device::Cpu).unwrap()),
        rounding::scale_sums(&sums, factors, true, DType::F32),
    ];
    for call in works.into_iter().flat_map(|work| work.unwrap().calls) {
        let Call::Kernel(call) = call else { continue };
        // `KERNEL(256)`, then the name, which a macro may end with `##name`.
        let base = call.kernel.trim_end_matches("f32");
        let place =
            SOURCE.find(&format!("{base}##")).or_else(|| SOURCE.find(&format!("\n{base}f32("))).unwrap();
        let declared = SOURCE[..place].rsplit_once("KERNEL(").unwrap().1.split_once(')').unwrap().0;
        assert_eq!(declared, call.threads.to_string(), "{}", call.kernel);
    }
}

fn faults(twin: &Twin, dtype: DType) -> Vec<Checked> {
    check(dtype, &Device::Cpu, &|work| twin.compute(work).map_err(candle_core::Error::msg))
}

#[test]
fn the_check_at_the_start_passes_sound_kernels() {
    for dtype in ALL {
        for Checked { kernel, fault } in faults(twin(), dtype) {
            assert_eq!(fault, None, "{kernel}");
        }
    }
}

#[test]
fn the_check_at_the_start_refuses_broken_kernels() {
    // A broken index, mask or reduction in each kernel.
    let changes = [
        Change("attention.cu", "i % 2 >= left", "i % 2 > left"),
        Change("attention_f32.cu", "x + j * SIDE >= left", "x + j * SIDE > left"),
        Change("split_norm_rotate.cu", "row = of.first + token", "row = token"),
        Change("modulation.cu", "block_sum<THREADS>(squares)", "warp_sum(squares)"),
        Change("modulation.cu", "pair_at<Element>(y, at)", "pair_at<Element>(y, i)"),
        Change("group_norm.cu", "gridDim.x + blockIdx.x", "gridDim.x + blockIdx.x - blockIdx.x % 2"),
        Change("group_norm.cu", "offsets[blockIdx.x % channels]", "offsets[blockIdx.x % 32]"),
        Change("rounding.cu", "out[1 + i]", "out[i]"),
        Change("rounding.cu", "by = row_scales[blockIdx.x]", "by = row_scales[0]"),
    ];
    let broken = Twin::build(&changes).unwrap();
    for dtype in ALL {
        for Checked { kernel, fault } in faults(&broken, dtype) {
            assert!(fault.is_some(), "{kernel}");
        }
    }
}
