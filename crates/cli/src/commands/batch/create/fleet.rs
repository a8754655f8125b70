//! What the fleet says about itself.

use anyhow::Context as _;
use serde_json::Value;
use uso_queue::Defaults;

use super::super::Batches;

/// Largest picture that is read where the fleet does not say what it takes, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// What the fleet says about itself.
pub(super) struct FleetFacts {
    /// What rows get that leave a field out.
    pub(super) defaults: Defaults,
    /// Largest picture that may be uploaded, in bytes.
    pub(super) max_bytes: u64,
    /// Why nothing is known of the fleet.
    pub(super) unknown: Option<String>,
}

/// What workers report, on average.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Paces {
    /// Workers that take bulk work.
    pub(super) workers: u32,
    /// Seconds of a step.
    pub(super) step: Option<f64>,
    /// Seconds of a job beside its steps.
    pub(super) beside: Option<f64>,
}

impl FleetFacts {
    /// Nothing is known.
    pub(super) fn unknown(why: &str) -> Self {
        Self { defaults: Defaults::default(), max_bytes: MAX_BYTES, unknown: Some(why.to_owned()) }
    }

    fn read(capabilities: &Value) -> Option<Self> {
        let defaults = &capabilities["defaults"];
        let number = |name: &str| defaults[name].as_u64().and_then(|number| u32::try_from(number).ok());
        let limits = &capabilities["limits"];
        Some(Self {
            defaults: Defaults {
                width: number("width")?,
                height: number("height")?,
                content_size: number("content_size")?,
                steps: number("steps")?,
                guidance: defaults["guidance"].as_f64()?,
                max_step_cache: limits["step_cache"][1].as_f64()?,
            },
            max_bytes: limits["upload_bytes"].as_u64()?,
            unknown: None,
        })
    }
}

impl Paces {
    fn read(workers: &Value) -> Self {
        let takes_bulk = |worker: &&Value| {
            let classes = worker["classes"].as_array();
            worker["state"] == "ready"
                && classes.is_some_and(|classes| classes.iter().any(|class| class == "bulk"))
        };
        let workers: Vec<&Value> =
            workers["workers"].as_array().into_iter().flatten().filter(takes_bulk).collect();
        let mean = |name: &str| {
            let known: Vec<f64> = workers.iter().filter_map(|worker| worker[name].as_f64()).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64 / 1000.0)
        };
        Self { workers: workers.len() as u32, step: mean("step_ms"), beside: mean("beside_ms") }
    }
}

impl Batches {
    pub(super) async fn facts(&self) -> anyhow::Result<FleetFacts> {
        let capabilities = self.client.get("/v1/capabilities").await?;
        FleetFacts::read(&capabilities).context("the API's answer about its limits is not understood")
    }

    pub(super) async fn paces(&self) -> anyhow::Result<Paces> {
        Ok(Paces::read(&self.client.get("/v1/workers").await?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_workers_that_take_bulk_work_count() {
        let workers = json!({ "workers": [
            { "state": "ready", "classes": ["interactive", "bulk"], "step_ms": 100.0, "beside_ms": 500.0 },
            { "state": "ready", "classes": ["bulk"], "step_ms": 300.0, "beside_ms": null },
            { "state": "ready", "classes": ["interactive"], "step_ms": 9000.0, "beside_ms": 1.0 },
            { "state": "draining", "classes": ["bulk"], "step_ms": 9000.0, "beside_ms": 1.0 },
        ]});
        assert_eq!(Paces::read(&workers), Paces { workers: 2, step: Some(0.2), beside: Some(0.5) });
        assert_eq!(Paces::read(&json!({ "workers": [] })), Paces::default());
    }

    #[test]
    fn the_fleets_defaults_are_those_of_rows() {
        let facts = FleetFacts::read(&json!({
            "defaults": { "width": 64, "height": 48, "steps": 8, "guidance": 3.5, "content_size": 32 },
            "limits": { "step_cache": [0.0, 0.25], "upload_bytes": 1000 },
        }))
        .unwrap();
        assert_eq!((facts.defaults.width, facts.defaults.steps, facts.max_bytes), (64, 8, 1000));
        assert_eq!((facts.defaults.guidance, facts.defaults.max_step_cache), (3.5, 0.25));
        assert!(FleetFacts::read(&json!({})).is_none());
    }
}
