//! Calls of libraries that may panic on a hostile file.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `read` gives. If a library panics in it, the file is at fault, not this program: whoever says what is wrong with
/// the file names it.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("is broken: its reader panicked".into()))
}
