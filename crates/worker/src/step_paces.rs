//! How long steps of each size take: a forecast for other sizes would be a guess.

use std::sync::{Mutex, PoisonError};

use uso_queue::{JobSpec, MAX_STEP_PACES, StepPace};

/// How long steps of each size take of late, the newest size first.
#[derive(Debug, Default)]
pub(crate) struct StepPaces(Mutex<Vec<StepPace>>);

impl StepPaces {
    /// Takes note of a job with so many steps, which took so many milliseconds together. One that took its size from a
    /// reference, or that has skipped steps, tells nothing of others.
    pub(crate) fn note(&self, spec: &JobSpec, steps: u32, milliseconds: f64) {
        if steps == 0 || spec.keep_size || spec.step_cache > 0.0 {
            return;
        }
        let content_size = if spec.content.is_some() { spec.content_size } else { 0 };
        let (width, height, styles) = (spec.width, spec.height, spec.styles.len() as u32);
        let new = StepPace { width, height, content_size, styles, step_ms: milliseconds / f64::from(steps) };
        let is_same = |pace: &StepPace| StepPace { step_ms: new.step_ms, ..*pace } == new;
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = paces.iter().position(is_same).map(|place| paces.remove(place).step_ms);
        let step_ms = before.map_or(new.step_ms, |before| before + (new.step_ms - before) / 8.0);
        paces.truncate(MAX_STEP_PACES - 1);
        paces.insert(0, StepPace { step_ms, ..new });
    }

    pub(crate) fn all(&self) -> Vec<StepPace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uso_queue::Defaults;

    use super::*;

    fn spec(body: Value) -> JobSpec {
        JobSpec::parse(&body, &Defaults::default()).unwrap()
    }

    #[test]
    fn each_size_has_a_pace_and_the_oldest_go() {
        let paces = StepPaces::default();
        let small = spec(json!({ "width": 64, "height": 48, "seed": 1 }));
        paces.note(&small, 10, 1000.0);
        paces.note(&small, 10, 1800.0);
        paces.note(&small, 0, 5.0);
        paces.note(&spec(json!({ "keep_size": true, "content": "s3://a/b", "seed": 1 })), 1, 5.0);
        let pace = StepPace { width: 64, height: 48, content_size: 0, styles: 0, step_ms: 110.0 };
        assert_eq!(paces.all(), [pace]);
        for side in 1..=MAX_STEP_PACES as u32 {
            let body =
                json!({ "width": 16 * side, "styles": ["s3://a/c"], "content": "s3://a/b", "seed": 1 });
            paces.note(&spec(body), 2, 80.0);
        }
        let all = paces.all();
        assert_eq!(all.len(), MAX_STEP_PACES);
        let newest = StepPace { width: 256, height: 1024, content_size: 512, styles: 1, step_ms: 40.0 };
        assert_eq!((all[0], all.contains(&pace)), (newest, false));
    }
}
