//! Which rows of a manifest are new.

use std::ops::Range;

/// Which rows of a manifest are new, by their number from 0: runs of them, because new rows mostly lie together.
#[derive(Debug, Default)]
pub(super) struct NewRows {
    runs: Vec<Range<u64>>,
}

impl NewRows {
    /// All rows are new.
    pub(super) fn everything() -> Self {
        Self { runs: vec![Range { start: 0, end: u64::MAX }] }
    }

    /// Notes a new row; numbers must rise.
    pub(super) fn add(&mut self, row: u64) {
        match self.runs.last_mut() {
            Some(run) if run.end == row => run.end = row + 1,
            _ => self.runs.push(row..row + 1),
        }
    }

    /// Whether a row is new.
    pub(super) fn contains(&self, row: u64) -> bool {
        let after = self.runs.partition_point(|run| run.start <= row);
        after.checked_sub(1).is_some_and(|before| self.runs[before].contains(&row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_rows_are_kept_as_runs() {
        let mut new = NewRows::default();
        [2, 3, 4, 7, 9, 10].into_iter().for_each(|row| new.add(row));
        assert_eq!(new.runs, [2..5, 7..8, 9..11]);
        let found: Vec<u64> = (0..12).filter(|row| new.contains(*row)).collect();
        assert_eq!(found, [2, 3, 4, 7, 9, 10]);
        assert!(!NewRows::default().contains(0) && NewRows::everything().contains(0));
    }
}
