//! What the autoencoder takes beside its weights and its result: in float32, band by band, with whole maps between
//! layers.
//!
//! This is the one place to ask: `decoding` and `encoding` are to be those of `uso::autoencoder`.

use super::record::F32;
use crate::config::AutoencoderConfig;
use crate::plan::hardware::Backend;
use crate::plan::places::Place;
use crate::uso::latents::CELL_PIXELS;

/// Bytes on the device and in the host's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) device: u64,
    pub(crate) host: u64,
}

/// What decoding a picture takes.
pub(crate) fn decoding(ae: &AutoencoderConfig, size: (u32, u32), backend: Backend, maps: Place) -> Need {
    need(ae, size, backend, maps, |levels, i| levels[(i + 1).min(levels.len() - 1)])
}

/// What encoding a picture takes.
pub(crate) fn encoding(ae: &AutoencoderConfig, size: (u32, u32), backend: Backend, maps: Place) -> Need {
    need(ae, size, backend, maps, |levels, i| levels[i.saturating_sub(1)])
}

/// `input` gives the channels that come into a level. A residual block has two maps of its output, or that of its
/// input; a band is computed beside them; the attention in the middle keeps keys, values and pieces of them.
fn need(
    ae: &AutoencoderConfig,
    (width, height): (u32, u32),
    backend: Backend,
    maps: Place,
    input: impl Fn(&[u64], usize) -> u64,
) -> Need {
    let levels: Vec<u64> = ae.ch_mult.iter().map(|factor| (factor * ae.ch) as u64).collect();
    let pixels = u64::from(width) * u64::from(height);
    let map = |i: usize| input(&levels, i).max(2 * levels[i]) * (pixels >> (2 * i)) * F32;
    let whole = (0..levels.len()).map(map).max().unwrap_or(0);
    let widest = levels.iter().take(2).max().copied().unwrap_or(0);
    let band = band(widest, u64::from(width), backend);
    let cells = pixels / (CELL_PIXELS * CELL_PIXELS) as u64;
    let kept = 3 * levels.last().copied().unwrap_or(0) * cells * F32;
    match maps {
        Place::Device => Need { device: whole.max(kept) + band, host: 0 },
        Place::Host => Need { device: kept + band, host: whole },
    }
}

/// What is computed at a time: what suits the device, but at least a cell of the latent in height. A convolution holds
/// its input and, with a halo, four times what it sees.
fn band(channels: u64, width: u64, backend: Backend) -> u64 {
    const CELL: u64 = CELL_PIXELS as u64;
    let suits = if backend == Backend::Cpu { 16 << 20 } else { 256 << 20 };
    let least = channels * width * (CELL + 4 * (CELL + 2)) * F32;
    least.max(suits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: f64 = (1u64 << 30) as f64;

    #[test]
    fn whole_maps_of_large_pictures_go_to_the_host() {
        let ae = AutoencoderConfig::default();
        let decoding = |side, maps| decoding(&ae, (side, side), Backend::Cuda, maps);
        let at = |need: Need| (need.device as f64 / GIB, need.host as f64 / GIB);
        assert_eq!(at(decoding(1024, Place::Device)), (1.25, 0.0));
        assert_eq!(at(decoding(2048, Place::Device)), (4.25, 0.0));
        let (device, host) = at(decoding(2048, Place::Host));
        assert!(device < 1.5 && host == 4.0, "{device}, {host}");
        let encoding = encoding(&ae, (1024, 1024), Backend::Cuda, Place::Device);
        assert!(encoding.device <= decoding(1024, Place::Device).device);
    }
}
