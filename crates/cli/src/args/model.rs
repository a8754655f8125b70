//! Options of `uso model`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Url;
use uso_engine::Tier;
use uso_engine::plan::T5Place;

use super::{engine, size};

/// The hub that models are published on.
pub(crate) const HUGGING_FACE: &str = "https://huggingface.co";

#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// Download the published weights of a tier into a folder for `--model`. Complete files are kept, and interrupted
    /// downloads resume. Gated repositories need HF_TOKEN, or the token file of `hf auth login`.
    Fetch(FetchArgs),
    /// Show what a model folder holds: each part's file, types and sizes, and what is missing. Reads only headers.
    Inspect(InspectArgs),
    /// Show whether and how a model fits: where each part goes, the memory for a picture, how many pictures fit at
    /// once, and seconds per step. Reads only headers.
    Plan(PlanArgs),
    /// Write a model as one file that loads as it is: USO's LoRA merged, the large matrices in a tier.
    Pack(PackArgs),
}

#[derive(Args)]
pub(crate) struct FetchArgs {
    /// Model folder.
    #[arg(env = "USO_MODEL", default_value = "uso-model")]
    pub(crate) dir: PathBuf,
    /// How to store the large matrices: bf16, fp8, q8_0, q6_k or q4_k.
    #[arg(long, default_value_t = Tier::Bf16)]
    pub(crate) tier: Tier,
    /// Download the models that score pictures (CLIP, DINO and CSD) into `scorers/` of the folder, and no others.
    #[arg(long, conflicts_with_all = ["tier", "manifest"])]
    pub(crate) scorers: bool,
    /// Print what would be downloaded and from where. Needs no network.
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) list: bool,
    /// Also check the hashes of files that are already there, and download damaged ones again.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Address of the hub, or of a mirror with the same paths.
    #[arg(long, env = "HF_ENDPOINT", default_value = HUGGING_FACE, value_parser = endpoint, value_name = "URL")]
    pub(crate) endpoint: Url,
    /// Branch, tag or commit of the repositories.
    #[arg(long, default_value = "main")]
    pub(crate) revision: String,
    /// List of files to use instead of the built-in one: a JSON array of objects with `repo`, `path` and `to`, and
    /// optionally `bytes`, `sha256`, `revision`, `licence` and `tiers`.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct InspectArgs {
    /// Model folder: this project's layout, ComfyUI's folders or a Hugging Face cache. Default: the bundled model.
    #[arg(env = "USO_MODEL", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct PackArgs {
    /// Model folder. Default: the bundled model.
    #[arg(long, env = "USO_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// How to store the large matrices: bf16, fp8, q8_0, q6_k or q4_k.
    #[arg(long, default_value_t = Tier::Q8_0)]
    pub(crate) tier: Tier,
    /// Folder to write the packed model to. Use it as a model folder.
    #[arg(value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Args)]
pub(crate) struct PlanArgs {
    /// Model folder. Default: the bundled model.
    #[arg(env = "USO_MODEL", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Plan for a CUDA card with this much memory, such as 24GiB; it need not be in this machine. Default: what is free
    /// on the device.
    #[arg(long, value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) vram: Option<u64>,
    /// Host memory, such as 64GiB. Default: what is free on this machine.
    #[arg(long, value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) ram: Option<u64>,
    /// Device memory to keep free. Default: 1GiB.
    #[arg(long, env = "USO_VRAM_RESERVE", value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) vram_reserve: Option<u64>,
    /// Card whose speed to assume, such as 4090. Default: one with that much memory.
    #[arg(long, requires = "vram", value_name = "NAME")]
    pub(crate) card: Option<String>,
    /// Device: cpu, cuda, cuda:N or metal. It is opened unless you give --vram.
    #[arg(long, env = "USO_DEVICE")]
    pub(crate) device: Option<String>,
    /// Width of the largest picture in pixels. Default: the model's.
    #[arg(long)]
    pub(crate) width: Option<u32>,
    /// Height of the largest picture in pixels. Default: the model's.
    #[arg(long)]
    pub(crate) height: Option<u32>,
    /// Longest side of its content reference in pixels. Default: the model's.
    #[arg(long)]
    pub(crate) content_size: Option<u32>,
    /// Plan for pictures without a content reference.
    #[arg(long, conflicts_with = "content_size")]
    pub(crate) no_content: bool,
    /// Number of its style references.
    #[arg(long)]
    pub(crate) styles: Option<u32>,
    /// Its sampling steps. Default: the model's.
    #[arg(long)]
    pub(crate) steps: Option<u32>,
    /// Pictures in progress at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) slots: u16,
    /// How to store the transformer's matrices: bf16, fp8, q8_0, q6_k or q4_k; fp8_w8a8 or int8_w8a8. Default: the most
    /// precise that fits, and none of the last two.
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<Tier>,
    /// Where T5 runs: device, host, host-q8_0 or streamed. Default: the fastest place that fits.
    #[arg(long, value_name = "PLACE")]
    pub(crate) t5: Option<T5Place>,
    /// Stream the transformer's blocks from host memory even if all of them fit on the device.
    #[arg(long)]
    pub(crate) stream: bool,
    /// Threads that computation on the CPU uses. Default: as many as this process may run at once, also in a container.
    #[arg(long, env = "USO_THREADS", value_parser = engine::threads(), value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// An address without secrets, so that it can be printed.
fn endpoint(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "must be a URL".to_owned())?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match (url.scheme(), url.has_host(), is_plain) {
        ("http" | "https", true, true) => Ok(url),
        _ => Err("must be http://HOST or https://HOST, with at most a path behind it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_holds_no_secret() {
        assert_eq!(endpoint("https://mirror.example/hub").unwrap().as_str(), "https://mirror.example/hub");
        for wrong in
            ["", "mirror", "ftp://mirror.example", "https://me:word@mirror.example", "https://m.example?a=b"]
        {
            assert!(endpoint(wrong).is_err(), "{wrong:?}");
        }
    }
}
