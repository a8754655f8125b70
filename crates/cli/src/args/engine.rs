//! Options for the model and the engine.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::{BoolishValueParser, TypedValueParser};
use uso_engine::plan::T5Place;
use uso_engine::scripted::NotAScript;
use uso_engine::{ExtraLora, Script, Tier};

use super::size;

#[derive(Args, Clone)]
pub(crate) struct ModelArgs {
    /// Model folder. Default: the bundled toy model.
    #[arg(long, env = "USO_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Device: cpu, cuda, cuda:N or metal. `uso work` also takes none: it then works on data sets alone.
    #[arg(long, env = "USO_DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// Compute type: f32, bf16 or f16. Default: f32 on the CPU, bf16 elsewhere.
    #[arg(long, env = "USO_DTYPE")]
    pub(crate) dtype: Option<String>,
    /// How to store the transformer's large matrices: bf16 (the compute type), fp8, q8_0, q6_k or q4_k; or fp8_w8a8 or
    /// int8_w8a8, which also round the input of products to eight bits on cards that multiply them. Default: the most
    /// precise that fits, and none of the last two. A quantised file stays as it is, unless you choose bf16.
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
    /// Threads that computation on the CPU uses. Default: as many as this process may run at once, also in a container.
    #[arg(long, env = "USO_THREADS", value_parser = threads(), value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
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
    /// Folder of scorers that jobs may ask for, as `uso model fetch --scorers` makes it, or `bundled` for the bundled
    /// model's own. They stay in host memory.
    #[arg(long, env = "USO_SCORERS", value_name = "DIR")]
    pub(crate) scorers: Option<PathBuf>,
}

/// Reads a number of threads. Without a limit, starting them would take all memory.
pub(super) fn threads() -> impl TypedValueParser<Value = NonZeroUsize> {
    clap::value_parser!(u16).range(1..=1024).try_map(|count| NonZeroUsize::try_from(usize::from(count)))
}

/// The engine that generates pictures.
#[derive(Clone)]
pub(crate) enum Engine {
    Uso,
    Scripted(Box<Script>),
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, script) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "uso" if script.is_empty() => Ok(Self::Uso),
            "scripted" => {
                let script = script.parse().map_err(|error: NotAScript| error.to_string())?;
                Ok(Self::Scripted(Box::new(script)))
            }
            _ => Err("must be uso or scripted:...".into()),
        }
    }
}
