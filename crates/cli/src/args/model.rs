//! What can be said to `uso model`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Url;
use serde::Deserialize;

/// Where models are published.
pub(crate) const HUGGING_FACE: &str = "https://huggingface.co";

#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// Download the published weights of a tier into a folder for `--model`; what is there already stays, and what
    /// was begun goes on. Closed repositories need the variable HF_TOKEN, or the token file of `hf auth login`.
    Fetch(FetchArgs),
    /// Say what a model folder holds: each part's file, types and sizes, and what is missing. Reads headers alone.
    Inspect(InspectArgs),
}

#[derive(Args)]
pub(crate) struct FetchArgs {
    /// Model folder.
    #[arg(env = "USO_MODEL", default_value = "uso-model")]
    pub(crate) dir: PathBuf,
    /// How the large matrices are stored.
    #[arg(long, value_enum, default_value_t = Tier::Bf16)]
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

/// How the large matrices of transformer and T5 are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tier {
    /// As published: 16 bits a number.
    Bf16,
    /// 8-bit floating point without scales.
    Fp8,
    /// ggml's 8-bit blocks.
    #[value(name = "q8_0")]
    #[serde(rename = "q8_0")]
    Q80,
    /// ggml's 6-bit blocks, T5 in 8 bits.
    #[value(name = "q6_k")]
    #[serde(rename = "q6_k")]
    Q6K,
    /// ggml's 4-bit blocks, T5 in 8 bits.
    #[value(name = "q4_k")]
    #[serde(rename = "q4_k")]
    Q4K,
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

    #[test]
    fn a_tier_has_one_name_everywhere() {
        for tier in Tier::value_variants() {
            let name = tier.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(serde_json::from_value::<Tier>(name.into()).unwrap(), *tier);
        }
    }
}
