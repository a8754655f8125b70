//! Random numbers: unforeseeable ones for secrets and names, quick ones for everything else.

use crate::codec::base62;

/// Characters of a [`random_name`].
pub(crate) const NAME: usize = 8;

/// 256 bits of the operating system's generator.
///
/// # Panics
/// If the system has none: then no secret can be made.
pub(crate) fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives no random bytes");
    bytes
}

/// A short name that nothing else is likely to have.
pub(crate) fn random_name() -> String {
    base62(&random_bytes()[..8], NAME)
}

/// A random number from 0 to the largest there is. Others may foresee it.
pub(crate) fn random_u32() -> u32 {
    fastrand::u32(..)
}
