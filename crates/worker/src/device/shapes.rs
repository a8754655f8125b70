//! What steps of samples of one shape together take.

use uso_engine::{Shape, Together};

/// Shapes that are remembered while no sample has them.
const MOST_SHAPES: usize = 256;

/// The shapes of samples, each with a number.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    numbers: u64,
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    number: u64,
    shape: Shape,
    /// Of one sample, of two, and so on, as far as they may be stepped together.
    steps: Vec<Together>,
}

impl Shapes {
    /// The number of a shape. `step` is asked what steps of one sample, two and so on take, up to `slots`, if the shape
    /// is new. Others are forgotten if there are many and they are not `used`.
    pub(super) fn number(
        &mut self,
        shape: Shape,
        slots: usize,
        step: impl Fn(usize) -> Together,
        used: impl Fn(u64) -> bool,
    ) -> u64 {
        if let Some(known) = self.known.iter().find(|known| known.shape == shape) {
            return known.number;
        }
        if self.known.len() >= MOST_SHAPES {
            self.known.retain(|known| used(known.number));
        }
        self.numbers += 1;
        self.known.push(Known { number: self.numbers, shape, steps: (1..=slots).map(step).collect() });
        self.numbers
    }

    /// What a step of so many samples takes; none if they may not be stepped together.
    pub(super) fn step(&self, number: u64, samples: usize) -> Option<Together> {
        let known = self.known.iter().find(|known| known.number == number)?;
        known.steps.get(samples.checked_sub(1)?).copied()
    }

    /// From now on at most so many are stepped together.
    pub(super) fn limit(&mut self, number: u64, most: usize) {
        if let Some(known) = self.known.iter_mut().find(|known| known.number == number) {
            known.steps.truncate(most.max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(width: u32) -> Shape {
        Shape { width, height: 64, content: None, styles: 0, loras: Vec::new() }
    }

    #[test]
    fn a_shape_is_priced_once_and_may_be_limited() {
        let mut shapes = Shapes::default();
        let step = |samples| Together { working: 10 * samples as u64, expected: None };
        let first = shapes.number(shape(64), 3, step, |_| true);
        let other = shapes.number(shape(80), 3, step, |_| true);
        assert_ne!(first, other);
        assert_eq!(shapes.number(shape(64), 3, |_| panic!("it is known"), |_| true), first);
        let working = |shapes: &Shapes, samples| shapes.step(first, samples).map(|step| step.working);
        assert_eq!([0, 1, 3, 4].map(|samples| working(&shapes, samples)), [None, Some(10), Some(30), None]);
        shapes.limit(first, 0);
        assert_eq!((working(&shapes, 1), working(&shapes, 2)), (Some(10), None));
        assert!(shapes.step(other, 3).is_some());
    }

    #[test]
    fn shapes_that_no_sample_has_are_forgotten_when_there_are_many() {
        let mut shapes = Shapes::default();
        let used = shapes.number(shape(16), 2, |_| Together::default(), |_| true);
        for i in 0..2 * MOST_SHAPES as u32 {
            shapes.number(shape(32 + i), 2, |_| Together::default(), |number| number == used);
        }
        assert!(shapes.known.len() <= MOST_SHAPES);
        assert!(shapes.step(used, 2).is_some());
    }
}
