//! How many jobs a worker claims: a pure function of what it holds.

use std::collections::BTreeMap;

use uso_queue::Class;

use crate::active::{ActiveJob, Stage};

/// Finished pictures that may wait for the store before no more are sampled.
const MOST_LEAVING: usize = 8;

/// Jobs that may wait for slow references beside the slots.
const MOST_FETCHING: usize = 16;

/// How many of them may be one tenant's.
const FETCHING_SHARE: usize = 4;

/// What to ask the queue for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimRequest {
    pub(crate) classes: Vec<Class>,
    pub(crate) count: usize,
    /// Tenants that have no share of fetches left.
    pub(crate) without: Vec<String>,
}

/// What a worker can do.
#[derive(Debug, Clone)]
pub(crate) struct Capacity<'a> {
    /// Samples that it steps at once.
    pub(crate) slots: usize,
    /// Samples that may be set aside.
    pub(crate) most_aside: usize,
    /// What it takes at all.
    pub(crate) classes: &'a [Class],
    /// Whether it leaves bulk work that it cannot begin yet to others.
    pub(crate) leaves_bulk: bool,
}

/// Jobs for the free slots; once all slots are sampling, or wait for jobs that cannot step with what is sampled, one
/// ahead, whose references are fetched meanwhile; and an interactive one while no interactive one is sampled, for it can
/// start at the next step. One in its last step counts as finished. A job whose references take long to come takes no
/// slot meanwhile. Nothing beside a job that is to run alone.
pub(crate) fn next(held: &[ActiveJob], capacity: &Capacity<'_>) -> Option<ClaimRequest> {
    if held.iter().any(|job| job.alone) {
        return None;
    }
    let count = |which: &dyn Fn(&ActiveJob) -> bool| held.iter().filter(|job| which(job)).count();
    let ahead = count(&|job| job.stage == Stage::Ahead);
    let aside = count(&|job| matches!(job.stage, Stage::SetAside { .. }));
    let sampling = count(&|job| matches!(job.stage, Stage::Sampling { left: 2.. }));
    if aside > capacity.most_aside
        || count(&|job| job.stage == Stage::Leaving) >= MOST_LEAVING
        || count(&|job| job.stage == Stage::Fetching) >= MOST_FETCHING
    {
        return None;
    }
    let request = |classes, count| Some(ClaimRequest { classes, count, without: without(held) });
    let free = capacity.slots.saturating_sub(sampling + aside);
    if free > ahead {
        return request(capacity.classes.to_vec(), free - ahead);
    }
    let sampled: Vec<_> = held
        .iter()
        .filter(|job| matches!(job.stage, Stage::Sampling { .. } | Stage::SetAside { .. }))
        .collect();
    let joins = |job: &ActiveJob| sampled.iter().any(|other| other.size == job.size);
    let waits = |job: &ActiveJob| job.stage == Stage::Ahead && !sampled.is_empty() && !joins(job);
    if free == ahead && (free == 0 || count(&waits) > 0) {
        let may_wait = |class: &Class| *class == Class::Interactive || !capacity.leaves_bulk;
        let classes: Vec<Class> = capacity.classes.iter().copied().filter(may_wait).collect();
        return if classes.is_empty() { None } else { request(classes, 1) };
    }
    let urgent = count(&|job| {
        job.rank.interactive && matches!(job.stage, Stage::Ahead | Stage::Sampling { left: 2.. })
    });
    let asks = urgent == 0 && capacity.classes.contains(&Class::Interactive);
    if asks { request(vec![Class::Interactive], 1) } else { None }
}

