//! The commands and options of the command line.

mod access;
mod batch;
mod engine;
mod evaluate;
mod file_format;
mod keys;
mod model;
mod named_lora;
mod queue;
mod redis;
mod s3;
mod sampling;
mod size;
mod work;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use uso_engine::PositionShift;

pub(crate) use access::{AccessArgs, buckets};
pub(crate) use batch::*;
pub(crate) use engine::{Engine, EngineArgs, ModelArgs};
pub(crate) use evaluate::{EvaluateArgs, ScorersFrom};
pub(crate) use file_format::FormatArgs;
pub(crate) use keys::{CreateKeyArgs, KeysArgs, KeysCommand};
pub(crate) use model::{FetchArgs, HUGGING_FACE, InspectArgs, ModelCommand, PackArgs, PlanArgs};
pub(crate) use named_lora::NamedLora;
pub(crate) use queue::*;
pub(crate) use redis::{RedisArgs, RedisOptions};
pub(crate) use s3::S3Args;
pub(crate) use sampling::SamplingArgs;
pub(crate) use work::{PaceArgs, WorkArgs};

/// Generates pictures of any subject in any scene and style: USO on FLUX, run by a fleet of queue workers.
#[derive(Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Format of log lines on stderr. USO_LOG sets what is logged, for example `info`.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "USO_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

impl Cli {
    /// The command line of this process. If it is faulty, says so and exits.
    pub(crate) fn of_this_process() -> Self {
        let matches = with_negative_numbers(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Lets each option of a command take a number below zero, so that the option itself says which numbers it takes.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_action().takes_values() && !arg.is_positional() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    });
    command.mut_subcommands(with_negative_numbers)
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: Redis, an S3 folder, the API and one worker.
    Up(UpArgs),
    /// Run the API.
    Serve(ServeArgs),
    /// Run one worker.
    Work(WorkArgs),
    /// Generate one picture on this machine, without a server.
    Generate(GenerateArgs),
    /// Submit a job to a running fleet and save its picture.
    Submit(SubmitArgs),
    /// Overnight data sets: create them from a manifest or a grid, watch, download and verify them.
    Batch(BatchArgs),
    /// Have a fleet make the pictures of an evaluation suite, score them, and compare with the published figures.
    Evaluate(EvaluateArgs),
    /// Load the queue's functions into Redis.
    Migrate(MigrateArgs),
    /// Inspect and control the queue. Connects to Redis directly, so it works while the API is down.
    Queue(QueueArgs),
    /// Create, list and revoke API keys. Connects to Redis directly.
    Keys(KeysArgs),
    /// Download, inspect, plan and pack model weights.
    #[command(subcommand)]
    Model(ModelCommand),
}

impl Command {
    /// Threads that it was told to compute on.
    pub(crate) fn threads(&self) -> Option<NonZeroUsize> {
        match self {
            Self::Up(args) => args.model.threads,
            Self::Work(args) => args.model.threads,
            Self::Generate(args) => args.model.threads,
            Self::Model(ModelCommand::Plan(args)) => args.threads,
            _ => None,
        }
    }
}

#[derive(Args)]
pub(crate) struct UpArgs {
    /// Folder for queue data, references and pictures.
    #[arg(long, default_value = "uso-data")]
    pub(crate) data: PathBuf,
    /// Port of the API on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Use this Redis instead of starting a private one.
    #[arg(long, env = "USO_REDIS", hide_env_values = true, value_name = "URL")]
    pub(crate) redis: Option<String>,
    #[command(flatten)]
    pub(crate) queue: RedisOptions,
    #[command(flatten)]
    pub(crate) s3: S3Args,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080", env = "USO_LISTEN")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) redis: RedisArgs,
    #[command(flatten)]
    pub(crate) s3: S3Args,
    /// Model folder whose defaults apply to jobs. Default: the bundled model.
    #[arg(long, env = "USO_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) redis: RedisArgs,
}

/// The picture to generate. What is left out gets the model's defaults.
#[derive(Args)]
pub(crate) struct PictureArgs {
    /// What the picture shows. Leave it empty to keep the content reference's layout.
    #[arg(long, default_value = "")]
    pub(crate) prompt: String,
    /// Content reference: the subject, or the picture whose layout to keep.
    #[arg(long, value_name = "FILE")]
    pub(crate) content: Option<String>,
    /// Style reference: a picture whose style to use; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) style: Vec<String>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Seed of the initial noise. Default: a random one.
    #[arg(long, value_parser = sampling::seed)]
    pub(crate) seed: Option<u64>,
    /// Use the proportions of the content reference instead of width and height.
    #[arg(long)]
    pub(crate) keep_size: bool,
    /// Skip a step if the output of the transformer's first block has changed by at most this share, 0 to 1. This is
    /// faster, and changes the picture.
    #[arg(long, value_name = "SHARE", value_parser = sampling::finite)]
    pub(crate) step_cache: Option<f64>,
}

#[derive(Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
    /// How to shift the content reference's positions: d (diagonally), h (by height), w (by width) or o (not at all).
    #[arg(long, default_value = "d", value_name = "d|h|w|o")]
    pub(crate) pe: PositionShift,
    /// First check that the model computes correct results on this device, as a worker does.
    #[arg(long)]
    pub(crate) self_test: bool,
    /// File to write: .png, .jpg, .jpeg or .webp.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) file: FormatArgs,
    /// Safetensors file to write the final latent to, as `latent`, 1x16xHxW, float32.
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SubmitArgs {
    /// Address of the fleet's API.
    #[arg(long, env = "USO_API", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) api: String,
    /// API key, if the API asks for one.
    #[arg(long, env = "USO_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
    /// A LoRA that workers have, with its weight; up to four.
    #[arg(long, value_name = "NAME[:WEIGHT]")]
    pub(crate) lora: Vec<NamedLora>,
    /// Class of the job: interactive or bulk.
    #[arg(long, default_value = "interactive")]
    pub(crate) class: String,
    /// File to write: .png, .jpg, .jpeg or .webp. Default: a file named after the job.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) file: FormatArgs,
    /// Print the job's id and exit without waiting for the picture.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> String {
        let all = ["uso", "generate", "--out", "x.png"].iter().chain(arguments);
        match with_negative_numbers(Cli::command()).try_get_matches_from(all) {
            Ok(_) => panic!("{arguments:?} are taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_number_below_zero_is_refused_by_its_option() {
        for (option, value, limit) in [
            ("--width", "-5", "4294967295"),
            ("--seed", "-1", "18446744073709551615"),
            ("--threads", "-1", "1..=1024"),
        ] {
            let said = refused(&[option, value]);
            assert!(said.contains(&format!("'{value}' for '{option} <")) && said.contains(limit), "{said}");
        }
        let all = ["uso", "generate", "--out", "x.png", "--step-cache", "-0.1"];
        let matches = with_negative_numbers(Cli::command()).try_get_matches_from(all).unwrap();
        let Command::Generate(args) = Cli::from_arg_matches(&matches).unwrap().command else { panic!() };
        assert_eq!(args.picture.step_cache, Some(-0.1), "the engine refuses it with its limits");
    }

    #[test]
    fn a_plan_is_for_the_threads_that_it_is_told() {
        let plan = Cli::try_parse_from(["uso", "model", "plan", "--threads", "3"]).unwrap();
        assert_eq!(plan.command.threads().map(NonZeroUsize::get), Some(3));
    }

    #[test]
    fn threads_are_at_most_1024() {
        for count in ["0", "1025", "100000"] {
            let said = refused(&["--threads", count]);
            assert!(said.contains(&format!("{count} is not in 1..=1024")), "{said}");
        }
    }
}
