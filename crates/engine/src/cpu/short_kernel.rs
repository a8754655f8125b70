//! Products of bfloat16 numbers with sums in float32, by the processor's instruction for them.

/// Weights of a tile: so many rows of a matrix.
pub(super) const ROWS: usize = 64;
/// Tokens of a tile.
pub(super) const TOKENS: usize = 6;

/// Two neighbouring bfloat16 numbers, the first in the lower half.
pub(super) type Pair = u32;

/// The sums of a tile, token by token.
pub(super) type Sums = [[f32; ROWS]; TOKENS];

/// Whether this processor has the instruction.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_there() -> bool {
    false
}

/// Sums the products of each row's pairs with each token's, which are as many.
///
/// # Panics
/// If the processor has no instruction for it, see [`is_there`].
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the standard library's call for this instruction")]
pub(super) fn sums(rows: &[[Pair; ROWS]], tokens: &[[Pair; TOKENS]]) -> Sums {
    assert!(is_there());
    // SAFETY: the processor has the features that the function needs.
    unsafe { x86::sums(rows, tokens) }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn sums(_: &[[Pair; ROWS]], _: &[[Pair; TOKENS]]) -> Sums {
    unreachable!("this processor has no instruction for it")
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use super::{Pair, ROWS, Sums, TOKENS};

    /// Pairs in a vector, and vectors in the rows of a tile.
    const LANES: usize = 16;
    const VECTORS: usize = ROWS / LANES;

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn sums(rows: &[[Pair; ROWS]], tokens: &[[Pair; TOKENS]]) -> Sums {
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; TOKENS];
        for (rows, tokens) in rows.iter().zip(tokens) {
            let rows: [__m512bh; VECTORS] = std::array::from_fn(|i| vector(&rows.as_chunks().0[i]));
            for (sums, token) in sums.iter_mut().zip(tokens) {
                let token = numbers(_mm512_set1_epi32(token.cast_signed()));
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = _mm512_dpbf16_ps(*sum, row, token);
                }
            }
        }
        let mut out = [[0f32; ROWS]; TOKENS];
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sum) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
                #[expect(unsafe_code, reason = "the standard library's call for this instruction")]
                // SAFETY: there are as many numbers as in a vector.
                unsafe {
                    _mm512_storeu_ps(out.as_mut_ptr(), sum);
                }
            }
        }
        out
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn vector(pairs: &[Pair; LANES]) -> __m512bh {
        #[expect(unsafe_code, reason = "the standard library's call for this instruction")]
        // SAFETY: there are as many pairs as in a vector.
        numbers(unsafe { _mm512_loadu_si512(pairs.as_ptr().cast()) })
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn numbers(bits: __m512i) -> __m512bh {
        #[expect(unsafe_code, reason = "the standard library has no call for it")]
        // SAFETY: both are 512 bits without invalid values.
        unsafe {
            std::mem::transmute(bits)
        }
    }
}
