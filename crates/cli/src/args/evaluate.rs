//! Options of `uso evaluate`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::sampling::{SamplingArgs, seed};

#[derive(Args)]
pub(crate) struct EvaluateArgs {
    /// Address of the fleet's API.
    #[arg(long, env = "USO_API", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) api: String,
    /// API key, if the API asks for one.
    #[arg(long, env = "USO_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// The suite: a JSON array of `{prompt, image_paths, save_dir}`, or a folder of such files. The first path is the
    /// content reference, the others are styles, an empty one is none; paths are relative to the file.
    #[arg(long, value_name = "FILE_OR_DIR")]
    pub(crate) suite: PathBuf,
    /// Folder for pictures, scores and tables. The same command again goes on where it ended.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Folder of the scorers, as `uso model fetch --scorers` makes it (`scorers/` of a model folder); or `bundled`, for
    /// the encoder of the bundled model.
    #[arg(long, value_name = "DIR|bundled")]
    pub(crate) scorers: ScorersFrom,
    /// Device to score on: cpu, cuda, cuda:N or metal.
    #[arg(long, env = "USO_DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// Seed of the first picture of each prompt; further ones have the seeds that follow. It also chooses the pairs
    /// for the floor.
    #[arg(long, default_value_t = 3407, value_parser = seed)]
    pub(crate) seed: u64,
    /// Evaluate only the first items of the suite.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Jobs in the fleet at once.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) in_flight: u16,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

/// Where the scorers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScorersFrom {
    /// A folder with one folder for each.
    Folder(PathBuf),
    /// The bundled model.
    Bundled,
}

impl FromStr for ScorersFrom {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "bundled" { Self::Bundled } else { Self::Folder(text.into()) })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::{Cli, Command};

    #[test]
    fn at_least_one_item_is_evaluated() {
        let limit = |limit: &str| -> Result<Option<u32>, clap::Error> {
            let said =
                ["uso", "evaluate", "--suite", "a", "--out", "b", "--scorers", "bundled", "--limit", limit];
            match Cli::try_parse_from(said)?.command {
                Command::Evaluate(args) => Ok(args.limit),
                _ => panic!("another command"),
            }
        };
        assert_eq!(limit("1").unwrap(), Some(1));
        assert!(limit("0").is_err());
    }
}
