//! The normal values that torch's CPU generator gives for a seed, bit for bit.
//!
//! A seed then means the same picture on every device, and in every other tool that makes its noise on the CPU. The
//! values are those of a CPU with AVX2 or AVX-512: MT19937, then a Box-Muller transform in groups of 16 whose
//! logarithm, sine and cosine are the single-precision Cephes polynomials with fused multiply-adds.

use std::f32::consts::FRAC_1_SQRT_2;

/// Values that one transform makes: 8 pairs.
const GROUP: usize = 16;

/// `count` values of the standard normal distribution for the low 32 bits of `seed`.
pub fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut generator = MersenneTwister::new(seed as u32);
    if count < GROUP {
        return scalar_normal(&mut generator, count);
    }
    let mut values: Vec<f32> = (0..count).map(|_| generator.uniform()).collect();
    for group in values.chunks_exact_mut(GROUP) {
        box_muller(group);
    }
    if !count.is_multiple_of(GROUP) {
        let tail = &mut values[count - GROUP..];
        tail.fill_with(|| generator.uniform());
        box_muller(tail);
    }
    values
}

/// Turns 16 uniform values into 16 normal ones; value `j` pairs with `j + 8`.
fn box_muller(group: &mut [f32]) {
    let (low, high) = group.split_at_mut(GROUP / 2);
    for (low, high) in low.iter_mut().zip(high) {
        let radius = (-2.0 * ln(1.0 - *low)).sqrt();
        let angle = std::f32::consts::TAU * *high;
        let (sin, cos) = sin_cos(angle);
        (*low, *high) = (radius * cos, radius * sin);
    }
}

/// Fewer than 16 values are sampled one by one, in double precision.
fn scalar_normal(generator: &mut MersenneTwister, count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let (u1, u2) = (generator.uniform_double(), generator.uniform_double());
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let angle = std::f64::consts::TAU * u1;
        values.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    values.truncate(count);
    values
}

/// Natural logarithm of a positive number (Cephes `logf`).
#[expect(clippy::excessive_precision, reason = "the published constants, digit for digit")]
fn ln(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 8] = [
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ];
    let (mantissa, exponent) = split(x);
    let (x, exponent) = if mantissa < FRAC_1_SQRT_2 {
        ((mantissa - 1.0) + mantissa, exponent - 1.0)
    } else {
        (mantissa - 1.0, exponent)
    };
    let z = x * x;
    let y = COEFFICIENTS.iter().fold(7.0376836292e-2f32, |y, &c| y.mul_add(x, c));
    let y = (y * x).mul_add(z, exponent * -2.12194440e-4);
    let y = z.mul_add(-0.5, y);
    exponent.mul_add(0.693359375, x + y)
}

/// Mantissa in 0.5..1 and exponent, so that `x = mantissa * 2^exponent`.
fn split(x: f32) -> (f32, f32) {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 126;
    (f32::from_bits(bits & 0x007f_ffff | 0x3f00_0000), exponent as f32)
}

/// Sine and cosine of an angle of at least 0 (Cephes `sinf`, `cosf`).
#[expect(clippy::excessive_precision, reason = "the published constants, digit for digit")]
fn sin_cos(x: f32) -> (f32, f32) {
    let octant = ((x * 1.27323954473516) as i32 + 1) & !1;
    let y = octant as f32;
    let x = y.mul_add(-0.78515625, x);
    let x = y.mul_add(-2.4187564849853515625e-4, x);
    let x = y.mul_add(-3.77489497744594108e-8, x);
    let z = x * x;
    let cos = 2.443315711809948e-5f32.mul_add(z, -1.388731625493765e-3);
    let cos = cos.mul_add(z, 4.166664568298827e-2) * z;
    let cos = cos.mul_add(z, -(z * 0.5)) + 1.0;
    let sin = (-1.9515295891e-4f32).mul_add(z, 8.3321608736e-3);
    let sin = sin.mul_add(z, -1.6666654611e-1) * z;
    let sin = sin.mul_add(x, x);
    let (sin, cos) = if octant & 2 == 0 { (sin, cos) } else { (cos, sin) };
    let sin = if octant & 4 == 0 { sin } else { -sin };
    let cos = if !(octant - 2) & 4 == 0 { cos } else { -cos };
    (sin, cos)
}

/// MT19937 (Matsumoto and Nishimura, 1998).
struct MersenneTwister {
    state: [u32; Self::SIZE],
    next: usize,
}

impl MersenneTwister {
    const SIZE: usize = 624;
    const SHIFT: usize = 397;

    fn new(seed: u32) -> Self {
        let mut state = [seed; Self::SIZE];
        for i in 1..Self::SIZE {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: Self::SIZE }
    }

    fn refill(&mut self) {
        for i in 0..Self::SIZE {
            let joined = self.state[i] & 0x8000_0000 | self.state[(i + 1) % Self::SIZE] & 0x7fff_ffff;
            let twisted = (joined >> 1) ^ if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + Self::SHIFT) % Self::SIZE] ^ twisted;
        }
        self.next = 0;
    }

    fn next_word(&mut self) -> u32 {
        if self.next == Self::SIZE {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// 24 random bits as a number in 0..1.
    fn uniform(&mut self) -> f32 {
        (self.next_word() & 0x00ff_ffff) as f32 * 2f32.powi(-24)
    }

    /// 53 random bits as a number in 0..1, the high word first.
    fn uniform_double(&mut self) -> f64 {
        let bits = u64::from(self.next_word()) << 32 | u64::from(self.next_word());
        (bits & ((1 << 53) - 1)) as f64 * 2f64.powi(-53)
    }
}
