//! Latents in the layout of the autoencoder, (1, 16, h, w), and of the transformer, (1, h/2 * w/2, 64).

use candle_core::{Device, Result, Tensor};

use crate::noise;

/// Channels of a latent.
const CHANNELS: usize = 16;

/// Side of a token in latent cells.
const PATCH: usize = 2;

/// Side of a latent cell in pixels.
pub const CELL_PIXELS: usize = 8;

/// Side of a token in pixels.
pub const TOKEN_PIXELS: usize = PATCH * CELL_PIXELS;

/// Initial noise for a picture of `width` x `height` pixels: (1, 16, 2 * ceil(height / 16), 2 * ceil(width / 16)) in
/// float32, with the values of torch's CPU generator for the seed (`get_noise` of the reference).
///
/// # Errors
/// If the noise cannot be copied to the device.
pub fn start_noise(seed: u64, width: usize, height: usize, device: &Device) -> Result<Tensor> {
    let cells = |pixels: usize| PATCH * pixels.div_ceil(TOKEN_PIXELS);
    let (rows, columns) = (cells(height), cells(width));
    Tensor::from_vec(noise::normal(seed, CHANNELS * rows * columns), (1, CHANNELS, rows, columns), device)
}

/// `b c (h 2) (w 2) -> b (h w) (c 2 2)`.
///
/// # Errors
/// If a side is odd.
pub fn pack(latent: &Tensor) -> Result<Tensor> {
    let (batch, channels, rows, columns) = latent.dims4()?;
    let (rows, columns) = (rows / PATCH, columns / PATCH);
    latent.reshape((batch, channels, rows, PATCH, columns, PATCH))?.permute((0, 2, 4, 1, 3, 5))?.reshape((
        batch,
        rows * columns,
        channels * PATCH * PATCH,
    ))
}

/// The reverse of [`pack`] for `rows` x `columns` tokens.
///
/// # Errors
/// If the token count is not `rows * columns`.
pub fn unpack(packed: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
    let (batch, _, width) = packed.dims3()?;
    let channels = width / PATCH / PATCH;
    packed.reshape((batch, rows, columns, channels, PATCH, PATCH))?.permute((0, 3, 1, 4, 2, 5))?.reshape((
        batch,
        channels,
        rows * PATCH,
        columns * PATCH,
    ))
}
