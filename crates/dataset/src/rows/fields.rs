//! The fields of a row and what they hold.

/// Longest key of a row in characters.
pub const MAX_ROW_KEY: usize = 128;

/// What a field holds: how a cell of text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    Number,
    Flag,
    /// References: a JSON array, or parted by `;`.
    List,
    /// Any JSON.
    Json,
}

/// All fields of a row: those of a job, and its key.
pub(super) const FIELDS: [(&str, Holds); 21] = [
    ("key", Holds::Text),
    ("prompt", Holds::Text),
    ("content", Holds::Text),
    ("styles", Holds::List),
    ("loras", Holds::Json),
    ("width", Holds::Number),
    ("height", Holds::Number),
    ("keep_size", Holds::Flag),
    ("steps", Holds::Number),
    ("guidance", Holds::Number),
    ("content_size", Holds::Number),
    ("step_cache", Holds::Number),
    ("gate", Holds::Json),
    ("seed", Holds::Number),
    ("format", Holds::Text),
    ("class", Holds::Text),
    ("priority", Holds::Number),
    ("not_before", Holds::Text),
    ("start_by", Holds::Text),
    ("finish_by", Holds::Text),
    ("webhook", Holds::Text),
];

/// The one field that takes anything.
pub(super) const METADATA: &str = "metadata";

/// What the field of this name holds; none if a row has no such field.
pub(super) fn holds(name: &str) -> Option<Holds> {
    if name == METADATA {
        return Some(Holds::Json);
    }
    FIELDS.iter().find(|(field, _)| *field == name).map(|(_, holds)| *holds)
}

/// What a key is. A dot would end it: WebDataset takes what follows the first dot of a file's name for its kind.
pub(super) fn is_key(key: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_ROW_KEY).contains(&key.len()) && key.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uso_queue::{Defaults, JobSpec};

    use super::*;

    #[test]
    fn the_fields_of_a_row_are_those_of_a_job() {
        for (name, _) in FIELDS.iter().filter(|(name, _)| *name != "key") {
            let faults = JobSpec::parse(&json!({ *name: {} }), &Defaults::default()).unwrap_err();
            assert!(faults.iter().all(|fault| fault.code != "unknown_field"), "{name}");
        }
        let time = "2100-01-01T00:00:00Z";
        let body = json!({
            "content": "s3://a/b", "not_before": time, "start_by": time, "finish_by": time, "metadata": 1,
            "webhook": "https://example.com/hook", "loras": [{ "name": "ink" }], "step_cache": 0.1,
            "gate": { "scorers": ["clip"] },
        });
        let defaults = Defaults { max_step_cache: 1.0, ..Defaults::default() };
        let job = serde_json::to_value(JobSpec::parse(&body, &defaults).unwrap()).unwrap();
        let Value::Object(job) = job else { panic!("{job}") };
        for name in job.keys() {
            assert!(holds(name).is_some(), "{name} is a job's but not a row's");
        }
        assert_eq!(job.len(), FIELDS.len(), "all but the key, and metadata");
    }

    #[test]
    fn a_key_has_no_dots() {
        for key in ["a", "A-b_9", &"x".repeat(MAX_ROW_KEY)] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "a.b", "a/b", "a b", "ä", "a\n", &"x".repeat(MAX_ROW_KEY + 1)] {
            assert!(!is_key(key), "{key:?}");
        }
    }
}
