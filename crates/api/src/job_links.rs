//! Links to everything about a job.

use schemars::JsonSchema;
use serde::Serialize;
use uso_queue::JobId;

/// Links to everything about a job.
#[derive(Serialize, JsonSchema)]
pub(crate) struct JobLinks {
    /// The job itself.
    #[serde(rename = "self")]
    this: String,
    /// Its events.
    events: String,
    /// Its newest preview.
    preview: String,
    /// The picture.
    result: String,
    /// Cancels the job.
    cancel: String,
}

impl JobLinks {
    pub(crate) fn new(id: &JobId) -> Self {
        Self::at("", id)
    }

    /// The same with an origin, for readers that got them elsewhere.
    pub(crate) fn at(origin: &str, id: &JobId) -> Self {
        let under = |name: &str| format!("{origin}/v1/jobs/{id}/{name}");
        Self {
            this: format!("{origin}/v1/jobs/{id}"),
            events: under("events"),
            preview: under("preview"),
            result: under("result"),
            cancel: under("cancel"),
        }
    }
}
