//! What nobody can foresee.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::codec::base62;

/// Characters of a [`random_name`].
pub(crate) const NAME: usize = 8;

/// 256 random bits: four UUIDs hold nearly 500 bits of the operating system's generator.
pub(crate) fn random_bytes() -> [u8; 32] {
    let mut hash = Sha256::new();
    for _ in 0..4 {
        hash.update(Uuid::new_v4().as_bytes());
    }
    hash.finalize().into()
}

/// A short name that nothing else is likely to have.
pub(crate) fn random_name() -> String {
    base62(&random_bytes()[..8], NAME)
}

/// A random number from 0 to the largest there is.
pub(crate) fn random_u32() -> u32 {
    Uuid::new_v4().as_u64_pair().1 as u32
}
