//! How much work a worker asks for: a pure function of what it holds.

use std::collections::BTreeMap;

use uso_queue::Class;

use crate::held::{HeldJob, Stage};

/// Finished pictures that may wait for the store before no more are drawn.
const MOST_LEAVING: usize = 8;

/// Jobs that may wait for slow references beside the slots.
const MOST_FETCHING: usize = 16;

/// How many of them may be one tenant's.
const FETCHING_SHARE: usize = 4;

/// What to ask the queue for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) classes: Vec<Class>,
    pub(crate) count: usize,
    /// Tenants that have no share of fetches left.
    pub(crate) without: Vec<String>,
}

/// What a worker offers.
#[derive(Debug, Clone)]
pub(crate) struct Offer<'a> {
    /// Pictures it draws at once.
    pub(crate) slots: usize,
    /// Half-drawn pictures that may be set aside.
    pub(crate) most_aside: usize,
    /// What it draws at all.
    pub(crate) classes: &'a [Class],
    /// Whether it leaves bulk work that it cannot begin yet to others.
    pub(crate) leaves_bulk: bool,
}

/// Jobs for the free slots; once all slots draw, one ahead, whose references are fetched meanwhile; and an
/// interactive one while no interactive one is drawn, for it can start at the next step. One in its last
/// step counts as drawn. A job whose references are long in coming takes no slot meanwhile. Nothing beside a job
/// that is to run alone.
pub(crate) fn wish(held: &[HeldJob], offer: &Offer<'_>) -> Option<Wish> {
    if held.iter().any(|job| job.alone) {
        return None;
    }
    let count = |which: &dyn Fn(&HeldJob) -> bool| held.iter().filter(|job| which(job)).count();
    let ahead = count(&|job| job.stage == Stage::Ahead);
    let aside = count(&|job| matches!(job.stage, Stage::SetAside { .. }));
    let drawing = count(&|job| matches!(job.stage, Stage::Drawing { left: 2.. }));
    if aside > offer.most_aside
        || count(&|job| job.stage == Stage::Leaving) >= MOST_LEAVING
        || count(&|job| job.stage == Stage::Fetching) >= MOST_FETCHING
    {
        return None;
    }
    let wish = |classes, count| Some(Wish { classes, count, without: without(held) });
    let free = offer.slots.saturating_sub(drawing + aside);
    if free > ahead {
        return wish(offer.classes.to_vec(), free - ahead);
    }
    if free == 0 && ahead == 0 {
        let may_wait = |class: &Class| *class == Class::Interactive || !offer.leaves_bulk;
        let classes: Vec<Class> = offer.classes.iter().copied().filter(may_wait).collect();
        return if classes.is_empty() { None } else { wish(classes, 1) };
    }
    let urgent = count(&|job| {
        job.rank.interactive && matches!(job.stage, Stage::Ahead | Stage::Drawing { left: 2.. })
    });
    let asks = urgent == 0 && offer.classes.contains(&Class::Interactive);
    if asks { wish(vec![Class::Interactive], 1) } else { None }
}

