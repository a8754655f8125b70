//! Digests of weights, build and requests.

use sha2::{Digest, Sha256};

use crate::kernels::is_on;
use crate::matrix::Tier;
use crate::model::{Adapter, Model, PACKED_DIGEST};
use crate::placement::{Keep, Placement, T5Place};
use crate::setup::{ExtraLora, Setup};
use crate::weights::Weights;
use crate::{Error, Request, RequestLora, device};

/// Digest of everything that pictures depend on besides the request: tensors, sizes and tokenizers; precision, tier,
/// kind of device and version of this program; LoRAs besides USO's and their weights.
pub(crate) fn engine(model: &Model, setup: &Setup) -> Result<String, Error> {
    let mut digest = Sha256::new();
    let kind = device::name(&setup.device);
    let kind = kind.split(':').next().unwrap_or_default();
    for part in [env!("CARGO_PKG_VERSION"), kind, setup.dtype.as_str()] {
        add(&mut digest, part.as_bytes());
    }
    let rounds = match setup.placement.keep {
        Keep::Tier(tier) => tier.product().is_some_and(|product| is_on(&setup.device, product, setup.dtype)),
        Keep::AsStored => false,
    };
    numbers(&setup.placement, model.is_quantised()?, rounds)
        .iter()
        .for_each(|part| add(&mut digest, part.as_bytes()));
    for ExtraLora { file, weight } in &setup.loras {
        let adapter = Adapter::open(file, &model.config().flux)?;
        add(&mut digest, &weight.to_le_bytes());
        add_numbers(&mut digest, &adapter.weights())?;
    }
    add(&mut digest, format!("{:?}", model.config()).as_bytes());
    add(&mut digest, format!("{:?} {:?} {:?}", model.t5()?, model.clip()?, model.siglip()?).as_bytes());
    if let Some(known) = model.packed(PACKED_DIGEST) {
        if setup.verify {
            model.verify()?;
        }
        add(&mut digest, known.as_bytes());
    }
    // Sampling numbers all over a file that is not in the page cache takes a good part of the time of loading it.
    for part in model.needed().filter(|part| !model.is_packed(*part)) {
        add_numbers(&mut digest, &model.weights(part)?)?;
    }
    for file in model.small_files() {
        add(&mut digest, &model.files().read(&file)?);
    }
    Ok(hex::encode(digest.finalize()))
}

/// The settings of a placement that change numbers. A part's place changes none, unless the part computes there.
/// `rounds` says whether the device multiplies numbers of eight bits: else activations are not rounded.
fn numbers(placement: &Placement, is_quantised: bool, rounds: bool) -> [String; 2] {
    let keep = match placement.keep {
        Keep::Tier(Tier::Fp8W8A8) if !rounds => {
            if is_quantised {
                Keep::AsStored
            } else {
                Keep::Tier(Tier::Fp8)
            }
        }
        keep => keep,
    };
    let keep = match keep {
        Keep::AsStored => Tier::Bf16.to_string(),
        Keep::Tier(Tier::Bf16) if is_quantised => "dequantised".into(),
        Keep::Tier(tier @ Tier::Int8W8A8) if !rounds => format!("{tier} converted"),
        Keep::Tier(tier) => tier.to_string(),
    };
    let t5 = match placement.t5 {
        T5Place::Device | T5Place::Streamed => "device",
        T5Place::Host => "host as stored",
        T5Place::HostQ8 => "host",
    };
    [keep, t5.into()]
}

/// Digest of a LoRA's numbers.
pub(crate) fn lora(adapter: &Adapter) -> Result<String, Error> {
    let mut digest = Sha256::new();
    add_numbers(&mut digest, &adapter.weights())?;
    Ok(hex::encode(digest.finalize()))
}

fn add_numbers(digest: &mut Sha256, weights: &Weights) -> Result<(), Error> {
    for (name, located) in weights.all() {
        add(digest, name.as_bytes());
        located.probe(digest).map_err(|error| weights.fault(&error))?;
    }
    Ok(())
}

impl Request {
    /// SHA-256 of the whole request, in hexadecimal: equal requests give equal pictures. Computes the digests of its
    /// references, which keep them.
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
        for RequestLora { digest: numbers, weight, .. } in &self.loras {
            add(&mut digest, numbers.as_bytes());
            digest.update(weight.to_le_bytes());
        }
        // Requests from versions without step caches keep their digest.
        if self.step_cache != 0.0 {
            add(&mut digest, b"step_cache");
            digest.update(self.step_cache.to_le_bytes());
        }
        hex::encode(digest.finalize())
    }
}

/// Adds a part with its length, so that the boundaries between parts count.
fn add(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part);
}
