//! A plan that was not taken.

use serde::Serialize;

/// A better plan that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The plan in words.
    pub plan: String,
    /// The memory that is too small: `device` or `host`.
    pub memory: &'static str,
    /// Bytes that the plan needs there.
    pub need_bytes: u64,
    /// Bytes that are available there.
    pub have_bytes: u64,
}
