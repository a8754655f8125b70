//! Compares each kernel with the reference formula on a small input, before the engine uses it on a device.

mod inputs;
mod products;

use candle_core::{DType, Device, Result, Tensor, bail};

use self::inputs::{Compared, Inputs};
use super::fused::{
    EPSILON, Projected, Qkv, attend, gated_add, group_moments, group_norm, modulated_norm, split_norm_rotate,
};
use super::positions::{Rotary, grid};
use crate::error::message;
use crate::kernels::{Kernel, Work, calls};

/// Sizes that no tile divides.
const TOKENS: [usize; 2] = [70, 123];
const HEADS: usize = 2;
const GROUPS: usize = 32;

/// What came out for a kernel.
#[derive(Debug)]
pub struct Checked {
    /// Its name in the source.
    pub kernel: String,
    /// Why it must not be used.
    pub fault: Option<String>,
}

/// Lets the operations on a CUDA device use the kernels that compute there what they should, in this compute type and
/// in float32 for the autoencoder. Warns of each that does not: candle's operations take its place.
pub(super) fn adopt(device: &Device, dtype: DType) {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        for Checked { kernel, fault } in on_device(device, dtype) {
            match fault {
                None => crate::kernels::trust(cuda, &kernel),
                Some(fault) => {
                    tracing::warn!(kernel, fault, "a kernel is not used: candle's operations take its place");
                }
            }
        }
    }
    #[cfg(not(feature = "cuda"))]
    let _ = (device, dtype);
}

/// Checks the kernels that are for a device, on the device itself. Those for eight-bit floats are for cards that multiply
/// such numbers.
pub fn on_device(device: &Device, dtype: DType) -> Vec<Checked> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        let has_fp8 = crate::kernels::has_fp8(cuda);
        let wanted = |kernel| has_fp8 || !matches!(kernel, Kernel::ProductFp8 | Kernel::ProductFp8Gelu);
        return check_some(dtype, device, &|work| crate::kernels::compute(work, cuda), wanted);
    }
    let _ = (device, dtype);
    Vec::new()
}

/// Checks all kernels for a compute type, and the autoencoder's. `compute` does a work whose tensors lie on `device`.
pub fn check(dtype: DType, device: &Device, compute: &dyn Fn(&Work) -> Result<Tensor>) -> Vec<Checked> {
    check_some(dtype, device, compute, |_| true)
}

fn check_some(
    dtype: DType,
    device: &Device,
    compute: &dyn Fn(&Work) -> Result<Tensor>,
    wanted: impl Fn(Kernel) -> bool,
) -> Vec<Checked> {
    let cases: [(Kernel, DType, Case); 12] = [
        (Kernel::Attend, dtype, attend_case),
        (Kernel::SplitNormRotate, dtype, split_case),
        (Kernel::ModulatedNorm, dtype, norm_case),
        (Kernel::GatedAdd, dtype, gate_case),
        (Kernel::GroupMoments, DType::F32, moments_case),
        (Kernel::GroupNorm, DType::F32, group_norm_case),
        (Kernel::Product, dtype, products::sum_case),
        (Kernel::ProductGelu, dtype, products::gelu_case),
        (Kernel::ProductFp8, dtype, products::fp8_sum_case),
        (Kernel::ProductFp8Gelu, dtype, products::fp8_gelu_case),
        (Kernel::ProductInt8, dtype, products::int8_sum_case),
        (Kernel::ProductInt8Gelu, dtype, products::int8_gelu_case),
    ];
    let cases = cases.into_iter().filter(|(kernel, ..)| wanted(*kernel));
    let known = cases.filter_map(|(kernel, dtype, case)| Some((kernel.name(dtype)?, dtype, case)));
    known
        .map(|(kernel, dtype, case)| {
            let checked = case(&Inputs { dtype, device, compute })
                .and_then(|Compared { computed, expected }| compare(&computed, &expected, tolerance(dtype)));
            Checked { kernel, fault: checked.err().map(|error| message(&error)) }
        })
        .collect()
}

/// Largest difference from the reference in float32, as a share of its largest value: a few roundings of the result.
fn tolerance(dtype: DType) -> f32 {
    match dtype {
        DType::BF16 => 1e-2,
        DType::F16 => 2e-3,
        _ => 2e-5,
    }
}

fn compare(computed: &Tensor, expected: &Tensor, tolerance: f32) -> Result<()> {
    if computed.dims() != expected.dims() {
        bail!("it has the shape {:?} instead of {:?}", computed.dims(), expected.dims())
    }
    let values =
        |x: &Tensor| x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (computed, expected) = (values(computed)?, values(expected)?);
    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    for (at, (computed, expected)) in computed.iter().zip(&expected).enumerate() {
        let difference = (computed - expected).abs();
        if difference.is_nan() || difference > tolerance * largest {
            bail!("value {at} is {computed} instead of {expected}")
        }
    }
    Ok(())
}

