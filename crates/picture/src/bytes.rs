//! Parts of a file, of which nobody knows how long it is.

/// The `N` bytes at an offset, if they are there.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
