//! Loops compiled for the widest vectors of this processor, and functions that such loops can use.

use pulp::Arch;

/// Numbers in the widest vector of any processor.
pub(crate) const LANES: usize = 16;

/// Does work whose loops are compiled for each kind of vectors. What it calls must be inlined into it.
#[inline(always)]
pub(crate) fn widest<R>(work: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(work)
}

/// The exponential, within two units in the last place, from -87 to 88; constant outside.
///
/// After Cephes' `expf` (S. Moshier, netlib.org/cephes): `x = n ln 2 + r`, a polynomial in `r`, and `n` put into the
/// exponent.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = if x < 88.0 { x } else { 88.0 };
    let x = if x > -87.0 { x } else { -87.0 };
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN_2[1], n.mul_add(-LN_2[0], x));
    let mut sum = 1.987_569_1e-4f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum.mul_add(r, coefficient);
    }
    let fraction = sum.mul_add(r * r, r) + 1.0;
    fraction * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The sum, in an order that does not depend on the processor.
#[inline(always)]
pub(crate) fn sum_of(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += of(*value);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| of(*value)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_within_two_units_in_the_last_place() {
        let values: Vec<f32> = (-870_000..880_000).step_by(7).map(|i| i as f32 / 10_000.0).collect();
        let mut results = values.clone();
        widest(
            #[inline(always)]
            || results.iter_mut().for_each(|value| *value = exp(*value)),
        );
        for (x, result) in values.iter().zip(results) {
            let exact = f64::from(*x).exp();
            assert!((f64::from(result) - exact).abs() <= 2.5e-7 * exact, "exp({x}) = {result}, not {exact}");
        }
        assert_eq!(exp(-1000.0), exp(-87.0));
        assert!(exp(1000.0).is_finite() && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn sums_have_every_number() {
        for count in [0, 1, 15, 16, 17, 100] {
            let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let squares: f32 = values.iter().map(|value| value * value).sum();
            assert_eq!(sum_of(&values, |value| value * value), squares, "{count}");
        }
    }
}
