//! What a worker that is to stop still finishes: a pure function of what it holds.

use std::cmp::Reverse;
use std::time::Duration;

use crate::active::{ActiveJob, Stage};

/// Part of the time that decoding, uploads and slower steps than expected may take.
const RESERVE: u32 = 4;

/// The end of a grace: what has begun goes into the store and back to the queue in it, at most.
pub(crate) fn last_part(grace: Duration) -> Duration {
    (grace / RESERVE).clamp(Duration::from_secs(1), Duration::from_secs(3))
}

/// Jobs that go back to the queue at once: those that have not begun, and those whose steps would not be
/// done within `grace`. `step` is what a step takes, if that is known.
pub(crate) fn hand_back(mut held: Vec<ActiveJob>, step: Option<Duration>, grace: Duration) -> Vec<ActiveJob> {
    let mut left = grace - grace / RESERVE;
    held.sort_by_key(|job| {
        (Reverse(job.rank.interactive), Reverse(job.rank.priority), job.rank.submitted_ms)
    });
    held.retain(|job| match (job.stage, step) {
        (Stage::Leaving, _) => false,
        (Stage::Sampling { left: steps } | Stage::SetAside { left: steps }, Some(step)) => {
            match left.checked_sub(step.saturating_mul(steps)) {
                Some(rest) => {
                    left = rest;
                    false
                }
                None => true,
            }
        }
        _ => true,
    });
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::active::Size;
    use crate::device::Rank;
    use crate::hand_back::HandBack;

    fn job(submitted_ms: u64, interactive: bool, stage: Stage) -> ActiveJob {
        let id = "0-018f0000-0000-7000-8000-000000000000".parse().unwrap();
        let rank = Rank { interactive, priority: 0, submitted_ms };
        let (size, hand_back) = (Size::default(), HandBack::default());
        ActiveJob { id, tenant: "ours".into(), rank, stage, size, alone: false, hand_back }
    }

    fn ages(held: Vec<ActiveJob>, step_ms: Option<u64>, grace_s: u64) -> Vec<u64> {
        let step = step_ms.map(Duration::from_millis);
        hand_back(held, step, Duration::from_secs(grace_s)).iter().map(|job| job.rank.submitted_ms).collect()
    }

    #[test]
    fn what_can_be_finished_is_finished() {
        let held = || {
            vec![
                job(1, false, Stage::SetAside { left: 20 }),
                job(2, false, Stage::Ahead),
                job(3, true, Stage::Sampling { left: 10 }),
                job(4, true, Stage::Ahead),
                job(5, false, Stage::Leaving),
            ]
        };
        assert_eq!(ages(held(), Some(100), 4), [4, 2], "3 s are enough for 30 steps of 100 ms");
        assert_eq!(ages(held(), Some(150), 4), [4, 1, 2], "the interactive one goes first");
        assert_eq!(ages(held(), Some(100), 0), [3, 4, 1, 2]);
        assert_eq!(ages(held(), None, 1000), [3, 4, 1, 2], "without a step nobody knows");
    }
}
