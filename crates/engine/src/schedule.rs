//! Timesteps of a picture (`get_schedule` of the reference).

/// `steps + 1` timesteps from 1 down to 0 for a picture of `width` x `height` pixels.
///
/// They are shifted towards 1 by `e^mu / (e^mu + 1/t - 1)` with a `mu` that is linear in the sequence length. The
/// reference computes that length as `(width / 8) * (height / 8) / 256`, a sixty-fourth of the tokens that other FLUX
/// code counts. Pictures depend on it, so it stays.
pub fn timesteps(steps: usize, width: usize, height: usize) -> Vec<f32> {
    let sequence = (width / 8) * (height / 8) / 256;
    let shift = shift(sequence).exp() as f32;
    linspace(steps).map(|t| shifted(t, shift)).collect()
}

/// `mu`: 0.5 at 256 tokens, 1.15 at 4096.
fn shift(sequence: usize) -> f64 {
    let slope = (1.15 - 0.5) / (4096.0 - 256.0);
    slope * sequence as f64 + (0.5 - slope * 256.0)
}

/// In single precision and in torch's order: a number divided by a tensor is the tensor's reciprocal times the number.
fn shifted(t: f32, shift: f32) -> f32 {
    1.0 / ((1.0 / t - 1.0) + shift) * shift
}

/// `torch.linspace(1, 0, steps + 1)`: counted from the nearer end, with one rounding.
fn linspace(steps: usize) -> impl Iterator<Item = f32> {
    let step = -1.0 / steps as f32;
    (0..=steps).map(move |i| {
        if i < steps.div_ceil(2) { step.mul_add(i as f32, 1.0) } else { -step * (steps - i) as f32 }
    })
}
