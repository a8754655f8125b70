//! Which combinations are left when some are excluded.

use super::axes::Axes;
use super::exclude::{Rule, excludes};

/// Most combinations of a grid that excludes some: they are all looked at once.
pub const MAX_COMBINATIONS: u64 = 100_000_000;
/// Combinations between two marks.
const BLOCK: u64 = 256;

/// How many combinations are kept before each block of them.
#[derive(Debug)]
pub(super) struct Kept {
    before: Vec<u64>,
    all: u64,
}

impl Kept {
    pub(super) fn count(axes: &Axes, rules: &[Rule]) -> Result<Self, String> {
        let combinations = axes.combinations();
        if combinations > MAX_COMBINATIONS {
            let limit = format!("a grid with `exclude` has at most {MAX_COMBINATIONS}");
            return Err(format!("{combinations} combinations; {limit}"));
        }
        let (mut before, mut all) = (Vec::new(), 0);
        for combination in 0..combinations {
            if combination % BLOCK == 0 {
                before.push(all);
            }
            all += u64::from(!excludes(rules, &axes.point(combination)));
        }
        Ok(Self { before, all })
    }

    pub(super) fn len(&self) -> u64 {
        self.all
    }

    /// The combination that is kept as number `n`, from 0.
    pub(super) fn nth(&self, n: u64, axes: &Axes, rules: &[Rule]) -> Option<u64> {
        let block = self.before.partition_point(|before| *before <= n).checked_sub(1)?;
        let left = n - self.before.get(block)?;
        let first = block as u64 * BLOCK;
        let kept = (first..axes.combinations()).filter(|number| !excludes(rules, &axes.point(*number)));
        kept.take(BLOCK as usize).nth(usize::try_from(left).ok()?)
    }
}
