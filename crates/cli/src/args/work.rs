//! Options of `uso work`, some of which `uso up` shares.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use uso_queue::Class;
use uso_worker::{Patience, Settings, Sharing};

use super::engine::{EngineArgs, ModelArgs};
use super::redis::RedisArgs;
use super::s3::S3Args;

#[derive(Args)]
pub(crate) struct WorkArgs {
    #[command(flatten)]
    pub(crate) redis: RedisArgs,
    #[command(flatten)]
    pub(crate) s3: S3Args,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    /// Address for /healthz, /readyz and /metrics. It answers while the model loads, too.
    #[arg(long, env = "USO_WORKER_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
}

/// How a worker shares its device.
#[derive(Args)]
pub(crate) struct PaceArgs {
    /// Pictures that the device works on at once. Those of one size and class take their steps together where the plan
    /// says that it pays and memory allows. One more is fetched ahead.
    #[arg(long, env = "USO_SLOTS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    slots: u16,
    /// Classes of jobs to take.
    #[arg(
        long,
        env = "USO_CLASSES",
        value_enum,
        value_delimiter = ',',
        default_values_t = [ClassName::Interactive, ClassName::Bulk],
        value_name = "CLASS"
    )]
    classes: Vec<ClassName>,
    /// While bulk work waits, it gets one step in this many.
    #[arg(long, env = "USO_BULK_EVERY", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    bulk_every: u32,
    /// Most unfinished pictures that may be set aside at once.
    #[arg(long, env = "USO_SET_ASIDE", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    set_aside: u16,
    /// How often to save a checkpoint of a picture, such as 5s. A worker that dies loses at most this much work.
    #[arg(long, env = "USO_CHECKPOINT_EVERY", default_value = "5s", value_parser = duration, value_name = "TIME")]
    checkpoint_every: Duration,
    /// How often to make a preview while somebody watches, such as 1s.
    #[arg(long, env = "USO_PREVIEW_EVERY", default_value = "1s", value_parser = duration, value_name = "TIME")]
    preview_every: Duration,
    /// Shortest time after which an unfinished step means that the device hangs, which ends the process, such as 60s.
    /// The first step of each size may take ten times its estimate, and at least 10 minutes.
    #[arg(long, env = "USO_HANG_AFTER", default_value = "60s", value_parser = at_least_a_minute, value_name = "TIME")]
    hang_after: Duration,
    /// How long a stopping worker goes on with jobs that it has begun. Then it hands them back with a checkpoint.
    #[arg(long, env = "USO_GRACE", default_value = "20s", value_parser = duration, value_name = "TIME")]
    grace: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClassName {
    Interactive,
    Bulk,
}

impl PaceArgs {
    pub(crate) fn settings(&self) -> Settings {
        let class = |name: &ClassName| match name {
            ClassName::Interactive => Class::Interactive,
            ClassName::Bulk => Class::Bulk,
        };
        Settings {
            slots: self.slots.into(),
            most_aside: self.set_aside.into(),
            classes: self.classes.iter().map(class).collect(),
            checkpoint_every: self.checkpoint_every,
            preview_every: self.preview_every,
            grace: self.grace,
            ..Settings::default()
        }
    }

    pub(crate) fn slots(&self) -> u64 {
        self.slots.into()
    }

    pub(crate) fn sharing(&self) -> Sharing {
        let most_begun = usize::from(self.slots) + usize::from(self.set_aside);
        let patience = Patience { step: self.hang_after, ..Patience::default() };
        Sharing { slots: self.slots.into(), most_begun, bulk_every: self.bulk_every, patience }
    }
}

fn at_least_a_minute(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration < Duration::from_secs(60) { Err("must be at least 60s".into()) } else { Ok(duration) }
}

/// Reads `5s`, `500ms` or `1m 30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    match Duration::try_from(duration) {
        Ok(duration) if duration >= Duration::from_millis(1) => Ok(duration),
        _ => Err("must be at least 1ms".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "5", "-5s", "0s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
