//! What can be said on the command line.

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

/// Puts any subject into any scene in any style: USO on FLUX, as a fleet of queue workers.
#[derive(Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How log lines on stderr look; what is logged is set by USO_LOG, for example `info`.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "USO_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
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
    /// Draw one picture here and now, without any server.
    Generate(GenerateArgs),
    /// Have a running fleet draw a picture, and save it.
    Submit(SubmitArgs),
    /// Load the queue's functions into Redis.
    Migrate(MigrateArgs),
    /// Look at the queue and steer it, straight at Redis: also while the API is down.
    Queue(QueueArgs),
    /// Make, list and revoke keys of the API, straight at Redis.
    Keys(KeysArgs),
    /// Weights of the real model: download them.
    #[command(subcommand)]
    Model(ModelCommand),
}

#[derive(Args)]
pub(crate) struct UpArgs {
    /// Folder for the queue's data, references and pictures.
    #[arg(long, default_value = "uso-data")]
    pub(crate) data: PathBuf,
    /// Port of the API on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Use this Redis instead of a private one.
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
    /// Model folder whose defaults jobs get; without it, those of the bundled model.
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
    /// Model folder; without it, the bundled toy model.
    #[arg(long, env = "USO_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// cpu, cuda, cuda:N or metal.
    #[arg(long, env = "USO_DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// f32, bf16 or f16; without it, f32 on the CPU and bf16 elsewhere.
    #[arg(long, env = "USO_DTYPE")]
    pub(crate) dtype: Option<String>,
    /// How the transformer's large matrices are kept: bf16 (the compute type), fp8, q8_0, q6_k or q4_k; without it, the
    /// finest that fits. A file that is quantised stays as it is, unless you say bf16.
    #[arg(long, env = "USO_TIER", value_name = "TIER")]
    pub(crate) tier: Option<Tier>,
    /// Where T5 is: device, host, host-q8_0 or streamed; without it, where it is fastest and fits.
    #[arg(long, env = "USO_T5", value_name = "PLACE")]
    pub(crate) t5: Option<T5Place>,
    /// Stream the transformer's blocks from the host's memory even if all of them fit.
    #[arg(long, env = "USO_STREAM", value_parser = BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true")]
    pub(crate) stream: Option<bool>,
    /// The most memory of the card that is used, such as 16GiB; without it, all that is free.
    #[arg(long, env = "USO_VRAM", value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) vram: Option<u64>,
    /// What stays free of the device's memory; without it, 1GiB.
    #[arg(long, env = "USO_VRAM_RESERVE", value_parser = size::bytes, value_name = "SIZE")]
    pub(crate) vram_reserve: Option<u64>,
    /// A LoRA for FLUX beside USO's, with its weight; may be repeated.
    #[arg(long, env = "USO_LORAS", value_delimiter = ',', value_name = "FILE[:WEIGHT]")]
    pub(crate) lora: Vec<ExtraLora>,
    /// Hold a packed file's numbers against the digest that it states, which takes as long as to read all of it.
    #[arg(long, env = "USO_VERIFY", value_parser = BoolishValueParser::new())]
    pub(crate) verify: bool,
}

#[derive(Args)]
pub(crate) struct EngineArgs {
    /// uso, or `scripted:step=40ms,fail=0.01`: an engine that draws noise at a set pace, for tests.
    #[arg(long, env = "USO_ENGINE", default_value = "uso", value_name = "ENGINE")]
    pub(crate) engine: Engine,
    /// Let an engine that is for tests have the fleet's jobs.
    #[arg(long, env = "USO_ALLOW_TEST_ENGINE", value_parser = BoolishValueParser::new())]
    pub(crate) allow_test_engine: bool,
    /// Folder of LoRAs for FLUX that jobs may ask for, each by its file's name without .safetensors.
    #[arg(long, env = "USO_LORA_FOLDER", value_name = "DIR")]
    pub(crate) lora_folder: Option<PathBuf>,
}

/// What draws.
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
            _ => Err("neither uso nor scripted:...".into()),
        }
    }
}

/// What is drawn; what is left out is the model's choice.
#[derive(Args)]
pub(crate) struct PictureArgs {
    /// What to draw; empty to keep the content reference's layout.
    #[arg(long, default_value = "")]
    pub(crate) prompt: String,
    /// The subject, or the picture whose layout is kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) content: Option<String>,
    /// A picture whose style is taken over; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) style: Vec<String>,
    /// Width in pixels, 16 to 2048, cut to a multiple of 16.
    #[arg(long)]
    pub(crate) width: Option<u32>,
    /// Height in pixels, 16 to 2048, cut to a multiple of 16.
    #[arg(long)]
    pub(crate) height: Option<u32>,
    /// Sampling steps, 1 to 100.
    #[arg(long)]
    pub(crate) steps: Option<u32>,
    /// Guidance strength, 1 to 10.
    #[arg(long)]
    pub(crate) guidance: Option<f64>,
    /// Seed of the start noise; drawn if left out.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Longest side of the content reference in pixels, 16 to 2048.
    #[arg(long)]
    pub(crate) content_size: Option<u32>,
    /// Take the proportions of the content reference instead of width and height.
    #[arg(long)]
    pub(crate) keep_size: bool,
    /// Skip steps in which the transformer's first block does the same but for this share, 0 to 1: quicker, and another
    /// picture.
    #[arg(long, value_name = "SHARE")]
    pub(crate) step_cache: Option<f64>,
}

#[derive(Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
    /// How the content reference's positions are moved: d(iagonally), h(eight), w(idth) or o (not).
    #[arg(long, default_value = "d", value_name = "d|h|w|o")]
    pub(crate) pe: PositionShift,
    /// Check first, as a worker does, that the model computes what it should on this device.
    #[arg(long)]
    pub(crate) self_test: bool,
    /// Where the picture goes: a PNG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Where the final latent goes: a safetensors file with `latent`, 1x16xHxW, float32.
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SubmitArgs {
    /// Address of the fleet's API.
    #[arg(long, env = "USO_API", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) api: String,
    /// Key for it, where it asks for one.
    #[arg(long, env = "USO_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
    /// A LoRA that workers have, with its weight; up to four times.
    #[arg(long, value_name = "NAME[:WEIGHT]")]
    pub(crate) lora: Vec<NamedLora>,
    /// interactive or bulk.
    #[arg(long, default_value = "interactive")]
    pub(crate) class: String,
    /// Where the picture goes; without it, a file named after the job.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print the job's id and do not wait for the picture.
    #[arg(long)]
    pub(crate) no_wait: bool,
}
