//! What the header of any kind of picture states.

use crate::turn::Turn;

/// What a header states.
pub(crate) struct Header {
    /// Width and height in pixels, as stored.
    pub(crate) size: (u32, u32),
    pub(crate) turn: Turn,
    /// Most bytes that the decoder of this kind holds, besides the file and a few rows.
    pub(crate) memory: u64,
}
