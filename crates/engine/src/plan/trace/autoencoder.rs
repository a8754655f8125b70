//! What the autoencoder takes beside its weights and its result, as `uso::autoencoder` reckons it for a backend.

use crate::config::AutoencoderConfig;
use crate::plan::hardware::Backend;
use crate::plan::places::Place;
use crate::uso::autoencoder::{self, Chunks, Maps, Peak};

/// Bytes on the device and in the host's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) device: u64,
    pub(crate) host: u64,
}

/// What decoding a picture takes.
pub(crate) fn decoding(ae: &AutoencoderConfig, size: (u32, u32), backend: Backend, maps: Place) -> Need {
    need(autoencoder::decoding(ae, size.0 as usize, size.1 as usize, chunks(backend, maps)), backend)
}

/// What encoding a picture takes.
pub(crate) fn encoding(ae: &AutoencoderConfig, size: (u32, u32), backend: Backend, maps: Place) -> Need {
    need(autoencoder::encoding(ae, size.0 as usize, size.1 as usize, chunks(backend, maps)), backend)
}

fn chunks(backend: Backend, maps: Place) -> Chunks {
    let suits = if backend == Backend::Cpu { Chunks::CPU } else { Chunks::ACCELERATOR };
    let maps = match maps {
        Place::Device => Maps::Device,
        Place::Host => Maps::Host,
    };
    Chunks { maps, ..suits }
}

fn need(peak: Peak, backend: Backend) -> Need {
    match backend {
        // Device and host are one.
        Backend::Cpu => Need { device: peak.total(), host: 0 },
        _ => Need { device: peak.device, host: peak.host },
    }
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
