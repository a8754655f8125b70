//! The quality gate of a job: who scores its picture, what it must reach, and how often it is sampled for that.

mod measure;
mod read;
mod schema;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::measure::PREFIX;
pub use self::measure::{Measure, Scorer};
pub(super) use self::schema::schema;
use super::fields::{FieldError, Fields, error};
use crate::Try;

/// Pictures that may be sampled for one job.
pub const TRIES: RangeInclusive<i64> = 1..=16;

/// The least that a picture must reach, for each measure that has a threshold.
pub type Thresholds = BTreeMap<Measure, f64>;

/// A quality gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Who scores the picture.
    pub scorers: Vec<Scorer>,
    /// What the picture must reach at least; with nothing here it is only scored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub min: Thresholds,
    /// Pictures that are sampled at most until one reaches it.
    pub tries: u32,
    /// Whether the job succeeds with the best picture if none reaches it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_best: bool,
    /// A look at unfinished pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early: Option<EarlyGate>,
}

/// A look at an unfinished picture, to drop one that is hopeless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyGate {
    /// After how many steps.
    pub step: u32,
    /// What the predicted picture must reach at least by then.
    pub min: Thresholds,
}

impl Gate {
    /// Reads a gate that is no job's, for example that of a data set's settings. Thresholds that a job cannot have are
    /// [left out](Gate::fitting) there.
    ///
    /// # Errors
    /// Every bad field at once.
    pub fn parse(value: &Value) -> Result<Self, Vec<FieldError>> {
        let Value::Object(left) = value else {
            return Err(vec![error("", "wrong_type", "must be an object with scorers")]);
        };
        let mut fields = Fields::of(left.clone());
        let scorers = fields.scorers();
        let gate = Self {
            min: fields.thresholds(&scorers),
            tries: fields.integer("tries", &TRIES, 1) as u32,
            keep_best: fields.boolean("keep_best"),
            early: fields.early(&scorers),
            scorers,
        };
        fields.finish().map(|()| gate)
    }

    /// How many of these tries did not reach each measure's threshold; that of the early look, for one that was dropped
    /// there. The try that was taken is left out.
    pub fn rejections(&self, tries: &[Try], taken: Option<u32>) -> BTreeMap<Measure, u64> {
        let mut rejected = BTreeMap::new();
        for (_, ended) in (0..).zip(tries).filter(|(number, _)| taken != Some(*number)) {
            let early = self.early.as_ref().filter(|_| ended.dropped.is_some());
            for (measure, least) in early.map_or(&self.min, |early| &early.min) {
                if ended.scores.get(measure).is_none_or(|value| value < least) {
                    *rejected.entry(*measure).or_default() += 1;
                }
            }
        }
        rejected
    }

    /// The seed of a try, from 0: the job's own for the first; for a later one the low 32 bits of that output of the
    /// generator SplitMix64 (Steele, Lea and Flood, 2014) which begins with the job's seed.
    pub fn seed_of(seed: u64, number: u32) -> u64 {
        if number == 0 {
            return seed;
        }
        let mut z = seed.wrapping_add(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 0xffff_ffff
    }
}

/// By how much scores are above thresholds, where they are the least above: each measure's difference, and for sharpness
/// the difference as a share of the threshold. Negative if a threshold is not reached; minus infinity if its score is not
/// there; infinity without thresholds.
pub fn smallest_margin(scores: &BTreeMap<Measure, f64>, min: &Thresholds) -> f64 {
    let margins = min.iter().map(|(measure, least)| {
        scores.get(measure).map_or(f64::NEG_INFINITY, |value| measure.margin(*value, *least))
    });
    margins.fold(f64::INFINITY, f64::min)
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_tries_are_those_of_the_generator() {
        assert_eq!(Gate::seed_of(7, 0), 7);
        // The first outputs of SplitMix64 from 0, as published: e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f.
        assert_eq!([1, 2, 3].map(|n| Gate::seed_of(0, n)), [0x7b1d_cdaf, 0xa1b9_65f4, 0x8009_454f]);
    }

    #[test]
    fn the_smallest_margin_decides() {
        let scores = BTreeMap::from([(Measure::Dino, 0.5), (Measure::Sharpness, 90.0)]);
        let margin = |min: &[(Measure, f64)]| smallest_margin(&scores, &min.iter().copied().collect());
        assert_eq!(margin(&[]), f64::INFINITY);
        assert_eq!(margin(&[(Measure::Dino, 0.25)]), 0.25);
        assert_eq!(margin(&[(Measure::Dino, 0.5)]), 0.0, "the threshold itself is reached");
        assert!((margin(&[(Measure::Dino, 0.25), (Measure::Sharpness, 100.0)]) + 0.1).abs() < 1e-9);
        assert_eq!(margin(&[(Measure::ClipI, -1.0)]), f64::NEG_INFINITY, "nobody has looked");
    }
}
