//! What every benchmark can be told.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// Write the figures as JSON too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measure little of everything: shows that it can be measured, not how fast it is.
    #[arg(long)]
    pub(crate) quick: bool,
}
