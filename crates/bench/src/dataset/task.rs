//! What one process of a measurement tells another to do.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A task, as one process tells it to another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Plans a manifest.
    Plan { file: PathBuf },
}
