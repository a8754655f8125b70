//! What can be said to `uso model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use uso_engine::matrix::Tier;
use uso_engine::plan::T5Place;

use super::size;

#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// Say what a model folder holds: each part's file, types and sizes, and what is missing. Reads headers alone.
    Inspect(InspectArgs),
    /// Say whether and how a model fits: what lies where, what a picture takes, how many fit at a time, seconds a step.
    /// Reads headers alone.
    Plan(PlanArgs),
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

#[derive(Args)]
pub(crate) struct PlanArgs {
    /// Model folder; without it, the bundled model.
    #[arg(env = "USO_MODEL", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Memory of a CUDA card that need not be there, such as 24GiB; without it, what is free on the device.
    #[arg(long, value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) vram: Option<u64>,
    /// Memory of the host, such as 64GiB; without it, what is free here.
    #[arg(long, value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) ram: Option<u64>,
    /// What stays free of the device's memory; without it, 1GiB.
    #[arg(long, env = "USO_VRAM_RESERVE", value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) vram_reserve: Option<u64>,
    /// The card whose speed is meant, such as 4090; without it, one with that much memory.
    #[arg(long, requires = "vram", value_name = "NAME")]
    pub(crate) card: Option<String>,
    /// cpu, cuda, cuda:N or metal; opened unless --vram says what it has.
    #[arg(long, env = "USO_DEVICE")]
    pub(crate) device: Option<String>,
    /// Width of the largest picture in pixels; without it, the model's default.
    #[arg(long)]
    pub(crate) width: Option<u32>,
    /// Its height.
    #[arg(long)]
    pub(crate) height: Option<u32>,
    /// Longest side of its content reference in pixels; without it, the model's default.
    #[arg(long)]
    pub(crate) content_size: Option<u32>,
    /// It has no content reference.
    #[arg(long, conflicts_with = "content_size")]
    pub(crate) no_content: bool,
    /// Its style references.
    #[arg(long)]
    pub(crate) styles: Option<u32>,
    /// Its sampling steps; without it, the model's default.
    #[arg(long)]
    pub(crate) steps: Option<u32>,
    /// Pictures under way at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) slots: u16,
    /// How the transformer's matrices are kept: bf16, fp8, q8_0, q6_k or q4_k; without it, the best that fits.
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<Tier>,
    /// Where T5 is: device, host, host-q8_0 or per-batch; without it, where it is fastest and fits.
    #[arg(long, value_name = "PLACE")]
    pub(crate) t5: Option<T5Place>,
    /// Stream the transformer's blocks from the host's memory even if all of them fit.
    #[arg(long)]
    pub(crate) stream: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
