//! What weights, build and requests are known by.

use candle_core::{DType, Device};
use sha2::{Digest, Sha256};

use crate::model::{Model, Part};
use crate::{Error, Request, device};

/// What is loaded of a model: its tensors, sizes and tokenizers; precision, kind of device and version of this program.
pub(crate) fn engine(model: &Model, device: &Device, dtype: DType) -> Result<String, Error> {
    let mut digest = Sha256::new();
    let kind = device::name(device);
    let kind = kind.split(':').next().unwrap_or_default();
    for part in [env!("CARGO_PKG_VERSION"), kind, dtype.as_str()] {
        add(&mut digest, part.as_bytes());
    }
    add(&mut digest, format!("{:?}", model.config()).as_bytes());
    add(&mut digest, format!("{:?} {:?} {:?}", model.t5()?, model.clip()?, model.siglip()?).as_bytes());
    for part in Part::ALL {
        let weights = model.weights(part)?;
        for (name, located) in weights.all() {
            add(&mut digest, name.as_bytes());
            located.probe(&mut digest).map_err(|error| weights.fault(&error))?;
        }
    }
    for file in model.small_files() {
        add(&mut digest, &model.files().read(&file)?);
    }
    Ok(hexadecimal(digest))
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
