//! Calls into libraries that may panic on a hostile file.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of `read`, or an error if a library panics in it: the file is at fault, not this program. The caller adds
/// the file's name.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("is broken: its reader panicked".into()))
}
