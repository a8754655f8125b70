//! What can be said to `uso queue`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::civil::Time;
use uso_queue::{Class, Limits, State};

use super::RedisOptions;

#[derive(Args)]
pub(crate) struct QueueArgs {
    /// The queue's Redis 7 or newer.
    #[arg(long, global = true, env = "USO_REDIS", hide_env_values = true, value_name = "URL")]
    pub(crate) redis: Option<String>,
    #[command(flatten)]
    pub(crate) options: RedisOptions,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to look at or to do.
    #[command(subcommand)]
    pub(crate) command: QueueCommand,
}

#[derive(Subcommand)]
pub(crate) enum QueueCommand {
    /// How much waits and runs, for each class and tenant.
    Stats,
    /// Jobs that have something in common.
    List(ListArgs),
    /// Everything known of a job.
    Show {
        /// The job.
        id: String,
    },
    /// End a job, or all jobs of a batch, that have not ended.
    Cancel(WhichArgs),
    /// Make a job anew that has ended, or all failed jobs of a batch.
    Retry(WhichArgs),
    /// Let no more jobs of a class, tenant or batch start; those that run go on.
    Pause(ScopeArgs),
    /// Let them start again.
    Resume(ScopeArgs),
    /// Show what a tenant may use, or change what is given.
    Limits(LimitsArgs),
    /// Show when bulk work may start, or set it.
    Window(WindowArgs),
    /// What went aside: entries that nobody could understand, jobs that no attempt could finish.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Check the whole queue while it is at work; fails if anything is wrong.
    Audit,
    /// Workers heard of lately.
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
    /// The job.
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
    /// Bulk work starts from this time of day on, for example 22:00.
    #[arg(long, value_name = "TIME", requires = "closes", requires = "zone")]
    pub(crate) opens: Option<Time>,
    /// From this time on it is handed back.
    #[arg(long, value_name = "TIME", requires = "opens")]
    pub(crate) closes: Option<Time>,
    /// Whose clocks count, for example Europe/Berlin.
    #[arg(long, value_name = "ZONE", requires = "opens")]
    pub(crate) zone: Option<String>,
    /// Outside of it bulk work is claimed too, as long as no interactive work waits.
    #[arg(long, requires = "opens")]
    pub(crate) fill: bool,
    /// Bulk work may start at all times.
    #[arg(long, conflicts_with = "opens")]
    pub(crate) always: bool,
}

#[derive(Args)]
pub(crate) struct LimitsArgs {
    /// The tenant.
    pub(crate) tenant: String,
    #[command(flatten)]
    pub(crate) changes: LimitChanges,
}

/// What a tenant may do from now on; what is left out stays as it is.
#[derive(Args)]
pub(crate) struct LimitChanges {
    /// Its share beside other tenants, 0.001 to 1000: one of weight 3 gets three claims for each of one of weight 1.
    #[arg(long, value_parser = weight)]
    pub(crate) weight: Option<f64>,
    /// Most jobs that wait, or `none`.
    #[arg(long, value_name = "N", value_parser = limit::<u64>)]
    pub(crate) max_queued: Option<Limit<u64>>,
    /// Most jobs that run at once, or `none`.
    #[arg(long, value_name = "N", value_parser = limit::<u64>)]
    pub(crate) max_running: Option<Limit<u64>>,
    /// Most submissions and uploads per second over time, or `none`.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) per_second: Option<Limit<f64>>,
    /// Most submissions and uploads at once, or `none` for as many as per second.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) burst: Option<Limit<f64>>,
    /// Most bytes of uploads that are stored, or `none`.
    #[arg(long, value_name = "BYTES", value_parser = limit::<u64>)]
    pub(crate) max_stored: Option<Limit<u64>>,
}

impl LimitChanges {
    /// The limits as they are then.
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
    /// Dead letters, the newest first.
    List {
        /// Most letters to list.
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// A dead letter, with the bytes that were found.
    Show {
        /// The dead letter.
        id: String,
        /// Write the bytes to this file, too.
        #[arg(long, value_name = "FILE")]
        raw: Option<PathBuf>,
    },
    /// Make a new job from a dead letter, and drop the letter.
    Retry {
        /// The dead letter.
        id: String,
    },
    /// Forget a dead letter.
    Drop {
        /// The dead letter.
        id: String,
    },
}

/// A limit as it is to be: none, if the word is `none`.
#[derive(Clone, Copy)]
pub(crate) struct Limit<T>(pub(crate) Option<T>);

fn limit<T: FromStr>(text: &str) -> Result<Limit<T>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    text.parse().map(|value| Limit(Some(value))).map_err(|_| "neither a number nor `none`".into())
}

/// Zero and infinity would stand still or never end.
fn rate(text: &str) -> Result<Limit<f64>, String> {
    match limit(text)? {
        Limit(Some(rate)) if !(0.001..=1e9).contains(&rate) => Err("not within 0.001 to 1000000000".into()),
        limit => Ok(limit),
    }
}

fn weight(text: &str) -> Result<f64, String> {
    let weight = text.parse().ok().filter(|weight| (0.001..=1000.0).contains(weight));
    weight.ok_or_else(|| "not within 0.001 to 1000".into())
}

/// A parser of the words that stand for values in the queue's own JSON.
fn one_of<T>(words: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| serde_json::from_value(word.into()))
}
