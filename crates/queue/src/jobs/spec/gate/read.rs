//! How the fields of a gate are read: every fault is named.

use serde_json::Value;

use super::super::fields::{FieldError, Fields};
use super::{EarlyGate, Gate, Measure, Scorer, Thresholds};
use crate::STEPS;

impl Fields {
    /// The gate of a job, which must have what the thresholds need.
    pub(in crate::jobs::spec) fn gate(&mut self) -> Option<Gate> {
        let value = self.take("gate")?;
        match Gate::parse(&value) {
            Ok(gate) => Some(gate),
            Err(errors) => {
                let inside =
                    |error: FieldError| FieldError { pointer: format!("/gate{}", error.pointer), ..error };
                self.errors.extend(errors.into_iter().map(inside));
                None
            }
        }
    }

    pub(super) fn scorers(&mut self) -> Vec<Scorer> {
        let values = match self.take("scorers") {
            Some(Value::Array(values)) if !values.is_empty() => values,
            None | Some(Value::Array(_)) => {
                self.fault("scorers", "out_of_range", "at least one scorer is needed");
                return Vec::new();
            }
            Some(_) => {
                self.fault("scorers", "wrong_type", "must be an array of names");
                return Vec::new();
            }
        };
        let mut scorers = Vec::new();
        for (i, value) in values.iter().enumerate().take(2 * Scorer::ALL.len()) {
            let found = Scorer::ALL.into_iter().find(|scorer| Some(scorer.as_str()) == value.as_str());
            match found {
                Some(scorer) if scorers.contains(&scorer) => {
                    self.fault(&format!("scorers/{i}"), "twice", "is asked for twice");
                }
                Some(scorer) => scorers.push(scorer),
                None => {
                    let words = Scorer::ALL.map(Scorer::as_str).join(", ");
                    let message = format!("must be one of: {words}");
                    self.fault(&format!("scorers/{i}"), "not_a_choice", message);
                }
            }
        }
        if scorers.contains(&Scorer::Bundled) && scorers.len() > 1 {
            self.fault("scorers", "out_of_range", "bundled goes with no other scorer");
        }
        scorers
    }

    pub(super) fn thresholds(&mut self, scorers: &[Scorer]) -> Thresholds {
        let left = match self.take("min") {
            None => return Thresholds::new(),
            Some(Value::Object(left)) => left,
            Some(_) => {
                self.fault("min", "wrong_type", "must be an object of thresholds");
                return Thresholds::new();
            }
        };
        let mut fields = Fields::of(left);
        let mut min = Thresholds::new();
        for measure in Measure::THRESHOLDS {
            let name = measure.as_str();
            let before = fields.errors.len();
            // A threshold has no default: what is not a number is left out.
            let value = fields.number(name, &measure.range(), f64::NAN);
            if value.is_nan() {
                continue;
            }
            match measure.scorer().filter(|scorer| !scorers.contains(scorer)) {
                Some(scorer) if fields.errors.len() == before => {
                    let message = format!("{name} needs the scorer {}", scorer.as_str());
                    fields.fault(name, "out_of_range", message);
                }
                _ => drop(min.insert(measure, value)),
            }
        }
        if let Err(errors) = fields.finish() {
            let inside =
                |error: FieldError| FieldError { pointer: format!("/min{}", error.pointer), ..error };
            self.errors.extend(errors.into_iter().map(inside));
        }
        min
    }

    pub(super) fn early(&mut self, scorers: &[Scorer]) -> Option<EarlyGate> {
        let Value::Object(left) = self.take("early")? else {
            self.fault("early", "wrong_type", "must be an object with step and min");
            return None;
        };
        let mut fields = Fields::of(left);
        let steps = STEPS;
        let step = fields.integer("step", &(1..=steps.end() - 1), 0) as u32;
        if step == 0 && fields.errors.is_empty() {
            fields.fault("step", "out_of_range", "the number of steps is needed");
        }
        let min = fields.thresholds(scorers);
        if min.is_empty() && fields.errors.is_empty() {
            fields.fault("min", "out_of_range", "at least one threshold is needed");
        }
        let Err(errors) = fields.finish() else { return Some(EarlyGate { step, min }) };
        let inside = |error: FieldError| FieldError { pointer: format!("/early{}", error.pointer), ..error };
        self.errors.extend(errors.into_iter().map(inside));
        None
    }
}
