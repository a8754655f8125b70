//! What each side of a comparison reached, round by round.

use crate::figure::written;

/// Values of several sides, by name, in the order in which they first came.
#[derive(Default)]
pub(crate) struct Sides(Vec<(&'static str, Vec<f64>)>);

impl Sides {
    /// Adds a round's value; a side that is not there has none.
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<Option<f64>>) {
        let Some(value) = value.into() else { return };
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name, vec![value])),
        }
    }

    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        let (_, values) = self.0.iter().find(|(known, _)| *known == name)?;
        quantile(values, 0.5)
    }

    /// How many times the other side's median one side's is.
    pub(crate) fn ratio(&self, name: &str, other: &str) -> Option<f64> {
        Some(self.median(name)? / self.median(other)?)
    }

    /// All medians with their spread.
    pub(crate) fn describe(&self, what: &str) -> String {
        let side = |(name, values): &(&str, Vec<f64>)| {
            let at = |q| quantile(values, q).map_or_else(String::new, written);
            format!("{name} {} ({} to {})", at(0.5), at(0.0), at(1.0))
        };
        format!("{what}: {}", self.0.iter().map(side).collect::<Vec<_>>().join(", "))
    }
}

/// The value that a share `q` of all values do not exceed.
pub(crate) fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len().saturating_sub(1) as f64 * q).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::{Sides, quantile};

    #[test]
    fn ratios_are_of_medians_and_missing_sides_have_none() {
        let mut sides = Sides::default();
        for value in [4.0, 100.0, 6.0] {
            sides.add("ours", value);
        }
        sides.add("theirs", 2.0);
        sides.add("absent", None);
        assert_eq!(sides.ratio("ours", "theirs"), Some(3.0));
        assert_eq!(sides.ratio("ours", "absent"), None);
        assert_eq!(quantile(&[], 0.5), None);
    }
}
