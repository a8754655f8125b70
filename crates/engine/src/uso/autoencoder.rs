//! The FLUX autoencoder: pixels to latents and back.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Module, VarBuilder};
use candle_transformers::models::flux::autoencoder::{Config, Decoder, Encoder};

use crate::Image;
use crate::config::AutoencoderConfig;

/// Encoder, decoder and the two numbers between posterior and latent.
pub struct Autoencoder {
    encoder: Encoder,
    decoder: Decoder,
    scale: f64,
    shift: f64,
    dtype: DType,
    device: Device,
}

impl Autoencoder {
    /// Builds both halves from weights with the published names.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub fn new(config: &AutoencoderConfig, vb: VarBuilder) -> Result<Self> {
        let sizes = Config {
            resolution: 0, // Read by nobody: both halves take any size.
            in_channels: config.in_channels,
            ch: config.ch,
            out_ch: config.out_ch,
            ch_mult: config.ch_mult.clone(),
            num_res_blocks: config.num_res_blocks,
            z_channels: config.z_channels,
            scale_factor: config.scale_factor,
            shift_factor: config.shift_factor,
        };
        Ok(Self {
            encoder: Encoder::new(&sizes, vb.pp("encoder"))?,
            decoder: Decoder::new(&sizes, vb.pp("decoder"))?,
            scale: config.scale_factor,
            shift: config.shift_factor,
            dtype: vb.dtype(),
            device: vb.device().clone(),
        })
    }

    /// Posterior mean and log variance of an image, each (1, 16, height / 8, width / 8).
    ///
    /// # Errors
    /// If the device fails.
    pub fn posterior(&self, image: &Image) -> Result<(Tensor, Tensor)> {
        let (width, height) = (image.width as usize, image.height as usize);
        let pixels = image.rgb.iter().map(|&byte| f32::from(byte) / 255.0 * 2.0 - 1.0).collect::<Vec<_>>();
        let pixels = Tensor::from_vec(pixels, (1, height, width, 3), &self.device)?
            .permute((0, 3, 1, 2))?
            .contiguous()?
            .to_dtype(self.dtype)?;
        let parts = self.encoder.forward(&pixels)?.chunk(2, 1)?;
        Ok((parts[0].to_dtype(DType::F32)?, parts[1].to_dtype(DType::F32)?))
    }

    /// The latent of an image, (1, 16, height / 8, width / 8) in float32. It is made from the
    /// posterior's mean, where the reference draws a sample from an unseeded generator.
    ///
    /// # Errors
    /// If the device fails.
    pub fn encode(&self, image: &Image) -> Result<Tensor> {
        let (mean, _) = self.posterior(image)?;
        (mean - self.shift)? * self.scale
    }

    /// Pixels of a latent (1, 16, h, w): (1, 3, 8h, 8w) in float32, about -1 to 1, not clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode(&self, latent: &Tensor) -> Result<Tensor> {
        let scaled = ((latent / self.scale)? + self.shift)?;
        self.decoder.forward(&scaled.to_dtype(self.dtype)?)?.to_dtype(DType::F32)
    }
}

/// Bytes of decoded pixels (1, 3, height, width): `127.5 * (x + 1)`, clamped and cut, not rounded,
/// as the reference does.
///
/// # Errors
/// If the device fails.
pub fn to_image(pixels: &Tensor) -> Result<Image> {
    let (_, _, height, width) = pixels.dims4()?;
    let bytes = ((pixels.clamp(-1f32, 1f32)? + 1.0)? * 127.5)?;
    // A float becomes a byte by cutting, in Rust as in torch.
    let rgb = bytes.squeeze(0)?.permute((1, 2, 0))?.flatten_all()?.to_vec1::<f32>()?;
    let rgb = rgb.into_iter().map(|value| value as u8).collect();
    Ok(Image { width: width as u32, height: height as u32, rgb })
}
