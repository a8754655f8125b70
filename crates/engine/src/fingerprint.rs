//! What weights, build and requests are known by.

use std::io::{self, Read, Seek, SeekFrom};

use candle_core::{DType, Device};
use sha2::{Digest, Sha256};

use crate::files::missing;
use crate::{Error, ModelFiles, Request, device};

/// A file is looked at in this many places, each so long: enough to tell two trainings apart without
/// reading all of their 30 GB. A short file is read whole.
const PLACES: u64 = 16;
const LENGTH: u64 = 4096;

/// Weights, precision, kind of device and version of this program.
pub(crate) fn engine(files: &ModelFiles, device: &Device, dtype: DType) -> Result<String, Error> {
    let mut digest = Sha256::new();
    let kind = device::name(device);
    let kind = kind.split(':').next().unwrap_or_default();
    for part in [env!("CARGO_PKG_VERSION"), kind, dtype.as_str()] {
        add(&mut digest, part.as_bytes());
    }
    for path in files.paths()? {
        add(&mut digest, path.as_bytes());
        let probed = files.open(&path).and_then(|mut file| probe(&mut digest, &mut file));
        probed.map_err(|error| missing(path, error.to_string()))?;
    }
    Ok(hexadecimal(digest))
}

fn probe(digest: &mut Sha256, file: &mut (impl Read + Seek)) -> io::Result<()> {
    let size = file.seek(SeekFrom::End(0))?;
    digest.update(size.to_le_bytes());
    for place in 0..PLACES {
        file.seek(SeekFrom::Start(size / PLACES * place))?;
        let mut bytes = Vec::new();
        // The last place reaches the end, whatever the division left over.
        let most = if place + 1 == PLACES { LENGTH + PLACES } else { LENGTH };
        file.by_ref().take(most).read_to_end(&mut bytes)?;
        add(digest, &bytes);
    }
    Ok(())
}

impl Request {
    /// SHA-256 of everything in it, in hexadecimal: equal requests give equal pictures. Computes the digests
    /// of its references, which then stay with them.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        add(&mut digest, self.prompt.as_bytes());
        for images in [self.content.as_slice(), &self.styles] {
            digest.update((images.len() as u64).to_le_bytes());
            images.iter().for_each(|image| add(&mut digest, image.digest()));
        }
        for number in [self.width, self.height, u32::from(self.keep_size), self.content_size, self.steps] {
            digest.update(number.to_le_bytes());
        }
        digest.update(self.guidance.to_le_bytes());
        digest.update(self.seed.to_le_bytes());
        add(&mut digest, self.position_shift.to_string().as_bytes());
        hexadecimal(digest)
    }
}

/// Adds a part with its length, so that parts cannot run into each other.
fn add(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part);
}

fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
