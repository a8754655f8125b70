//! Whether a job has what its gate needs.

use super::JobSpec;
use super::fields::Fields;
use super::gate::{EarlyGate, Gate, Measure, Thresholds};

impl Gate {
    /// The same gate for a job that has none: without thresholds for which the job lacks a reference or a prompt, and
    /// without an early look at a picture that has no more steps.
    pub fn fitting(&self, spec: &JobSpec) -> Self {
        let fits = |min: &Thresholds| {
            let kept = min.iter().filter(|(measure, _)| missing(**measure, spec).is_none());
            kept.map(|(measure, least)| (*measure, *least)).collect()
        };
        let early = self.early.as_ref().filter(|early| early.step < spec.steps);
        let early = early.map(|early| EarlyGate { step: early.step, min: fits(&early.min) });
        let early = early.filter(|early| !early.min.is_empty());
        Self { min: fits(&self.min), early, ..self.clone() }
    }
}

/// What a job must have for this measure, where it has not.
fn missing(measure: Measure, spec: &JobSpec) -> Option<&'static str> {
    match measure {
        Measure::ClipI | Measure::Dino | Measure::SiglipSubject if spec.content.is_none() => {
            Some("a content reference")
        }
        Measure::Csd | Measure::SiglipStyle if spec.styles.is_empty() => Some("style references"),
        Measure::ClipT if spec.prompt.is_empty() => Some("a prompt"),
        _ => None,
    }
}

impl Fields {
    /// Whether a job has what the thresholds of its gate need. What was refused already is not named again.
    pub(super) fn gate_fits(&mut self, spec: &JobSpec) {
        let Some(gate) = &spec.gate else { return };
        let refused = ["/content", "/styles", "/prompt", "/steps"];
        if self.errors.iter().any(|error| refused.iter().any(|field| error.pointer.starts_with(field))) {
            return;
        }
        let early =
            gate.early.iter().flat_map(|early| early.min.keys().map(|measure| ("early/min", *measure)));
        for (place, measure) in gate.min.keys().map(|measure| ("min", *measure)).chain(early) {
            if let Some(needed) = missing(measure, spec) {
                let message = format!("{} needs {needed}", measure.as_str());
                self.fault(&format!("gate/{place}/{}", measure.as_str()), "out_of_range", message);
            }
        }
        if let Some(early) = gate.early.as_ref().filter(|early| early.step >= spec.steps) {
            let message = format!("{} is not less than the job's {} steps", early.step, spec.steps);
            self.fault("gate/early/step", "out_of_range", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_gate_of_a_data_set_fits_each_row() {
        let gate = Gate::parse(&json!({
            "scorers": ["clip", "csd"], "min": { "clip_i": 0.5, "clip_t": 0.2, "csd": 0.3 }, "tries": 4,
            "early": { "step": 8, "min": { "clip_i": 0.1 } },
        }))
        .unwrap();
        let spec = |body: Value| JobSpec::parse(&body, &crate::Defaults::default()).unwrap();
        let fitting = gate.fitting(&spec(json!({ "prompt": "a cat" })));
        assert_eq!(fitting.min.into_keys().collect::<Vec<_>>(), [Measure::ClipT]);
        assert_eq!((fitting.early, fitting.tries), (None, 4), "there is nothing to look for");
        let content = json!({ "content": "s3://b/k", "steps": 8 });
        assert_eq!(gate.fitting(&spec(content)).early, None, "it has no step after that");
        let all = json!({ "prompt": "a cat", "content": "s3://b/k", "styles": ["s3://b/k"] });
        assert_eq!(gate.fitting(&spec(all)), gate);
    }
}