/// The tenants that have no share of fetches left.
fn without(held: &[ActiveJob]) -> Vec<String> {
    let mut shares = BTreeMap::<&str, usize>::new();
    for job in held.iter().filter(|job| job.stage == Stage::Fetching) {
        *shares.entry(&job.tenant).or_default() += 1;
    }
    let spent = shares.into_iter().filter(|(_, fetching)| *fetching >= FETCHING_SHARE);
    spent.map(|(tenant, _)| tenant.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use uso_queue::JobId;

    use super::*;
    use crate::active::Size;
    use crate::device::Rank;
    use crate::hand_back::HandBack;

    const FIRST: Stage = Stage::Sampling { left: 20 };
    const LAST: Stage = Stage::Sampling { left: 1 };
    const ASIDE: Stage = Stage::SetAside { left: 20 };

    fn job(interactive: bool, stage: Stage) -> ActiveJob {
        let id: JobId = "0-018f0000-0000-7000-8000-000000000000".parse().unwrap();
        let rank = Rank { interactive, priority: 0, submitted_ms: 0 };
        let (size, hand_back) = (Size::default(), HandBack::default());
        ActiveJob { id, tenant: "ours".into(), rank, stage, size, alone: false, hand_back }
    }

    fn bulk(stage: Stage) -> ActiveJob {
        job(false, stage)
    }

    fn urgent(stage: Stage) -> ActiveJob {
        job(true, stage)
    }

    const CAPACITY: Capacity<'static> =
        Capacity { slots: 1, most_aside: 4, classes: &Class::ALL, leaves_bulk: false };

    fn any(count: usize) -> Option<ClaimRequest> {
        Some(ClaimRequest { classes: Class::ALL.to_vec(), count, without: Vec::new() })
    }

    fn interactive() -> Option<ClaimRequest> {
        Some(ClaimRequest { classes: vec![Class::Interactive], count: 1, without: Vec::new() })
    }

    #[test]
    fn free_slots_and_once_they_sample_one_ahead() {
        assert_eq!(next(&[], &CAPACITY), any(1));
        assert_eq!(next(&[bulk(FIRST)], &CAPACITY), any(1));
        assert_eq!(next(&[urgent(Stage::Ahead)], &CAPACITY), None, "others may have nothing to do");
        assert_eq!(next(&[bulk(FIRST), bulk(Stage::Leaving)], &CAPACITY), any(1));
        assert_eq!(next(&[bulk(FIRST)], &Capacity { slots: 3, ..CAPACITY }), any(2));
        assert_eq!(next(&[urgent(FIRST), urgent(Stage::Ahead)], &CAPACITY), None);
        assert_eq!(next(&[urgent(LAST), urgent(Stage::Ahead)], &CAPACITY), None);
    }

    #[test]
    fn slots_that_wait_for_another_size_do_not_keep_the_right_one_away() {
        let two = Capacity { slots: 2, ..CAPACITY };
        let other = |stage| ActiveJob { size: Size { width: 80, ..Size::default() }, ..bulk(stage) };
        let ahead = Stage::Ahead;
        assert_eq!(next(&[bulk(FIRST), bulk(ahead)], &two), interactive(), "it will step with the first");
        assert_eq!(next(&[bulk(FIRST), other(ahead)], &two), any(1));
        assert_eq!(next(&[bulk(FIRST), other(ahead), bulk(ahead)], &two), interactive());
        assert_eq!(
            next(&[bulk(FIRST), other(ahead), other(ahead)], &two),
            interactive(),
            "one ahead at most"
        );
        assert_eq!(next(&[bulk(ahead), other(ahead)], &two), interactive(), "nothing is sampled yet");
        assert_eq!(next(&[bulk(FIRST), bulk(FIRST), bulk(ahead)], &two), interactive());
        let leaves = Capacity { leaves_bulk: true, ..two };
        assert_eq!(next(&[bulk(FIRST), other(ahead)], &leaves), interactive());
    }

    #[test]
    fn an_interactive_one_beside_bulk_work() {
        assert_eq!(next(&[bulk(FIRST), bulk(Stage::Ahead)], &CAPACITY), interactive());
        assert_eq!(next(&[bulk(Stage::Ahead)], &CAPACITY), interactive());
        let held = [bulk(FIRST), bulk(Stage::Ahead), urgent(Stage::Ahead)];
        assert_eq!(next(&held, &CAPACITY), None);
        let held = [bulk(ASIDE), bulk(Stage::Ahead), urgent(FIRST)];
        assert_eq!(next(&held, &CAPACITY), None);
        let bulk_alone = Capacity { classes: &[Class::Bulk], ..CAPACITY };
        assert_eq!(next(&[bulk(FIRST), bulk(Stage::Ahead)], &bulk_alone), None);
    }

    #[test]
    fn the_next_interactive_one_is_here_when_one_ends() {
        let held = [bulk(ASIDE), bulk(Stage::Ahead), urgent(LAST)];
        assert_eq!(next(&held, &CAPACITY), interactive());
    }

    #[test]
    fn what_is_set_aside_comes_back_before_new_bulk_work() {
        assert_eq!(next(&[bulk(ASIDE), urgent(FIRST)], &CAPACITY), any(1));
        assert_eq!(
            next(&[bulk(ASIDE), bulk(ASIDE), urgent(LAST), bulk(Stage::Ahead)], &CAPACITY),
            interactive()
        );
        let five: Vec<_> = (0..5).map(|_| bulk(ASIDE)).collect();
        assert_eq!(next(&five, &CAPACITY), None);
    }

    #[test]
    fn nothing_is_claimed_beside_a_job_that_is_to_run_alone() {
        for stage in [Stage::Ahead, FIRST, LAST, Stage::Leaving] {
            assert_eq!(
                next(&[ActiveJob { alone: true, ..bulk(stage) }], &Capacity { slots: 3, ..CAPACITY }),
                None
            );
        }
    }

    #[test]
    fn what_waits_for_its_references_takes_no_slot() {
        let fetching = |count, tenant: &str| {
            std::iter::repeat_n(ActiveJob { tenant: tenant.into(), ..bulk(Stage::Fetching) }, count)
        };
        let held: Vec<_> = fetching(3, "ours").chain(fetching(2, "theirs")).collect();
        assert_eq!(next(&held, &CAPACITY), any(1));
        assert_eq!(next(&[held.clone(), vec![bulk(Stage::Ahead)]].concat(), &CAPACITY), interactive());
        let held: Vec<_> = held.into_iter().chain(fetching(1, "ours")).collect();
        let others = any(1).map(|claim| ClaimRequest { without: vec!["ours".into()], ..claim });
        assert_eq!(next(&held, &CAPACITY), others, "nobody has more than a share");
        let all: Vec<_> = ["a", "b", "c", "d"].iter().flat_map(|tenant| fetching(4, tenant)).collect();
        assert_eq!(next(&all, &CAPACITY), None);
    }

    #[test]
    fn a_slow_store_stops_the_claims() {
        let leaving: Vec<_> = (0..8).map(|_| bulk(Stage::Leaving)).collect();
        assert_eq!(next(&leaving[..7], &CAPACITY), any(1));
        assert_eq!(next(&leaving, &CAPACITY), None);
    }

    #[test]
    fn bulk_work_that_others_could_begin_is_left_to_them() {
        let leaves = Capacity { leaves_bulk: true, ..CAPACITY };
        assert_eq!(next(&[bulk(FIRST)], &leaves), interactive());
        assert_eq!(next(&[], &leaves), any(1));
    }
}
