//! What the fleet says about itself.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::Value;
use uso_dataset::rows::Size;
use uso_queue::{Defaults, Window};

use super::super::Batches;

/// Largest picture that is read where the fleet does not say what it takes, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// What the fleet says about itself.
pub(super) struct FleetFacts {
    /// What rows get that leave a field out.
    pub(super) defaults: Defaults,
    /// Largest picture that may be uploaded, in bytes.
    pub(super) max_bytes: u64,
    /// When bulk work runs; at all times without one.
    pub(super) window: Option<Window>,
    /// Why nothing is known of the fleet.
    pub(super) unknown: Option<String>,
}

/// What workers report, on average.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Paces {
    /// Workers that take bulk work.
    pub(super) workers: u32,
    /// Seconds of a step of whatever size.
    pub(super) step: Option<f64>,
    /// Seconds of a step of each size that some of them have made.
    pub(super) sizes: BTreeMap<Size, f64>,
    /// Whether none of them tells its sizes: they are of a version before.
    pub(super) is_sizeless: bool,
    /// Seconds of a job beside its steps.
    pub(super) beside: Option<f64>,
}

impl FleetFacts {
    /// Nothing is known.
    pub(super) fn unknown(why: &str) -> Self {
        Self {
            defaults: Defaults::default(),
            max_bytes: MAX_BYTES,
            window: None,
            unknown: Some(why.to_owned()),
        }
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
            window: window(&capabilities["bulk_window"])?,
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
        let (step, sizes) = (mean("step_ms"), sizes(&workers));
        let is_sizeless = step.is_some() && sizes.is_empty();
        Self { workers: workers.len() as u32, step, sizes, is_sizeless, beside: mean("beside_ms") }
    }

    /// Seconds of a step of this size, as somebody has measured them.
    pub(super) fn step_of(&self, size: &Size) -> Option<f64> {
        if self.is_sizeless { self.step } else { self.sizes.get(size).copied() }
    }
}

/// Seconds of a step of each size, on average over workers.
fn sizes(workers: &[&Value]) -> BTreeMap<Size, f64> {
    let mut sums: BTreeMap<Size, (f64, f64)> = BTreeMap::new();
    for pace in workers.iter().flat_map(|worker| worker["step_paces"].as_array().into_iter().flatten()) {
        let number = |name: &str| pace[name].as_u64().and_then(|number| u32::try_from(number).ok());
        let size = || {
            let (width, height) = (number("width")?, number("height")?);
            Some(Size { width, height, content_size: number("content_size")?, styles: number("styles")? })
        };
        if let (Some(size), Some(step)) = (size(), pace["step_ms"].as_f64()) {
            let (sum, count) = sums.entry(size).or_default();
            (*sum, *count) = (*sum + step / 1000.0, *count + 1.0);
        }
    }
    sums.into_iter().map(|(size, (sum, count))| (size, sum / count)).collect()
}

/// The window of bulk work, null for none; none if it is not understood.
fn window(value: &Value) -> Option<Option<Window>> {
    match value {
        Value::Null => Some(None),
        value => serde_json::from_value(value.clone()).ok().map(Some),
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
        let expected =
            Paces { workers: 2, step: Some(0.2), beside: Some(0.5), is_sizeless: true, ..Paces::default() };
        assert_eq!(Paces::read(&workers), expected);
        let size = Size { width: 64, height: 48, content_size: 0, styles: 1 };
        assert_eq!(expected.step_of(&size), Some(0.2));
        assert_eq!(Paces::read(&json!({ "workers": [] })), Paces::default());
    }

    #[test]
    fn a_size_that_nobody_has_made_has_no_pace() {
        let pace = |width: u32, step_ms: f64| json!({ "width": width, "height": 48, "content_size": 0, "styles": 1, "step_ms": step_ms });
        let worker = |paces: Value| json!({ "state": "ready", "classes": ["bulk"], "step_ms": 250.0, "beside_ms": 10.0, "step_paces": paces });
        let workers = json!({ "workers": [worker(json!([pace(64, 100.0), pace(32, 50.0)])), worker(json!([pace(64, 300.0)]))] });
        let paces = Paces::read(&workers);
        let size = |width: u32| Size { width, height: 48, content_size: 0, styles: 1 };
        let known = [64, 32, 128].map(|width| paces.step_of(&size(width)));
        assert_eq!(known, [Some(0.2), Some(0.05), None]);
    }

    #[test]
    fn the_fleets_defaults_are_those_of_rows() {
        let facts = FleetFacts::read(&json!({
            "defaults": { "width": 64, "height": 48, "steps": 8, "guidance": 3.5, "content_size": 32 },
            "limits": { "step_cache": [0.0, 0.25], "upload_bytes": 1000 },
            "bulk_window": { "opens": "22:00:00", "closes": "06:00:00", "zone": "Europe/Berlin", "fill": true },
        }))
        .unwrap();
        assert_eq!((facts.defaults.width, facts.defaults.steps, facts.max_bytes), (64, 8, 1000));
        assert_eq!((facts.defaults.guidance, facts.defaults.max_step_cache), (3.5, 0.25));
        let window = facts.window.unwrap();
        assert_eq!(
            (window.opens.hour(), window.closes.hour(), window.zone.as_str()),
            (22, 6, "Europe/Berlin")
        );
        assert!(FleetFacts::read(&json!({})).is_none());
    }
}
