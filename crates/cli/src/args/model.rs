//! What can be said to `uso model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Url;
use uso_engine::Tier;
use uso_engine::plan::T5Place;

use super::size;

/// Where models are published.
pub(crate) const HUGGING_FACE: &str = "https://huggingface.co";

#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// Download the published weights of a tier into a folder for `--model`; what is there already stays, and what
    /// was begun goes on. Closed repositories need the variable HF_TOKEN, or the token file of `hf auth login`.
    Fetch(FetchArgs),
    /// Say what a model folder holds: each part's file, types and sizes, and what is missing. Reads headers alone.
    Inspect(InspectArgs),
    /// Say whether and how a model fits: what lies where, what a picture takes, how many fit at a time, seconds a step.
    /// Reads headers alone.
    Plan(PlanArgs),
    /// Make one file that is ready: USO's LoRA merged, the large matrices in a tier.
    Pack(PackArgs),
}

#[derive(Args)]
pub(crate) struct FetchArgs {
    /// Model folder.
    #[arg(env = "USO_MODEL", default_value = "uso-model")]
    pub(crate) dir: PathBuf,
    /// How the large matrices are stored: bf16, fp8, q8_0, q6_k or q4_k.
    #[arg(long, default_value_t = Tier::Bf16)]
    pub(crate) tier: Tier,
    /// Print what would be downloaded, and from where; needs no network.
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) list: bool,
    /// Check the hashes of files that are there already, too; what is damaged is downloaded again.
    #[arg(long)]
    pub(crate) verify: bool,
    /// The hub, or a mirror that has its paths.
    #[arg(long, env = "HF_ENDPOINT", default_value = HUGGING_FACE, value_parser = endpoint, value_name = "URL")]
    pub(crate) endpoint: Url,
    /// Branch, tag or commit of the repositories.
    #[arg(long, default_value = "main")]
    pub(crate) revision: String,
    /// A list of files in place of the built-in one: a JSON array of objects with `repo`, `path` and `to`, and,
    /// where known, `bytes`, `sha256`, `revision` and `tiers`.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
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
pub(crate) struct PackArgs {
    /// Model folder; without it, the bundled model.
    #[arg(long, env = "USO_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// What the large matrices become: bf16, fp8, q8_0, q6_k or q4_k.
    #[arg(long, default_value_t = Tier::Q8_0)]
    pub(crate) tier: Tier,
    /// Where the packed model goes: a folder, which is a model folder then.
    #[arg(value_name = "DIR")]
    pub(crate) out: PathBuf,
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
    /// Where T5 is: device, host, host-q8_0 or streamed; without it, where it is fastest and fits.
    #[arg(long, value_name = "PLACE")]
    pub(crate) t5: Option<T5Place>,
    /// Stream the transformer's blocks from the host's memory even if all of them fit.
    #[arg(long)]
    pub(crate) stream: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// An address that can be printed as it is.
fn endpoint(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "not a URL".to_owned())?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match (url.scheme(), url.has_host(), is_plain) {
        ("http" | "https", true, true) => Ok(url),
        _ => Err("neither http://HOST nor https://HOST, or with more in it than a path".into()),
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
