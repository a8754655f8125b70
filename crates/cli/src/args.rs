//! The commands and options of the command line.

mod access;
mod keys;
mod model;
mod named_lora;
mod queue;
mod redis;
mod s3;
mod size;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use uso_engine::plan::T5Place;
use uso_engine::scripted::NotAScript;
use uso_engine::{ExtraLora, PositionShift, Script, Tier};

pub(crate) use access::{AccessArgs, buckets};
pub(crate) use keys::{CreateKeyArgs, KeysArgs, KeysCommand};
pub(crate) use model::{FetchArgs, HUGGING_FACE, InspectArgs, ModelCommand, PackArgs, PlanArgs};
pub(crate) use named_lora::NamedLora;
pub(crate) use queue::*;
pub(crate) use redis::{RedisArgs, RedisOptions};
pub(crate) use s3::S3Args;
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

#[derive(Args, Clone)]
pub(crate) struct ModelArgs {
    /// Model folder. Default: the bundled toy model.
    #[arg(long, env = "USO_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Device: cpu, cuda, cuda:N or metal.
    #[arg(long, env = "USO_DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// Compute type: f32, bf16 or f16. Default: f32 on the CPU, bf16 elsewhere.
    #[arg(long, env = "USO_DTYPE")]
    pub(crate) dtype: Option<String>,
    /// How to store the transformer's large matrices: bf16 (the compute type), fp8, q8_0, q6_k or q4_k. Default: the
    /// most precise that fits. A quantised file stays as it is, unless you choose bf16.
    #[arg(long, env = "USO_TIER", value_name = "TIER")]
    pub(crate) tier: Option<Tier>,
    /// Where T5 runs: device, host, host-q8_0 or streamed. Default: the fastest place that fits.
    #[arg(long, env = "USO_T5", value_name = "PLACE")]
    pub(crate) t5: Option<T5Place>,
    /// Stream the transformer's blocks from host memory even if all of them fit on the device.
    #[arg(long, env = "USO_STREAM", value_parser = BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true")]
    pub(crate) stream: Option<bool>,
    /// Most device memory to use, such as 16GiB. Default: all that is free.
    #[arg(long, env = "USO_VRAM", value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) vram: Option<u64>,
    /// Device memory to keep free. Default: 1GiB.
    #[arg(long, env = "USO_VRAM_RESERVE", value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) vram_reserve: Option<u64>,
    /// A LoRA for FLUX to apply besides USO's, with its weight; may be repeated.
    #[arg(long, env = "USO_LORAS", value_delimiter = ',', value_name = "FILE[:WEIGHT]")]
    pub(crate) lora: Vec<ExtraLora>,
    /// Check a packed file against the digest that it states. This reads the whole file.
    #[arg(long, env = "USO_VERIFY", value_parser = BoolishValueParser::new())]
    pub(crate) verify: bool,
}

#[derive(Args)]
pub(crate) struct EngineArgs {
    /// Engine: `uso`, or for tests `scripted:step=40ms,fail=0.01`, which makes noise at a set pace.
    #[arg(long, env = "USO_ENGINE", default_value = "uso", value_name = "ENGINE")]
    pub(crate) engine: Engine,
    /// Let a test engine work on the fleet's jobs.
    #[arg(long, env = "USO_ALLOW_TEST_ENGINE", value_parser = BoolishValueParser::new())]
    pub(crate) allow_test_engine: bool,
    /// Folder of LoRAs for FLUX that jobs may ask for, by file name without .safetensors.
    #[arg(long, env = "USO_LORA_FOLDER", value_name = "DIR")]
    pub(crate) lora_folder: Option<PathBuf>,
}

/// The engine that generates pictures.
#[derive(Clone)]
pub(crate) enum Engine {
    Uso,
    Scripted(Script),
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, script) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "uso" if script.is_empty() => Ok(Self::Uso),
            "scripted" => script.parse().map(Self::Scripted).map_err(|error: NotAScript| error.to_string()),
            _ => Err("must be uso or scripted:...".into()),
        }
    }
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
    /// Width in pixels, 16 to 2048, rounded down to a multiple of 16.
    #[arg(long)]
    pub(crate) width: Option<u32>,
    /// Height in pixels, 16 to 2048, rounded down to a multiple of 16.
    #[arg(long)]
    pub(crate) height: Option<u32>,
    /// Sampling steps, 1 to 100.
    #[arg(long)]
    pub(crate) steps: Option<u32>,
    /// Guidance strength, 1 to 10.
    #[arg(long)]
    pub(crate) guidance: Option<f64>,
    /// Seed of the initial noise. Default: a random one.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Longest side of the content reference in pixels, 16 to 2048.
    #[arg(long)]
    pub(crate) content_size: Option<u32>,
    /// Use the proportions of the content reference instead of width and height.
    #[arg(long)]
    pub(crate) keep_size: bool,
    /// Skip a step if the output of the transformer's first block has changed by at most this share, 0 to 1. This is
    /// faster, and changes the picture.
    #[arg(long, value_name = "SHARE")]
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
    /// PNG file to write.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
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
    /// PNG file to write. Default: a file named after the job.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print the job's id and exit without waiting for the picture.
    #[arg(long)]
    pub(crate) no_wait: bool,
}
