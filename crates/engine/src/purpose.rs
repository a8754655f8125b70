//! What a reference is for.

/// What a reference is for, which determines the pixels that are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The content reference of a request with this `content_size`.
    Content {
        /// Longest side in pixels.
        content_size: u32,
    },
    /// A style reference.
    Style {
        /// Side in pixels of the square that the style encoder reads, see
        /// [`Engine::style_side`](crate::Engine::style_side).
        side: u32,
    },
}
