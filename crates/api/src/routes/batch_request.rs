//! The body of a request for a batch.

use schemars::SchemaGenerator;
use serde_json::{Value, json};
use uso_queue::{FieldError, JobSpec, MAX_JOBS, MAX_METADATA};

use super::datasets::request;
use crate::openapi::schema::named;
use crate::shared::Shared;

/// The schema of such a body.
pub(super) fn schema(schemas: &mut SchemaGenerator) -> Value {
    let mut schema = json!({
        "description": "Jobs that are accepted together or not at all, or a data set.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "jobs": { "type": "array", "items": named("JobRequest"), "minItems": 1, "maxItems": MAX_JOBS },
            "metadata": {
                "description": format!(
                    "Your own data, returned as you sent it; at most {MAX_METADATA} bytes of JSON."
                ),
            },
        },
        "oneOf": [{ "required": ["jobs"] }, { "required": ["dataset"] }],
        "dependentRequired": {
            "budget": ["dataset"], "manifest": ["dataset"],
            "kind": ["manifest"], "on_bad": ["manifest"], "unknown": ["manifest"], "replace": ["manifest"],
        },
    });
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.extend(request::properties(schemas));
    }
    schema
}

/// The jobs and the metadata of a body, or everything that is wrong with it.
pub(super) fn read(shared: &Shared, body: &Value) -> Result<(Vec<JobSpec>, Value), Vec<FieldError>> {
    let fault = |pointer: String, code, message: String| FieldError { pointer, code, message };
    let Value::Object(fields) = body else {
        return Err(vec![fault(String::new(), "wrong_type", "the body must be a JSON object".into())]);
    };
    let (mut jobs, mut errors) = (Vec::new(), Vec::new());
    match fields.get("jobs").and_then(Value::as_array) {
        Some(asked) if (1..=MAX_JOBS).contains(&asked.len()) => {
            for (index, job) in asked.iter().enumerate() {
                match JobSpec::parse(job, &shared.config.defaults) {
                    Ok(spec) => jobs.push(spec),
                    Err(faults) => errors.extend(faults.into_iter().map(|error| FieldError {
                        pointer: format!("/jobs/{index}{}", error.pointer),
                        ..error
                    })),
                }
            }
        }
        Some(asked) => {
            let message = format!("{} jobs; 1 to {MAX_JOBS} are allowed", asked.len());
            errors.push(fault("/jobs".into(), "out_of_range", message));
        }
        None => errors.push(fault("/jobs".into(), "wrong_type", "must be an array of jobs".into())),
    }
    let metadata = fields.get("metadata").cloned().unwrap_or_default();
    let size = metadata.to_string().len();
    if size > MAX_METADATA {
        let message = format!("{size} bytes of JSON, at most {MAX_METADATA} are allowed");
        errors.push(fault("/metadata".into(), "too_long", message));
    }
    for name in fields.keys().filter(|name| !matches!(name.as_str(), "jobs" | "metadata")) {
        errors.push(FieldError::unknown(name));
    }
    if errors.is_empty() { Ok((jobs, metadata)) } else { Err(errors) }
}
