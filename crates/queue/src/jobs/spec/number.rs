//! How a number of a request is described to others.

use serde_json::{Value, json};

/// The schema of a number or integer between two ends, or null.
pub(super) fn number(kind: &str, description: &str, ends: Value, default: Value) -> Value {
    json!({
        "description": description,
        "type": [kind, "null"],
        "minimum": ends[0],
        "maximum": ends[1],
        "default": default,
    })
}
