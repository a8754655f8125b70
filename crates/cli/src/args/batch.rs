//! Options of `uso batch`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp};
use uso_dataset::file;
use uso_dataset::rows::Kind;
use uso_queue::Gate;

use super::queue::{Limit, limit};
use super::{RedisOptions, S3Args, size};

#[derive(Args)]
pub(crate) struct BatchArgs {
    /// Address of the fleet's API.
    #[arg(long, global = true, env = "USO_API", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) api: String,
    /// API key, if the API asks for one.
    #[arg(long, global = true, env = "USO_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: BatchCommand,
}

#[derive(Subcommand)]
pub(crate) enum BatchCommand {
    /// Make a data set from the rows of a manifest or a grid. The same command again goes on where it ended, and adds
    /// rows that are new in the manifest.
    Create(Box<CreateBatchArgs>),
    /// List your data sets, the newest first.
    List,
    /// Show everything about a data set.
    Show(WhichBatchArgs),
    /// Watch a data set until it is finished: all rows ended, all shards packed and described.
    Watch(WhichBatchArgs),
    /// Start no more rows. Running ones go on.
    Pause(WhichBatchArgs),
    /// Start rows of a paused data set again.
    Resume(WhichBatchArgs),
    /// Cancel all rows that have not ended.
    Cancel(WhichBatchArgs),
    /// Make the pictures of failed rows again.
    RetryFailed(RetryFailedArgs),
    /// Show what a data set may cost, or change it.
    Budget(BudgetArgs),
    /// Read a data set back and compare it with its checksums; fails if anything is wrong.
    Verify(Box<VerifyBatchArgs>),
    /// Write a data set in another layout.
    Export(Box<ExportArgs>),
    /// Download a data set into a folder and check it. The same command again fetches only what is missing or has
    /// changed.
    Pull(PullArgs),
}

#[derive(Args)]
pub(crate) struct WhichBatchArgs {
    /// Id or name of the data set.
    #[arg(value_name = "BATCH")]
    pub(crate) batch: String,
}

#[derive(Args)]
pub(crate) struct CreateBatchArgs {
    /// Rows as JSONL, CSV, Parquet or USO's evaluation JSON, or a grid as YAML. `s3://BUCKET/KEY` and `upload:ID` are
    /// read by the fleet itself.
    pub(crate) manifest: String,
    /// Name of the data set, unlike those of your others. Default: the manifest's file name without its ending.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Submit nothing: print what the rows will cost.
    #[arg(long)]
    pub(crate) plan: bool,
    /// What to do if a row is bad: start nothing, or leave the row out.
    #[arg(long, value_enum, default_value_t = OnBad::Fail, value_name = "fail|skip")]
    pub(crate) on_bad: OnBad,
    /// What to do with fields that a job does not have: refuse the row, or put them into its metadata.
    #[arg(long, value_enum, default_value_t = Unknown::Refuse, value_name = "refuse|metadata")]
    pub(crate) unknown: Unknown,
    /// Format of the manifest. Default: by the ending of its name.
    #[arg(long, value_enum)]
    pub(crate) kind: Option<ManifestKind>,
    /// Most rows of a shard. Default: 10000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) shard_rows: Option<u32>,
    /// Size of a shard's pictures after which it takes no more rows. Default: 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    pub(crate) shard_bytes: Option<u64>,
    /// Split for training by this field of the rows' metadata, such as subject, or by key: rows with the same value
    /// lie on the same side.
    #[arg(long, value_name = "FIELD", requires = "split_val")]
    pub(crate) split_by: Option<String>,
    /// Share of rows for validation, 0 to 1.
    #[arg(long, value_name = "SHARE", requires = "split_by", value_parser = share)]
    pub(crate) split_val: Option<f64>,
    /// Quality gate of each row that has none of its own: JSON such as {"scorers": ["clip"], "min": {"clip_t": 0.25}},
    /// or a file with it.
    #[arg(long, value_name = "JSON|FILE", value_parser = gate)]
    pub(crate) gate: Option<Gate>,
    /// Most pictures to make.
    #[arg(long, value_name = "N")]
    pub(crate) max_pictures: Option<u64>,
    /// Most seconds of device time to use.
    #[arg(long, value_name = "N")]
    pub(crate) max_device_seconds: Option<u64>,
    /// When all must be done: a time such as 2026-01-10T07:00:00Z, or a while from now such as 8h. The plan says how
    /// many workers that takes.
    #[arg(long, value_name = "TIME", requires = "plan", value_parser = deadline)]
    pub(crate) deadline: Option<Timestamp>,
    /// Also plan for this many workers.
    #[arg(long, value_name = "N", requires = "plan", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) workers: Option<u32>,
    /// Plan as if bulk work ran from this time of day on, for example 22:00. Default: as the fleet's window says.
    #[arg(long, value_name = "TIME", requires = "plan", requires = "closes", requires = "zone")]
    pub(crate) opens: Option<Time>,
    /// Until this time of day.
    #[arg(long, value_name = "TIME", requires = "opens")]
    pub(crate) closes: Option<Time>,
    /// Time zone of both, for example Europe/Berlin.
    #[arg(long, value_name = "ZONE", requires = "opens")]
    pub(crate) zone: Option<String>,
    /// Replace rows that ask for something else than before, and make them anew. Rows that are being made or have a
    /// picture stay as they are, and are named.
    #[arg(long, conflicts_with = "plan")]
    pub(crate) replace: bool,
}

