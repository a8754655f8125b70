//! Which sample gets the device next: pure rules, asked anew at each step boundary.

mod company;

use std::cmp::Reverse;

use uso_engine::Footprint;

use super::shapes::Shapes;

/// How urgent a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// Whether somebody waits for it.
    pub interactive: bool,
    /// Higher first.
    pub priority: i32,
    /// When its job was accepted, in milliseconds since the epoch: the lower first.
    pub submitted_ms: u64,
}

/// What the policy knows of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// The sample's name.
    pub(super) id: u64,
    pub(super) rank: Rank,
    /// Whether any of its steps is done, or could be: it has been encoded before.
    pub(super) begun: bool,
    /// Whether it lies on the device now, if only with what stays there while it is set aside.
    pub(super) resident: bool,
    /// Whether all its steps are done: only its picture is to be made.
    pub(super) done: bool,
    pub(super) footprint: Footprint,
    /// The number of its shape; none if it is stepped alone.
    pub(super) shape: Option<u64>,
    /// How many that came later were begun before it.
    pub(super) overtaken: u32,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// The first of these samples is begun, stepped or finished. If it is stepped, the others step with it; else they
    /// wait for it, and keep the turn.
    Run(Vec<u64>),
    /// This sample leaves the device's memory, for one that is more urgent; then ask again.
    PutOff(u64),
}

/// The limits, and what must be remembered between turns.
#[derive(Debug)]
pub(super) struct Policy {
    /// Samples of one shape that may be stepped together.
    slots: usize,
    /// Samples that may be begun at once: the one that is stepped, and those that are set aside.
    most_begun: usize,
    /// While bulk work waits, it gets one step in this many.
    bulk_every: u32,
    /// Bytes that samples may take together; none if anything fits.
    memory: Option<u64>,
    /// Interactive steps that bulk work has waited for, less those it has been paid for.
    waited: i64,
}

impl Policy {
    pub(super) fn new(slots: usize, most_begun: usize, bulk_every: u32, memory: Option<u64>) -> Self {
        Self { slots, most_begun: most_begun.max(1), bulk_every: bulk_every.max(1), memory, waited: 0 }
    }

    /// Samples of one shape that may be stepped together.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// From now on every sample is stepped alone.
    pub(super) fn step_alone(&mut self) {
        self.slots = 1;
    }

    /// Whether a sample can ever fit here.
    pub(super) fn fits_alone(&self, footprint: Footprint) -> bool {
        self.fits([].into_iter(), footprint)
    }

    /// What comes next. Interactive before bulk, unless bulk has waited for its share; then the higher
    /// priority; then what is done but for its picture; then what has been begun, because changing over gains nothing;
    /// then the older. Others of its shape come along if that pays.
    pub(super) fn next(&self, candidates: &[Candidate], shapes: &Shapes) -> Option<Turn> {
        let may_run = |candidate: &&Candidate| candidate.begun || self.may_begin_another(candidates);
        let wanted = candidates.iter().filter(may_run).max_by_key(|candidate| self.order(candidate))?;
        if wanted.resident || self.fits_beside(candidates, wanted) {
            return Some(Turn::Run(self.in_company(candidates, wanted, shapes)));
        }
        let residents = candidates.iter().filter(|candidate| candidate.resident);
        let last = residents.min_by_key(|candidate| self.order(candidate));
        Some(last.map_or_else(|| Turn::Run(vec![wanted.id]), |last| Turn::PutOff(last.id)))
    }

    /// Takes note of a step that so many samples did together. Steps that nobody waited for count for bulk too, but at
    /// most one turn's worth: an hour of bulk work buys no hour without it.
    pub(super) fn stepped(&mut self, interactive: bool, bulk_waits: bool, samples: usize) {
        let samples = samples as i64;
        let turn = samples * (i64::from(self.bulk_every) - 1);
        match (interactive, bulk_waits) {
            (true, true) => self.waited += samples,
            (true, false) => self.waited = 0,
            (false, _) => self.waited = (self.waited - turn).max(-turn),
        }
    }