type Case = fn(&Inputs<'_>) -> Result<Compared>;

fn attend_case(inputs: &Inputs<'_>) -> Result<Compared> {
    let shape = [1, HEADS, TOKENS[0] + TOKENS[1], calls::HEAD];
    // All scores are about -6: a key after the last token would have 0, and nearly all of the weight.
    let apart = |seed, by: f32| {
        let mut shift = vec![0.0; calls::HEAD];
        shift[0] = by;
        let shift = Tensor::new(shift, &Device::Cpu)?;
        inputs.both(&inputs.random(&shape, seed)?.here.broadcast_add(&shift)?)
    };
    let (query, key, value) = (apart(1, 8.0)?, apart(2, -8.0)?, inputs.random(&shape, 3)?);
    Ok(Compared {
        computed: inputs.compute(calls::attend(&query.there, &key.there, &value.there))?,
        expected: attend(&Qkv { query: query.here, key: key.here, value: value.here })?,
    })
}

fn split_case(inputs: &Inputs<'_>) -> Result<Compared> {
    let hidden = HEADS * calls::HEAD;
    let all = TOKENS[0] + TOKENS[1];
    // Rows of a single block go on after queries, keys and values.
    let projections =
        [inputs.random(&[1, TOKENS[0], 3 * hidden], 4)?, inputs.random(&[1, TOKENS[1], 3 * hidden + 64], 5)?];
    let scales = [6, 7, 8, 9].map(|seed| inputs.random(&[calls::HEAD], seed));
    let [a, b, c, d] = scales;
    let scales = [[a?, b?], [c?, d?]];
    let positions = grid(1, all, (3, 900));
    let rotary = |device| Rotary::new(&positions, &[16, 56, 56], 10_000.0, device);
    let narrow = |x: &Tensor| x.narrow(2, 0, 3 * hidden);
    let there = [narrow(&projections[0].there)?, narrow(&projections[1].there)?];
    let here = projections.iter().zip(&scales).map(|(projection, [query, key])| {
        let qkv = narrow(&projection.here)?;
        Ok(Projected { qkv, query_scale: &query.here, key_scale: &key.here })
    });
    let qkv = split_norm_rotate(here.collect::<Result<_>>()?, HEADS, &rotary(&Device::Cpu)?)?;
    let tables = rotary(inputs.device)?;
    let streams = [0, 1].map(|i| [&there[i], &scales[i][0].there, &scales[i][1].there]);
    Ok(Compared {
        computed: inputs.compute(calls::split_norm_rotate(
            &streams,
            HEADS,
            [&tables.cos, &tables.sin],
            EPSILON,
        ))?,
        expected: Tensor::cat(&[qkv.query, qkv.key, qkv.value], 0)?,
    })
}

fn norm_case(inputs: &Inputs<'_>) -> Result<Compared> {
    let size = 3072 + 2;
    let [x, weight, bias] =
        [inputs.random(&[1, 3, size], 10)?, inputs.random(&[size], 11)?, inputs.random(&[size], 12)?];
    Ok(Compared {
        computed: inputs.compute(calls::modulated_norm(&x.there, &weight.there, &bias.there, EPSILON))?,
        expected: modulated_norm(&x.here, &weight.here, &bias.here)?,
    })
}

fn gate_case(inputs: &Inputs<'_>) -> Result<Compared> {
    let size = 3072 + 2;
    let [x, gate, y] =
        [inputs.random(&[1, 3, size], 13)?, inputs.random(&[size], 14)?, inputs.random(&[1, 3, size], 15)?];
    Ok(Compared {
        computed: inputs.compute(calls::gated_add(&x.there, &gate.there, &y.there))?,
        expected: gated_add(&x.here, &gate.here, &y.here)?,
    })
}

fn moments_case(inputs: &Inputs<'_>) -> Result<Compared> {
    let rows = inputs.random(&[3, 4 * GROUPS, 67], 16)?;
    let (means, variances) = group_moments(&rows.here, GROUPS)?;
    let computed = inputs.compute(calls::group_moments(&rows.there, GROUPS))?;
    Ok(Compared { computed, expected: Tensor::stack(&[means, variances], 0)? })
}

fn group_norm_case(inputs: &Inputs<'_>) -> Result<Compared> {
    let channels = 4 * GROUPS;
    let rows = inputs.random(&[3, channels, 133], 17)?;
    let [factors, offsets] = [18, 19].map(|seed| inputs.random(&[1, channels, 1], seed));
    let (factors, offsets) = (factors?, offsets?);
    Ok(Compared {
        computed: inputs.compute(calls::group_norm(&rows.there, &factors.there, &offsets.there, true))?,
        expected: group_norm(rows.here, &factors.here, &offsets.here, true)?,
    })
}
