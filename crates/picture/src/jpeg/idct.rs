//! Turns coefficients into values with the integer arithmetic of libjpeg's slow, exact transform. Others differ by one
//! level, which becomes three after the conversion to red, green and blue.

use super::frame::SIDE;
use super::scan::Block;

/// Fractional bits of the constants, and of values between the two passes.
const CONSTANT_BITS: u32 = 13;
const PASS_BITS: u32 = 2;

/// Multiplies a block by its table and writes its 8 x 8 values to the beginnings of eight rows.
pub(crate) fn transform(block: &Block, table: &[u16; 64], out: &mut [u8], stride: usize) {
    let value = |at: usize| i64::from(block[at]) * i64::from(table[at]);
    if block[1..].iter().all(|coefficient| *coefficient == 0) {
        let level = level(value(0) << PASS_BITS, PASS_BITS + 3);
        out.chunks_mut(stride).take(SIDE).for_each(|row| row[..SIDE].fill(level));
        return;
    }
    let mut between = [0i64; 64];
    for column in 0..SIDE {
        let values = pass(std::array::from_fn(|row| value(SIDE * row + column)));
        for (row, value) in values.into_iter().enumerate() {
            between[SIDE * row + column] = descale(value, CONSTANT_BITS - PASS_BITS);
        }
    }
    for (values, row) in between.chunks_exact(SIDE).zip(out.chunks_mut(stride)) {
        let values = pass(std::array::from_fn(|column| values[column]));
        for (byte, value) in row.iter_mut().zip(values) {
            *byte = level(value, CONSTANT_BITS + PASS_BITS + 3);
        }
    }
}

fn descale(value: i64, bits: u32) -> i64 {
    (value + (1 << (bits - 1))) >> bits
}

fn level(value: i64, bits: u32) -> u8 {
    (descale(value, bits) + 128).clamp(0, 255) as u8
}

/// Eight values of a column or a row, shifted left by [`CONSTANT_BITS`]. The names are libjpeg's.
fn pass(x: [i64; SIDE]) -> [i64; SIDE] {
    let z1 = (x[2] + x[6]) * 4433;
    let (even2, even3) = (z1 - x[6] * 15137, z1 + x[2] * 6270);
    let (even0, even1) = ((x[0] + x[4]) << CONSTANT_BITS, (x[0] - x[4]) << CONSTANT_BITS);
    let (tmp10, tmp13) = (even0 + even3, even0 - even3);
    let (tmp11, tmp12) = (even1 + even2, even1 - even2);

    let z5 = (x[7] + x[3] + x[5] + x[1]) * 9633;
    let (z1, z2) = ((x[7] + x[1]) * -7373, (x[5] + x[3]) * -20995);
    let (z3, z4) = ((x[7] + x[3]) * -16069 + z5, (x[5] + x[1]) * -3196 + z5);
    let tmp0 = x[7] * 2446 + z1 + z3;
    let tmp1 = x[5] * 16819 + z2 + z4;
    let tmp2 = x[3] * 25172 + z2 + z3;
    let tmp3 = x[1] * 12299 + z1 + z4;
    [
        tmp10 + tmp3,
        tmp11 + tmp2,
        tmp12 + tmp1,
        tmp13 + tmp0,
        tmp13 - tmp0,
        tmp12 - tmp1,
        tmp11 - tmp2,
        tmp10 - tmp3,
    ]
}
