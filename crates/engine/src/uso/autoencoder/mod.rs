//! The FLUX autoencoder: pixels to latents and back, in float32 and in bounded memory.
//!
//! A layer computes its map band by band (`chunks`). The statistics of norms and the attention in the middle use the
//! whole picture, so that no seams appear. At the end of a layer one whole map exists, inside a residual block two;
//! everything else is as large as a band.

mod chunks;
mod layers;
mod memory;
mod moments;
mod plan;

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;

pub use self::chunks::{Chunks, Maps};
use self::chunks::{Map, bands};
use self::layers::Half;
use self::memory::Picture;
pub use self::memory::{Peak, decoding, encoding};
use crate::Image;
use crate::config::AutoencoderConfig;

/// Encoder, decoder, and the shift and factor between posterior and latent.
pub struct Autoencoder {
    encoder: Half,
    decoder: Half,
    config: AutoencoderConfig,
    chunks: Chunks,
    device: Device,
}

impl Autoencoder {
    /// Builds both halves from weights with the published names, in float32 whatever the builder's type is.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub fn new(config: &AutoencoderConfig, vb: VarBuilder) -> Result<Self> {
        let vb = vb.to_dtype(DType::F32);
        Ok(Self {
            encoder: Half::new(plan::encoder(config), config.cell(), &vb.pp("encoder"))?,
            decoder: Half::new(plan::decoder(config), 1, &vb.pp("decoder"))?,
            config: config.clone(),
            chunks: Chunks::on(vb.device()),
            device: vb.device().clone(),
        })
    }

    /// The same with other chunks than the device's default.
    #[must_use]
    pub fn with_chunks(self, chunks: Chunks) -> Self {
        Self { chunks, ..self }
    }

    /// The same with whole maps kept at another place.
    #[must_use]
    pub fn with_maps(self, maps: Maps) -> Self {
        let chunks = Chunks { maps, ..self.chunks };
        self.with_chunks(chunks)
    }

    /// What decoding a picture of `width` x `height` pixels takes.
    pub fn decoding(&self, width: usize, height: usize) -> Peak {
        decoding(&self.config, width, height, self.chunks)
    }

    /// What encoding a picture of `width` x `height` pixels takes.
    pub fn encoding(&self, width: usize, height: usize) -> Peak {
        encoding(&self.config, width, height, self.chunks)
    }

    /// Posterior mean and log variance of an image, each (1, 16, height / 8, width / 8).
    ///
    /// # Errors
    /// If the image is smaller than a cell of its latent, or the device fails.
    pub fn posterior(&self, image: &Image) -> Result<(Tensor, Tensor)> {
        let (width, height) = (image.width as usize, image.height as usize);
        if width.min(height) < self.config.cell() {
            bail!("an image of {width}x{height} pixels is smaller than a cell of its latent")
        }
        let parts = self.run(&self.encoder, height, width, |rows| {
            let Some(bytes) = image.rgb.get(rows.start * width * 3..rows.end * width * 3) else {
                bail!("an image of {width}x{height} pixels has {} values", image.rgb.len())
            };
            let values: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0 * 2.0 - 1.0).collect();
            Tensor::from_vec(values, (rows.len(), width, 3), &self.device)?.transpose(1, 2)?.contiguous()
        })?;
        let parts = parts.chunk(2, 1)?;
        Ok((parts[0].clone(), parts[1].clone()))
    }

    /// The latent of an image, (1, 16, height / 8, width / 8) in float32. It uses the posterior's mean, where the
    /// reference takes a random sample without a seed.
    ///
    /// # Errors
    /// As [`Autoencoder::posterior`].
    pub fn encode(&self, image: &Image) -> Result<Tensor> {
        let (mean, _) = self.posterior(image)?;
        (mean - self.config.shift_factor)? * self.config.scale_factor
    }

    /// Pixels of a latent (1, 16, h, w): (1, 3, 8h, 8w) in float32, about -1 to 1, not clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode(&self, latent: &Tensor) -> Result<Tensor> {
        let latent = latent.to_dtype(DType::F32)?;
        let scaled = ((latent / self.config.scale_factor)? + self.config.shift_factor)?;
        let cells = scaled.squeeze(0)?.transpose(0, 1)?;
        let (height, _, width) = cells.dims3()?;
        self.run(&self.decoder, height, width, |rows| {
            // A copy, because a view would move the whole latent to where maps are kept.
            cells.narrow(0, rows.start, rows.len())?.force_contiguous()
        })
    }

    /// Runs a half on an input of `height` x `width` values, whose rows `band` gives as (rows, channels, width).
    fn run(
        &self,
        half: &Half,
        height: usize,
        width: usize,
        band: impl Fn(Range<usize>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let pixels = self.config.cell() / half.cell;
        let picture = Picture::new(&self.config, width * pixels, height * pixels);
        let cells = memory::cells(&half.plan, picture, self.chunks.bytes);
        let mut map = Map::new(&self.device, self.chunks);
        for rows in bands(height, half.cell, cells) {
            map.push(&band(rows)?)?;
        }
        half.forward(map)?.into_tensor()
    }
}

/// Image of decoded pixels (1, 3, height, width): `127.5 * (x + 1)`, clamped and truncated, not rounded, as in the
/// reference.
///
/// # Errors
/// If the device fails.
pub fn to_image(pixels: &Tensor) -> Result<Image> {
    let (_, _, height, width) = pixels.dims4()?;
    let bytes = ((pixels.clamp(-1f32, 1f32)? + 1.0)? * 127.5)?;
    // Casting a float to a byte truncates, in Rust as in torch.
    let rgb = bytes.squeeze(0)?.permute((1, 2, 0))?.flatten_all()?.to_vec1::<f32>()?;
    let rgb = rgb.into_iter().map(|value| value as u8).collect();
    Ok(Image { width: width as u32, height: height as u32, rgb })
}
