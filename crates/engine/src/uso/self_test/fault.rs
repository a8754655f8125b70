//! What a self-test that fails says.

use crate::Error;

pub(super) fn fault(reason: String) -> Error {
    Error::SelfTest(reason)
}
