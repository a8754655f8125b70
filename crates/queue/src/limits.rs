//! Limits of the function library that callers know as well; a test compares the two.

use std::time::Duration;

/// Events that the queue keeps of each shard, at least.
pub const EVENTS_KEPT: usize = 20_000;

/// How long a worker counts as idle after a claim that gave nothing: an idle one claims more often.
pub const IDLE_FOR: Duration = Duration::from_secs(2);

/// How long an idempotency key is known.
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Sessions that a key of the API may have at once.
pub const MAX_SESSIONS: usize = 100;

/// Leases for which a worker may be silent before it counts as gone.
pub(crate) const SILENT_LEASES: u64 = 3;

/// Jobs of a batch that one call changes.
pub(crate) const SWEEP: usize = 40;

/// How many arguments a job has that asks for nothing special, and one that does.
pub(crate) const PLAIN: usize = 4;
pub(crate) const SPECIAL: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_CHECKPOINT, MAX_PREVIEW};

    const TEXT: &str = include_str!("../../../migrations/0001_jobs/base.lua");

    /// What the library's text says: a number, or a product of some.
    fn limit(name: &str) -> u64 {
        let (_, limits) = TEXT.split_once("local LIMITS = {").unwrap();
        let (limits, _) = limits.split_once("\n}").unwrap();
        let (_, value) = limits.split_once(&format!(" {name} = ")).unwrap_or_else(|| panic!("no {name}"));
        let value = value.split([',', '\n']).next().unwrap();
        value.split('*').map(|factor| factor.trim().trim_matches('\'').parse::<u64>().unwrap()).product()
    }

    #[test]
    fn both_sides_have_the_same_limits() {
        for (name, ours) in [
            ("EVENTS_KEPT", EVENTS_KEPT as u64),
            ("IDLE_MS", IDLE_FOR.as_millis() as u64),
            ("KEY_LIFE_MS", KEY_LIFE.as_millis() as u64),
            ("MOST_SESSIONS", MAX_SESSIONS as u64),
            ("SILENT_LEASES", SILENT_LEASES),
            ("SWEEP", SWEEP as u64),
            ("PLAIN", PLAIN as u64),
            ("SPECIAL", SPECIAL as u64),
            ("MAX_PREVIEW", MAX_PREVIEW as u64),
            ("MAX_CHECKPOINT", MAX_CHECKPOINT as u64),
        ] {
            assert_eq!(limit(name), ours, "{name}");
        }
    }
}
