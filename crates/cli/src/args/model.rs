//! What can be said to `uso model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// Say what a model folder holds: each part's file, types and sizes, and what is missing. Reads headers alone.
    Inspect(InspectArgs),
}

#[derive(Args)]
pub(crate) struct InspectArgs {
    /// Model folder: this project's layout, ComfyUI's folders or a Hugging Face cache; without it, the bundled model.
    #[arg(env = "USO_MODEL", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