/// The tenants that have no share of fetches left.
fn without(held: &[HeldJob]) -> Vec<String> {
    let mut shares = BTreeMap::<&str, usize>::new();
    for job in held.iter().filter(|job| job.stage == Stage::Fetching) {
        *shares.entry(&job.tenant).or_default() += 1;
    }
    let spent = shares.into_iter().filter(|(_, fetching)| *fetching >= FETCHING_SHARE);
    spent.map(|(tenant, _)| tenant.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use uso_queue::JobId;

    use super::*;
    use crate::device::Rank;

    const FIRST: Stage = Stage::Drawing { left: 20 };
    const LAST: Stage = Stage::Drawing { left: 1 };
    const ASIDE: Stage = Stage::SetAside { left: 20 };

    fn job(interactive: bool, stage: Stage) -> HeldJob {
        let id: JobId = "0-018f0000-0000-7000-8000-000000000000".parse().unwrap();
        let rank = Rank { interactive, priority: 0, age: 0 };
        HeldJob { id, tenant: "ours".into(), rank, stage, alone: false, hand_back: CancellationToken::new() }
    }

    fn bulk(stage: Stage) -> HeldJob {
        job(false, stage)
    }

    fn urgent(stage: Stage) -> HeldJob {
        job(true, stage)
    }

    const OFFER: Offer<'static> = Offer { slots: 1, most_aside: 4, classes: &Class::ALL, leaves_bulk: false };

    fn any(count: usize) -> Option<Wish> {
        Some(Wish { classes: Class::ALL.to_vec(), count, without: Vec::new() })
    }

    fn interactive() -> Option<Wish> {
        Some(Wish { classes: vec![Class::Interactive], count: 1, without: Vec::new() })
    }

    #[test]
    fn free_slots_and_once_they_draw_one_ahead() {
        assert_eq!(wish(&[], &OFFER), any(1));
        assert_eq!(wish(&[bulk(FIRST)], &OFFER), any(1));
        assert_eq!(wish(&[urgent(Stage::Ahead)], &OFFER), None, "others may have nothing to do");
        assert_eq!(wish(&[bulk(FIRST), bulk(Stage::Leaving)], &OFFER), any(1));
        assert_eq!(wish(&[bulk(FIRST)], &Offer { slots: 3, ..OFFER }), any(2));
        assert_eq!(wish(&[urgent(FIRST), urgent(Stage::Ahead)], &OFFER), None);
        assert_eq!(wish(&[urgent(LAST), urgent(Stage::Ahead)], &OFFER), None);
    }

    #[test]
    fn an_interactive_one_beside_bulk_work() {
        assert_eq!(wish(&[bulk(FIRST), bulk(Stage::Ahead)], &OFFER), interactive());
        assert_eq!(wish(&[bulk(Stage::Ahead)], &OFFER), interactive());
        let held = [bulk(FIRST), bulk(Stage::Ahead), urgent(Stage::Ahead)];
        assert_eq!(wish(&held, &OFFER), None);
        let held = [bulk(ASIDE), bulk(Stage::Ahead), urgent(FIRST)];
        assert_eq!(wish(&held, &OFFER), None);
        let bulk_alone = Offer { classes: &[Class::Bulk], ..OFFER };
        assert_eq!(wish(&[bulk(FIRST), bulk(Stage::Ahead)], &bulk_alone), None);
    }

    #[test]
    fn the_next_interactive_one_is_here_when_one_ends() {
        let held = [bulk(ASIDE), bulk(Stage::Ahead), urgent(LAST)];
        assert_eq!(wish(&held, &OFFER), interactive());
    }

    #[test]
    fn what_is_set_aside_comes_back_before_new_bulk_work() {
        assert_eq!(wish(&[bulk(ASIDE), urgent(FIRST)], &OFFER), any(1));
        assert_eq!(
            wish(&[bulk(ASIDE), bulk(ASIDE), urgent(LAST), bulk(Stage::Ahead)], &OFFER),
            interactive()
        );
        let five: Vec<_> = (0..5).map(|_| bulk(ASIDE)).collect();
        assert_eq!(wish(&five, &OFFER), None);
    }

    #[test]
    fn nothing_is_claimed_beside_a_job_that_is_to_run_alone() {
        for stage in [Stage::Ahead, FIRST, LAST, Stage::Leaving] {
            assert_eq!(wish(&[HeldJob { alone: true, ..bulk(stage) }], &Offer { slots: 3, ..OFFER }), None);
        }
    }

    #[test]
    fn what_waits_for_its_references_takes_no_slot() {
        let fetching = |count, tenant: &str| {
            std::iter::repeat_n(HeldJob { tenant: tenant.into(), ..bulk(Stage::Fetching) }, count)
        };
        let held: Vec<_> = fetching(3, "ours").chain(fetching(2, "theirs")).collect();
        assert_eq!(wish(&held, &OFFER), any(1));
        assert_eq!(wish(&[held.clone(), vec![bulk(Stage::Ahead)]].concat(), &OFFER), interactive());
        let held: Vec<_> = held.into_iter().chain(fetching(1, "ours")).collect();
        let others = any(1).map(|wish| Wish { without: vec!["ours".into()], ..wish });
        assert_eq!(wish(&held, &OFFER), others, "nobody has more than a share");
        let all: Vec<_> = ["a", "b", "c", "d"].iter().flat_map(|tenant| fetching(4, tenant)).collect();
        assert_eq!(wish(&all, &OFFER), None);
    }

    #[test]
    fn a_slow_store_stops_the_claims() {
        let leaving: Vec<_> = (0..8).map(|_| bulk(Stage::Leaving)).collect();
        assert_eq!(wish(&leaving[..7], &OFFER), any(1));
        assert_eq!(wish(&leaving, &OFFER), None);
    }

    #[test]
    fn bulk_work_that_others_could_begin_is_left_to_them() {
        let leaves = Offer { leaves_bulk: true, ..OFFER };
        assert_eq!(wish(&[bulk(FIRST)], &leaves), interactive());
        assert_eq!(wish(&[], &leaves), any(1));
    }
}