#[derive(Args)]
pub(crate) struct RetryFailedArgs {
    #[command(flatten)]
    pub(crate) which: WhichBatchArgs,
    /// Only rows that have failed for this reason: the code of their error, such as below_threshold.
    #[arg(long, value_name = "CODE")]
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnBad {
    Fail,
    Skip,
}

impl OnBad {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unknown {
    Refuse,
    Metadata,
}

impl Unknown {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Metadata => "metadata",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestKind {
    Jsonl,
    Csv,
    Parquet,
    /// What USO's own evaluation reads.
    Evaluation,
    /// All combinations of subjects, styles, prompts, sizes and seeds, as YAML.
    Grid,
}

impl ManifestKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Evaluation => "evaluation",
            Self::Grid => "grid",
        }
    }

    /// Its format as a manifest; none for a grid.
    pub(crate) fn format(self) -> Option<Kind> {
        match self {
            Self::Jsonl => Some(Kind::Jsonl),
            Self::Csv => Some(Kind::Csv),
            Self::Parquet => Some(Kind::Parquet),
            Self::Evaluation => Some(Kind::Evaluation),
            Self::Grid => None,
        }
    }

    /// What a row's number counts.
    pub(crate) fn place(self) -> &'static str {
        self.format().map_or("row", Kind::place)
    }
}

#[derive(Args)]
pub(crate) struct BudgetArgs {
    #[command(flatten)]
    pub(crate) which: WhichBatchArgs,
    /// Most pictures to make, or `none`.
    #[arg(long, value_name = "N", value_parser = limit::<u64>)]
    pub(crate) max_pictures: Option<Limit<u64>>,
    /// Most seconds of device time to use, or `none`.
    #[arg(long, value_name = "N", value_parser = limit::<u64>)]
    pub(crate) max_device_seconds: Option<Limit<u64>>,
}

#[derive(Args)]
pub(crate) struct VerifyBatchArgs {
    /// A folder that you have pulled, or the id of a data set, which is read from S3 and compared with the queue.
    #[arg(value_name = "DIR|ID")]
    pub(crate) target: String,
    /// URL of the queue's Redis, version 7 or newer; only for an id.
    #[arg(long, env = "USO_REDIS", hide_env_values = true, value_name = "URL")]
    pub(crate) redis: Option<String>,
    #[command(flatten)]
    pub(crate) options: RedisOptions,
    #[command(flatten)]
    pub(crate) s3: S3Args,
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// A folder that you have pulled, or the id of a data set, which is read from S3.
    #[arg(value_name = "DIR|ID")]
    pub(crate) target: String,
    /// Folder to write, which must be empty or not there.
    pub(crate) out: PathBuf,
    /// Layout of the files.
    #[arg(long, value_enum)]
    pub(crate) layout: LayoutName,
    #[command(flatten)]
    pub(crate) s3: S3Args,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LayoutName {
    /// ImageFolder of Hugging Face: pictures and a metadata.jsonl, or a metadata.parquet for many; with a split, a folder
    /// for each side, with a metadata.parquet.
    Imagefolder,
    /// Each picture with its prompt and its row beside it, as .txt and .json.
    Files,
}

#[derive(Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) which: WhichBatchArgs,
    /// Folder to write.
    pub(crate) dir: PathBuf,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// Reads a time, or a while from now.
fn deadline(text: &str) -> Result<Timestamp, String> {
    let from_now = |while_: SignedDuration| Timestamp::now().checked_add(while_).ok();
    let time = text.parse().ok().or_else(|| text.parse().ok().and_then(from_now));
    time.ok_or_else(|| "must be like 2026-01-10T07:00:00Z or 8h".to_owned())
}

/// Longest file of a quality gate in bytes.
const MAX_GATE: u64 = 1 << 20;

/// Reads a quality gate, or a file that has one.
fn gate(text: &str) -> Result<Gate, String> {
    let read = || {
        file::read_text(text.as_ref(), MAX_GATE).map_err(|error| format!("cannot read it as a file: {error}"))
    };
    let json = if text.trim_start().starts_with('{') { text.to_owned() } else { read()? };
    let value = serde_json::from_str(&json).map_err(|error| format!("it is no JSON: {error}"))?;
    Gate::parse(&value).map_err(|faults| {
        let faults = faults.into_iter().map(|fault| format!("{}: {}", fault.pointer, fault.message));
        faults.collect::<Vec<_>>().join("; ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_time_or_a_while_from_now() {
        let time: Timestamp = "2026-01-10T07:00:00Z".parse().unwrap();
        assert_eq!(deadline("2026-01-10T08:00:00+01:00"), Ok(time));
        let before = Timestamp::now();
        let later = deadline("8h").unwrap().duration_since(before);
        assert!((8 * 3600..8 * 3600 + 60).contains(&later.as_secs()), "{later}");
        for bad in ["", "tomorrow", "7", "07:00"] {
            assert!(deadline(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_from_0_to_1() {
        assert_eq!((share("0"), share("0.05")), (Ok(0.0), Ok(0.05)));
        assert!(share("5").is_err() && share("nan").is_err());
    }

    #[test]
    fn a_gate_is_json_or_a_file_with_it_and_its_faults_are_named() {
        let text = r#"{"scorers": ["clip"], "min": {"clip_t": 0.25}, "tries": 4}"#;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        assert_eq!(gate(text), gate(file.path().to_str().unwrap()));
        assert_eq!(gate(text).unwrap().tries, 4);
        assert!(gate("nowhere.json").unwrap_err().starts_with("cannot read it as a file"));
        assert!(gate("/dev/zero").unwrap_err().ends_with("it is not a regular file"));
        let faults = gate(r#"{"scorers": ["clip"], "tries": 17}"#).unwrap_err();
        assert_eq!(faults, "/tries: 17 is not within 1 to 16");
    }
}