    fn may_begin_another(&self, candidates: &[Candidate]) -> bool {
        candidates.iter().filter(|candidate| candidate.begun).count() < self.most_begun
    }

    /// The greatest comes first.
    fn order(&self, candidate: &Candidate) -> impl Ord + use<> {
        let Rank { interactive, priority, submitted_ms } = candidate.rank;
        let Candidate { done, begun, id, .. } = *candidate;
        (interactive != self.bulk_is_owed(), priority, done, begun, Reverse(submitted_ms), Reverse(id))
    }

    fn bulk_is_owed(&self) -> bool {
        self.waited >= i64::from(self.bulk_every) - 1
    }

    fn fits_beside(&self, candidates: &[Candidate], wanted: &Candidate) -> bool {
        let residents = candidates.iter().filter(|candidate| candidate.resident);
        self.fits(residents.map(|candidate| candidate.footprint), wanted.footprint)
    }

    /// All resident samples but the one whose turn it is are set aside; any of them may have the next.
    fn fits(&self, residents: impl Iterator<Item = Footprint>, newcomer: Footprint) -> bool {
        let Some(memory) = self.memory else { return true };
        let (aside, turn) = residents.fold((newcomer.aside(), newcomer.turn()), |(aside, turn), other| {
            (aside.saturating_add(other.aside()), turn.max(other.turn()))
        });
        aside.saturating_add(turn) <= memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Footprint = Footprint { kept: 1, movable: 0, working: 10 };

    fn sample(id: u64, interactive: bool) -> Candidate {
        let rank = Rank { interactive, priority: 0, submitted_ms: id };
        Candidate {
            id,
            rank,
            begun: false,
            resident: false,
            done: false,
            footprint: SMALL,
            shape: None,
            overtaken: 0,
        }
    }

    fn on_device(candidate: Candidate) -> Candidate {
        Candidate { begun: true, resident: true, ..candidate }
    }

    fn with_priority(mut candidate: Candidate, priority: i32) -> Candidate {
        candidate.rank.priority = priority;
        candidate
    }

    fn next(candidates: &[Candidate]) -> Option<Turn> {
        Policy::new(1, 5, 20, None).next(candidates, &Shapes::default())
    }

    /// What comes next with so much memory.
    fn within(memory: u64, candidates: &[Candidate]) -> Option<Turn> {
        Policy::new(1, 5, 20, Some(memory)).next(candidates, &Shapes::default())
    }

    #[test]
    fn interactive_goes_first_then_priority_then_age() {
        assert_eq!(next(&[]), None);
        assert_eq!(next(&[on_device(sample(1, false)), sample(2, true)]), Some(Turn::Run(vec![2])));
        let urgent = with_priority(sample(2, false), 1);
        assert_eq!(next(&[on_device(sample(1, false)), urgent]), Some(Turn::Run(vec![2])));
        assert_eq!(next(&[with_priority(sample(1, false), 9), sample(2, true)]), Some(Turn::Run(vec![2])));
        assert_eq!(next(&[sample(2, true), sample(1, true)]), Some(Turn::Run(vec![1])));
    }

    #[test]
    fn equals_do_not_take_the_device_from_each_other() {
        assert_eq!(next(&[sample(1, true), on_device(sample(2, true))]), Some(Turn::Run(vec![2])));
        assert_eq!(next(&[on_device(sample(1, true)), on_device(sample(2, true))]), Some(Turn::Run(vec![1])));
    }

    #[test]
    fn only_so_many_are_begun() {
        let bulk: Vec<_> = (1..=4).map(|id| on_device(sample(id, false))).collect();
        let mut all = bulk.clone();
        all.push(on_device(sample(5, true)));
        all.push(with_priority(sample(6, true), 9));
        assert_eq!(next(&all), Some(Turn::Run(vec![5])), "a sixth was begun");
        all.remove(4);
        assert_eq!(next(&all), Some(Turn::Run(vec![6])));
    }

    #[test]
    fn what_is_less_urgent_makes_room_in_memory() {
        let policy = Policy::new(1, 5, 20, Some(12));
        let two = [on_device(sample(1, false)), sample(2, true)];
        assert_eq!(
            policy.next(&two, &Shapes::default()),
            Some(Turn::Run(vec![2])),
            "two that keep 1 and work in 10 fit into 12"
        );
        let three = [on_device(sample(1, false)), on_device(sample(2, false)), sample(3, true)];
        assert_eq!(policy.next(&three, &Shapes::default()), Some(Turn::PutOff(2)));
        assert!(policy.fits_alone(SMALL));
        assert!(!policy.fits_alone(Footprint { kept: 3, ..SMALL }));
        assert!(!policy.fits_alone(Footprint { kept: u64::MAX, working: u64::MAX, ..SMALL }));
    }

    #[test]
    fn what_is_set_aside_counts_without_what_leaves_the_device() {
        let large = Footprint { kept: 5, movable: 4, working: 7 };
        let with = |candidate: Candidate, footprint| Candidate { footprint, ..candidate };
        let two = [with(on_device(sample(1, false)), large), with(sample(2, true), SMALL)];
        let three = [two[0], with(on_device(sample(2, false)), large), with(sample(3, true), large)];
        // Each holds 1 while it is set aside, and 11 more while it has its turn.
        assert_eq!(within(13, &two), Some(Turn::Run(vec![2])));
        assert_eq!(within(12, &two), Some(Turn::PutOff(1)), "the first has turns too");
        assert_eq!(within(14, &three), Some(Turn::Run(vec![3])));
        assert_eq!(within(13, &three), Some(Turn::PutOff(2)));
        assert!(Policy::new(1, 5, 20, Some(12)).fits_alone(large));
        assert!(!Policy::new(1, 5, 20, Some(11)).fits_alone(large));
    }

    /// Steps in virtual time: `interactive` says whether an interactive sample is there at a step.
    fn bulk_share(policy: &mut Policy, steps: usize, interactive: impl Fn(usize) -> bool) -> f64 {
        let mut bulk = 0;
        for step in 0..steps {
            let mut candidates = vec![on_device(sample(1, false))];
            candidates.extend(interactive(step).then(|| on_device(sample(2, true))));
            let Some(Turn::Run(ids)) = policy.next(&candidates, &Shapes::default()) else {
                panic!("the device waits")
            };
            bulk += usize::from(ids == [1]);
            policy.stepped(ids == [2], true, 1);
        }
        bulk as f64 / steps as f64
    }

    #[test]
    fn bulk_keeps_its_share_under_a_flood() {
        assert_eq!(bulk_share(&mut Policy::new(1, 5, 20, None), 2000, |_| true), 0.05);
        assert_eq!(bulk_share(&mut Policy::new(1, 5, 4, None), 2000, |_| true), 0.25);
        assert_eq!(bulk_share(&mut Policy::new(1, 5, 1, None), 2000, |_| true), 1.0);
    }

    #[test]
    fn gaps_between_interactive_pictures_count_for_bulk() {
        let share = bulk_share(&mut Policy::new(1, 5, 20, None), 26_000, |step| !step.is_multiple_of(26));
        assert!((0.0499..0.0501).contains(&share), "{share}");
    }

    #[test]
    fn a_long_time_alone_buys_bulk_nothing_and_costs_it_little() {
        let mut policy = Policy::new(1, 5, 20, None);
        bulk_share(&mut policy, 1000, |_| false);
        let first = (1..).find(|_| bulk_share(&mut policy, 1, |_| true) > 0.0).unwrap();
        assert_eq!(first, 39, "one turn's worth in advance, and the one that is due");
        // Interactive work alone owes bulk nothing.
        for _ in 0..1000 {
            policy.stepped(true, false, 1);
        }
        let first = (1..).find(|_| bulk_share(&mut policy, 1, |_| true) > 0.0).unwrap();
        assert_eq!(first, 20);
    }
}
