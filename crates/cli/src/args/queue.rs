//! Options of `uso queue`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::civil::Time;
use uso_queue::{Class, Limits, State};

use super::RedisOptions;

#[derive(Args)]
pub(crate) struct QueueArgs {
    /// URL of the queue's Redis, version 7 or newer.
    #[arg(long, global = true, env = "USO_REDIS", hide_env_values = true, value_name = "URL")]
    pub(crate) redis: Option<String>,
    #[command(flatten)]
    pub(crate) options: RedisOptions,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: QueueCommand,
}

#[derive(Subcommand)]
pub(crate) enum QueueCommand {
    /// Show how many jobs wait and run, for each class and tenant.
    Stats,
    /// List jobs.
    List(ListArgs),
    /// Show everything that is known about a job.
    Show {
        /// Id of the job.
        id: String,
    },
    /// Cancel a job, or all jobs of a batch that have not ended.
    Cancel(WhichArgs),
    /// Make a new job from one that has ended, or from each failed job of a batch.
    Retry(WhichArgs),
    /// Start no more jobs of a class, tenant or batch. Running jobs go on.
    Pause(ScopeArgs),
    /// Start jobs of a paused class, tenant or batch again.
    Resume(ScopeArgs),
    /// Show a tenant's limits, or change those that you give.
    Limits(LimitsArgs),
    /// Show or set the hours in which bulk work may start.
    Window(WindowArgs),
    /// Dead letters: entries that cannot be read, and jobs that no attempt could finish.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Check the whole live queue; fails if anything is wrong.
    Audit,
    /// List the workers that reported lately.
    Workers,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Only jobs in this state.
    #[arg(long, value_parser = one_of::<State>(State::ALL.map(State::as_str)))]
    pub(crate) state: Option<State>,
    /// Only this tenant's jobs.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only jobs of this class.
    #[arg(long, value_parser = one_of::<Class>(Class::ALL.map(Class::as_str)))]
    pub(crate) class: Option<Class>,
    /// Only jobs of this batch.
    #[arg(long, value_name = "ID")]
    pub(crate) batch: Option<String>,
    /// Most jobs to list.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: usize,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct WhichArgs {
    /// Id of the job.
    pub(crate) id: Option<String>,
    /// All jobs of this batch.
    #[arg(long, value_name = "ID")]
    pub(crate) batch: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ScopeArgs {
    /// All jobs of this class.
    #[arg(long, value_parser = one_of::<Class>(Class::ALL.map(Class::as_str)))]
    pub(crate) class: Option<Class>,
    /// All jobs of this tenant.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// All jobs of this batch.
    #[arg(long, value_name = "ID")]
    pub(crate) batch: Option<String>,
}

#[derive(Args)]
pub(crate) struct WindowArgs {
    /// Time of day from which bulk work may start, for example 22:00.
    #[arg(long, value_name = "TIME", requires = "closes", requires = "zone")]
    pub(crate) opens: Option<Time>,
    /// Time of day at which running bulk work is handed back.
    #[arg(long, value_name = "TIME", requires = "opens")]
    pub(crate) closes: Option<Time>,
    /// Time zone of both, for example Europe/Berlin.
    #[arg(long, value_name = "ZONE", requires = "opens")]
    pub(crate) zone: Option<String>,
    /// Also start bulk work outside these hours while no interactive work waits.
    #[arg(long, requires = "opens")]
    pub(crate) fill: bool,
    /// Let bulk work start at any time.
    #[arg(long, conflicts_with = "opens")]
    pub(crate) always: bool,
}

#[derive(Args)]
pub(crate) struct LimitsArgs {
    /// Name of the tenant.
    pub(crate) tenant: String,
    #[command(flatten)]
    pub(crate) changes: LimitChanges,
}

/// Changes to a tenant's limits. What is left out stays as it is.
#[derive(Args)]
pub(crate) struct LimitChanges {
    /// Share compared with other tenants, 0.001 to 1000: weight 3 gets three jobs started for each one of weight 1.
    #[arg(long, value_parser = weight)]
    pub(crate) weight: Option<f64>,
    /// Most waiting jobs, or `none`.
    #[arg(long, value_name = "N", value_parser = limit::<u64>)]
    pub(crate) max_queued: Option<Limit<u64>>,
    /// Most jobs running at once, or `none`.
    #[arg(long, value_name = "N", value_parser = limit::<u64>)]
    pub(crate) max_running: Option<Limit<u64>>,
    /// Most submissions and uploads per second on average, or `none`.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) per_second: Option<Limit<f64>>,
    /// Most submissions and uploads at once, or `none` for as many as per second.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) burst: Option<Limit<f64>>,
    /// Most bytes of stored uploads, or `none`.
    #[arg(long, value_name = "BYTES", value_parser = limit::<u64>)]
    pub(crate) max_stored: Option<Limit<u64>>,
}

impl LimitChanges {
    /// The limits after these changes.
    pub(crate) fn apply(&self, before: &Limits) -> Limits {
        Limits {
            weight: self.weight.unwrap_or(before.weight),
            max_queued: self.max_queued.map_or(before.max_queued, |limit| limit.0),
            max_running: self.max_running.map_or(before.max_running, |limit| limit.0),
            per_second: self.per_second.map_or(before.per_second, |limit| limit.0),
            burst: self.burst.map_or(before.burst, |limit| limit.0),
            max_stored: self.max_stored.map_or(before.max_stored, |limit| limit.0),
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum DeadCommand {
    /// List dead letters, newest first.
    List {
        /// Most letters to list.
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// Show a dead letter and its bytes.
    Show {
        /// Id of the dead letter.
        id: String,
        /// Also write the bytes to this file.
        #[arg(long, value_name = "FILE")]
        raw: Option<PathBuf>,
    },
    /// Make a new job from a dead letter, and delete the letter.
    Retry {
        /// Id of the dead letter.
        id: String,
    },
    /// Delete a dead letter.
    Drop {
        /// Id of the dead letter.
        id: String,
    },
}

/// A new limit; none for the word `none`.
#[derive(Clone, Copy)]
pub(crate) struct Limit<T>(pub(crate) Option<T>);

pub(super) fn limit<T: FromStr>(text: &str) -> Result<Limit<T>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    text.parse().map(|value| Limit(Some(value))).map_err(|_| "must be a number or `none`".into())
}

/// Zero would stop the tenant, and infinity is not a limit.
fn rate(text: &str) -> Result<Limit<f64>, String> {
    match limit(text)? {
        Limit(Some(rate)) if !(0.001..=1e9).contains(&rate) => {
            Err("must be within 0.001 to 1000000000, or `none`".into())
        }
        limit => Ok(limit),
    }
}

fn weight(text: &str) -> Result<f64, String> {
    let weight = text.parse().ok().filter(|weight| (0.001..=1000.0).contains(weight));
    weight.ok_or_else(|| "must be within 0.001 to 1000".into())
}

/// A parser of the words that the queue's JSON has for values.
pub(super) fn one_of<T>(words: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| serde_json::from_value(word.into()))
}
