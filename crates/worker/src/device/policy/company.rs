//! Which samples step together with the one whose turn it is.

use std::cmp::Reverse;

use uso_engine::Together;

use super::{Candidate, Policy};
use crate::device::shapes::Shapes;

impl Policy {
    /// The wanted sample and those that step with it. If one that is not on the device could come along, it is begun
    /// first.
    pub(super) fn in_company(
        &self,
        candidates: &[Candidate],
        wanted: &Candidate,
        shapes: &Shapes,
    ) -> Vec<u64> {
        let mates = self.mates(candidates, wanted);
        let most = self.slots.min(1 + mates.len());
        let together = (2..=most).rev().find(|samples| {
            let mates = &mates[..samples - 1];
            let step = wanted.shape.and_then(|shape| shapes.step(shape, *samples));
            step.is_some_and(|step| self.fits_together(candidates, wanted, mates, step))
                && self.pays(wanted, *samples, shapes)
        });
        let mates = &mates[..together.map_or(0, |samples| samples - 1)];
        let here = mates.iter().filter(|mate| mate.resident).map(|mate| mate.id);
        let newcomer = mates.iter().find(|mate| !mate.resident && wanted.resident && !wanted.done);
        newcomer.map(|mate| mate.id).into_iter().chain([wanted.id]).chain(here).collect()
    }

    /// Those that could step with the wanted sample: of its shape, class and priority. First those that are on the
    /// device, each group in its order.
    fn mates<'c>(&self, candidates: &'c [Candidate], wanted: &Candidate) -> Vec<&'c Candidate> {
        if self.slots < 2 || wanted.shape.is_none() {
            return Vec::new();
        }
        let equal = candidates.iter().filter(|other| is_equal(other, wanted) && other.id != wanted.id);
        // While one that is done is finished, others that are done keep the turn, too.
        let could_step = |other: &&Candidate| other.shape == wanted.shape && (wanted.done || !other.done);
        let may_come = |other: &&Candidate| other.resident || self.may_come_along(candidates, wanted, other);
        let mut mates: Vec<&Candidate> = equal.filter(could_step).filter(may_come).collect();
        mates.sort_by_key(|mate| Reverse((mate.resident, self.order(mate))));
        mates
    }

    /// Whether one that is not on the device may be begun now, to step with the wanted one. It may overtake others that
    /// have waited longer, but each of them only as often as there are slots.
    fn may_come_along(&self, candidates: &[Candidate], wanted: &Candidate, newcomer: &Candidate) -> bool {
        let waits =
            |other: &&Candidate| !other.begun && is_equal(other, newcomer) && other.shape != newcomer.shape;
        let mut overtaken =
            candidates.iter().filter(waits).filter(|other| self.order(other) > self.order(newcomer));
        let is_owed = !wanted.rank.interactive && self.bulk_is_owed();
        !is_owed
            && (newcomer.begun || self.may_begin_another(candidates))
            && overtaken.all(|other| (other.overtaken as usize) < self.slots)
            && self.fits_beside(candidates, newcomer)
    }

    /// Whether a step together is worth it. Bulk work is to take less time in all. Whoever waits for an interactive
    /// picture is to wait no longer, on average, than if one were made after the other. Where nobody knows what a step
    /// takes, bulk work is stepped together: its weights are read once for all.
    fn pays(&self, wanted: &Candidate, samples: usize, shapes: &Shapes) -> bool {
        let expected = |samples| {
            let step = wanted.shape.and_then(|shape| shapes.step(shape, samples));
            step.and_then(|step| step.expected).map(|expected| expected.as_secs_f64())
        };
        match (expected(1), expected(samples)) {
            (Some(alone), Some(together)) if wanted.rank.interactive => {
                together <= alone * (samples + 1) as f64 / 2.0
            }
            (Some(alone), Some(together)) => together < Together::WORTH * alone * samples as f64,
            _ => !wanted.rank.interactive,
        }
    }

    /// All others are set aside while these have the turn.
    fn fits_together(
        &self,
        candidates: &[Candidate],
        wanted: &Candidate,
        mates: &[&Candidate],
        step: Together,
    ) -> bool {
        let Some(memory) = self.memory else { return true };
        let is_in = |other: &Candidate| other.id == wanted.id || mates.iter().any(|mate| mate.id == other.id);
        let there = candidates.iter().filter(|other| other.resident || is_in(other));
        let need = there.fold(step.working, |need, other| {
            need.saturating_add(if is_in(other) { other.footprint.kept } else { other.footprint.aside() })
        });
        need <= memory
    }
}

