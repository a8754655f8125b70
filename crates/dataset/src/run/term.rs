//! How long a task is kept.

use std::time::Duration;

/// How long a task is kept without being renewed.
pub const TERM: Duration = Duration::from_secs(10);
