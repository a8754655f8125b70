//! What a job looks like as a prediction.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uso_queue::{JobId, JobView, State, Time};
use uso_store::hexadecimal_sha256;

/// Who owns the model, as far as names go.
pub(crate) const OWNER: &str = "uso";

/// Cells of a bar that shows how far a prediction is.
const CELLS: u32 = 20;

/// The names that the fleet's one model has.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Shape {
    pub(crate) fn new(model: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = model.chars().map(plain).collect();
        let name = name.trim_matches('-');
        let name = if name.is_empty() { "model".to_owned() } else { name.to_owned() };
        // Clients take 64 hexadecimal digits for a version and nothing else.
        let version = hexadecimal_sha256(name.as_bytes());
        Self { name, version }
    }

    /// Its whole name.
    pub(crate) fn model(&self) -> String {
        format!("{OWNER}/{}", self.name)
    }

    /// Whether a model or a version is this one: by its version, by its name, or by both with a colon between.
    pub(super) fn is_named(&self, text: &str) -> bool {
        let (name, version) = match text.split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None if text.contains('/') => (text, None),
            None => return text == self.version,
        };
        name == self.model() && version.is_none_or(|version| version == self.version)
    }

    /// A job as a prediction whose links begin with `origin`.
    pub(crate) fn prediction(&self, view: &JobView, origin: &str) -> Prediction {
        let under = |name: &str| format!("{origin}/v1/predictions/{}{name}", view.id);
        Prediction {
            id: view.id,
            model: self.model(),
            version: self.version.clone(),
            input: input(view),
            logs: progress(view),
            output: view.output.as_ref().map(|_| [format!("{origin}{}", output_path(view))]),
            data_removed: false,
            error: error(view),
            status: status(view.state),
            source: "api",
            created_at: time(Some(view.submitted_ms)),
            started_at: time(view.started_ms),
            completed_at: time(view.finished_ms),
            metrics: metrics(view),
            urls: Urls { get: under(""), cancel: under("/cancel"), stream: under("/stream") },
        }
    }
}

/// A job as Replicate's clients see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Prediction {
    /// The job's.
    id: JobId,
    /// The fleet's only model.
    model: String,
    /// The model's only version.
    version: String,
    /// The input, with all defaults.
    input: Value,
    /// How far it is, in one line.
    logs: String,
    /// Where the picture is, once there is one; only for a key that may read.
    pub(super) output: Option<[String; 1]>,
    /// Always false: a deleted job is deleted completely.
    data_removed: bool,
    /// Why there is no picture.
    pub(super) error: Option<String>,
    #[schemars(extend("enum" = ["starting", "processing", "succeeded", "failed", "canceled"]))]
    pub(super) status: &'static str,
    source: &'static str,
    #[schemars(with = "Option<Time>")]
    created_at: Option<String>,
    #[schemars(with = "Option<Time>")]
    started_at: Option<String>,
    #[schemars(with = "Option<Time>")]
    completed_at: Option<String>,
    metrics: Metrics,
    pub(super) urls: Urls,
}

/// How long it took in seconds.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "PredictionMetrics")]
struct Metrics {
    /// From its submission to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_time: Option<f64>,
    /// From the beginning of its first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    predict_time: Option<f64>,
}

/// Links to everything about a prediction.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "PredictionUrls")]
pub(super) struct Urls {
    get: String,
    cancel: String,
    pub(super) stream: String,
}

fn metrics(view: &JobView) -> Metrics {
    let Some(finished) = view.finished_ms else { return Metrics::default() };
    let until_then = |from: u64| finished.saturating_sub(from) as f64 / 1000.0;
    Metrics { total_time: Some(until_then(view.submitted_ms)), predict_time: view.started_ms.map(until_then) }
}

/// The path of a job's picture. Its ending is the format's: clients name what they save after it.
pub(super) fn output_path(view: &JobView) -> String {
    format!("/v1/predictions/{}/output/0.{}", view.id, view.spec.format.ending())
}

/// The input, without fields that were left out.
fn input(view: &JobView) -> Value {
    let mut input = json!(view.spec.unpinned());
    if let Some(fields) = input.as_object_mut() {
        fields.retain(|name, value| !value.is_null() && name != "webhook");
    }
    input
}

/// Replicate has fewer states than we do.
fn status(state: State) -> &'static str {
    match state {
        State::Queued => "starting",
        State::Running => "processing",
        State::Succeeded => "succeeded",
        State::Failed | State::Expired => "failed",
        State::Canceled => "canceled",
    }
}

fn error(view: &JobView) -> Option<String> {
    match (view.state, &view.error) {
        (State::Failed, Some(failure)) => Some(failure.message.clone()),
        (State::Failed, None) => Some("the prediction failed".into()),
        (State::Expired, _) => Some("it expired before it finished".into()),
        _ => None,
    }
}

/// How far it is, as clients read it from the last line of the logs.
pub(super) fn progress(view: &JobView) -> String {
    let (step, of) = if view.state == State::Succeeded {
        (view.spec.steps, view.spec.steps)
    } else {
        (view.step, view.of)
    };
    progress_line(step, of)
}

pub(super) fn progress_line(step: u32, of: u32) -> String {
    if of == 0 {
        return String::new();
    }
    let share = |whole: u32| (u64::from(step) * u64::from(whole) / u64::from(of)) as usize;
    let cells = share(CELLS).min(CELLS as usize);
    format!("{:3}%|{}{}| {step}/{of}\n", share(100), "█".repeat(cells), " ".repeat(CELLS as usize - cells))
}

/// A time as RFC 3339 writes it.
pub(super) fn time(at_ms: Option<u64>) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(at_ms?).ok()?).ok()?;
    Some(time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_known_by_its_names() {
        let shape = Shape::new("My Model.v2");
        assert_eq!(shape.model(), "uso/my-model-v2");
        let version = shape.version.clone();
        assert_eq!(version.len(), 64);
        for name in [version.clone(), shape.model(), format!("uso/my-model-v2:{version}")] {
            assert!(shape.is_named(&name), "{name}");
        }
        for other in ["", "my-model-v2", "uso/other", &format!("uso/other:{version}"), "uso/my-model-v2:1"] {
            assert!(!shape.is_named(other), "{other}");
        }
        assert_eq!(Shape::new("ü").model(), "uso/model");
    }

    #[test]
    fn progress_is_written_as_clients_read_it() {
        assert_eq!(progress_line(0, 0), "");
        assert_eq!(progress_line(5, 20), " 25%|█████               | 5/20\n");
        assert_eq!(progress_line(20, 20), format!("100%|{}| 20/20\n", "█".repeat(20)));
        assert_eq!(time(Some(1_700_000_000_123)).unwrap(), "2023-11-14T22:13:20.123Z");
    }
}