/// Whether neither goes before the other by class or priority.
fn is_equal(one: &Candidate, other: &Candidate) -> bool {
    let of = |candidate: &Candidate| (candidate.rank.interactive, candidate.rank.priority);
    of(one) == of(other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uso_engine::{Footprint, Shape};

    use super::*;
    use crate::device::policy::{Rank, Turn};

    const SMALL: Footprint = Footprint { kept: 3, movable: 2, working: 10 };

    /// Two shapes, 1 and 2; a step of so many samples takes so many milliseconds.
    fn priced(milliseconds: &[u64]) -> Shapes {
        let mut shapes = Shapes::default();
        for width in [64, 80] {
            let shape = Shape { width, height: 64, content: None, styles: 0, loras: Vec::new() };
            let step = |samples: usize| Together {
                working: 10 * samples as u64,
                expected: milliseconds.get(samples - 1).map(|took| Duration::from_millis(*took)),
            };
            shapes.number(shape, 4, step, |_| true);
        }
        shapes
    }

    /// It hardly costs more to step several.
    fn cheap() -> Shapes {
        priced(&[100, 110, 120, 130])
    }

    fn waits(id: u64, interactive: bool) -> Candidate {
        Candidate {
            id,
            rank: Rank { interactive, priority: 0, submitted_ms: id },
            begun: false,
            resident: false,
            done: false,
            footprint: SMALL,
            shape: Some(1),
            overtaken: 0,
        }
    }

    fn here(id: u64, interactive: bool) -> Candidate {
        Candidate { begun: true, resident: true, ..waits(id, interactive) }
    }

    fn policy(memory: Option<u64>) -> Policy {
        Policy::new(3, 7, 20, memory)
    }

    fn run(candidates: &[Candidate], shapes: &Shapes) -> Vec<u64> {
        run_by(&policy(None), candidates, shapes)
    }

    fn run_by(policy: &Policy, candidates: &[Candidate], shapes: &Shapes) -> Vec<u64> {
        match policy.next(candidates, shapes) {
            Some(Turn::Run(ids)) => ids,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn as_many_of_a_shape_as_there_are_slots() {
        let four: Vec<_> = (1..=4).map(|id| here(id, false)).collect();
        assert_eq!(run(&four, &cheap()), [1, 2, 3]);
        assert_eq!(run(&four[2..], &cheap()), [3, 4]);
        let alone = Policy::new(1, 7, 20, None);
        assert_eq!(run_by(&alone, &four, &cheap()), [1]);
        let mut limited = cheap();
        limited.limit(1, 2);
        assert_eq!(run(&four, &limited), [1, 2]);
    }

    #[test]
    fn only_equals_step_together() {
        let other = |change: fn(&mut Candidate)| {
            let mut other = here(2, false);
            change(&mut other);
            run(&[here(1, false), other], &cheap())
        };
        assert_eq!(other(|_| {}), [1, 2]);
        assert_eq!(other(|other| other.shape = Some(2)), [1]);
        assert_eq!(other(|other| other.shape = None), [1]);
        assert_eq!(other(|other| other.rank.priority = -1), [1]);
        assert_eq!(other(|other| other.rank.interactive = true), [2]);
        let shapeless = Candidate { shape: None, ..here(1, false) };
        assert_eq!(run(&[shapeless, Candidate { shape: None, ..here(2, false) }], &cheap()), [1]);
    }

    #[test]
    fn what_is_done_is_finished_first_and_the_others_keep_the_turn() {
        let done = Candidate { done: true, ..here(2, false) };
        assert_eq!(run(&[here(1, false), done, here(3, false)], &cheap()), [2, 1, 3]);
        assert_eq!(run(&[done, waits(3, false)], &cheap()), [2], "nothing is begun beside it");
        let too = Candidate { done: true, ..here(3, false) };
        assert_eq!(run(&[done, too], &cheap()), [2, 3], "nor is one that is done set aside");
    }

    #[test]
    fn one_that_waits_is_begun_beside_the_others() {
        assert_eq!(run(&[here(1, false), waits(2, false), waits(3, false)], &cheap()), [2, 1]);
        assert_eq!(run(&[here(1, false), here(2, false), waits(3, false)], &cheap()), [3, 1, 2]);
        assert_eq!(run(&[waits(1, false), waits(2, false)], &cheap()), [1]);
        let full = Policy::new(3, 1, 20, None);
        assert_eq!(run_by(&full, &[here(1, false), waits(2, false)], &cheap()), [1]);
        let hardly = priced(&[100, 199, 298]);
        assert_eq!(run(&[here(1, false), waits(2, false)], &hardly), [1], "it would not pay");
    }

    #[test]
    fn nobody_is_overtaken_for_ever() {
        let other = Candidate { shape: Some(2), ..waits(2, false) };
        let overtaken =
            |overtaken| run(&[here(1, false), Candidate { overtaken, ..other }, waits(3, false)], &cheap());
        assert_eq!([overtaken(0), overtaken(2), overtaken(3)], [vec![3, 1], vec![3, 1], vec![1]]);
        let later = Candidate { shape: Some(2), overtaken: 9, ..waits(4, false) };
        assert_eq!(run(&[here(1, false), later, waits(3, false)], &cheap()), [3, 1], "it came before");
    }

    #[test]
    fn bulk_work_steps_together_if_that_saves_a_twentieth() {
        let two = [here(1, false), here(2, false)];
        assert_eq!(run(&two, &priced(&[100, 189])), [1, 2]);
        assert_eq!(run(&two, &priced(&[100, 191])), [1]);
        assert_eq!(run(&two, &priced(&[])), [1, 2], "nobody knows what it takes");
        let three = [two[0], two[1], here(3, false)];
        assert_eq!(run(&three, &priced(&[100, 150, 299])), [1, 2], "two of them");
    }

    #[test]
    fn interactive_pictures_do_only_if_nobody_waits_longer_on_average() {
        let two = [here(1, true), here(2, true)];
        assert_eq!(run(&two, &priced(&[100, 150])), [1, 2]);
        assert_eq!(run(&two, &priced(&[100, 151])), [1], "one after another: 100 and 200 ms");
        assert_eq!(run(&two, &priced(&[])), [1], "nobody knows what it takes");
    }

    #[test]
    fn as_many_as_memory_allows() {
        let three: Vec<_> = (1..=3).map(|id| here(id, false)).collect();
        // Each keeps 3, of which 1 stays while it is set aside, and works in 10.
        let of = |memory| run_by(&policy(Some(memory)), &three, &cheap());
        assert_eq!((of(39), of(38)), (vec![1, 2, 3], vec![1, 2]));
        assert_eq!((of(27), of(26)), (vec![1, 2], vec![1]));
        let two = [here(1, false), waits(2, false)];
        let of = |memory| run_by(&policy(Some(memory)), &two, &cheap());
        assert_eq!((of(26), of(25)), (vec![2, 1], vec![1]), "one that waits needs the same room");
    }

    #[test]
    fn bulk_keeps_its_share_of_steps_however_many_it_takes_together() {
        let (mut policy, shapes) = (policy(None), cheap());
        let all = [here(1, false), here(2, false), here(3, true)];
        let mut bulk = 0;
        for _ in 0..4000 {
            let ids = run_by(&policy, &all, &shapes);
            let interactive = ids == [3];
            bulk += if interactive { 0 } else { ids.len() };
            policy.stepped(interactive, true, ids.len());
        }
        // One step in 20; two of 40.
        assert!((190..=210).contains(&bulk), "{bulk} of 4000");
    }

    #[test]
    fn a_turn_that_bulk_is_owed_begins_nothing() {
        let mut policy = policy(None);
        (0..19).for_each(|_| policy.stepped(true, true, 1));
        let all = [here(1, false), here(2, false), waits(3, false), here(4, true)];
        assert_eq!(run_by(&policy, &all, &cheap()), [1, 2]);
    }
}
