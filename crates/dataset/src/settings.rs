//! How a batch's data set is to be made.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uso_queue::{Gate, JobSpec};

/// How a batch's data set is to be made. It is kept as JSON beside the batch in the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A name for people; empty for none.
    pub name: String,
    /// Rows of a shard at most.
    pub shard_rows: u32,
    /// Bytes of a shard's pictures after which it takes no more rows.
    pub shard_bytes: u64,
    /// How rows are split for training; none for no split.
    pub split: Option<Split>,
    /// The models' licences as you state them, by the models' names; null where you do not know one. They go into the
    /// data set's card.
    pub licences: BTreeMap<String, Option<String>>,
    /// The quality gate of each row that has none of its own.
    #[serde(deserialize_with = "checked_gate", skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            shard_rows: 10_000,
            shard_bytes: 2 << 30,
            split: None,
            licences: BTreeMap::new(),
            gate: None,
        }
    }
}

/// A split for training, stable by a hash: a row never changes sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// What is hashed: `key` for the row's key, or the name of a field of the row's `metadata`, for example `subject`:
    /// all rows with the same value lie on the same side. A row without that field is refused.
    pub by: String,
    /// Share of rows for validation, 0 to 1.
    pub val: f64,
}

impl Split {
    /// The field of metadata that it goes by; none if it goes by the key.
    pub fn field(&self) -> Option<&str> {
        Some(self.by.as_str()).filter(|by| *by != "key")
    }

    /// Whether it goes by a field that this metadata has not.
    pub fn is_missing(&self, metadata: &Value) -> bool {
        self.field().is_some_and(|field| metadata.get(field).is_none_or(Value::is_null))
    }
}

impl Settings {
    /// Gives a row's job what it has not of its own: the gate, with those of its thresholds that the job can have.
    pub fn complete(&self, spec: &mut JobSpec) {
        if spec.gate.is_none() {
            spec.gate = self.gate.as_ref().map(|gate| gate.fitting(spec));
        }
    }

    /// Reads settings as they are kept in the queue.
    ///
    /// # Errors
    /// [`Error::Unreadable`](crate::Error::Unreadable).
    pub fn read(text: &str) -> Result<Self, crate::Error> {
        serde_json::from_str(text).map_err(|error| crate::Error::Unreadable {
            object: "a batch's settings".into(),
            reason: error.to_string(),
        })
    }
}

/// A gate within the limits of a job's; a fault says where in it.
fn checked_gate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Gate>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    Gate::parse(&value).map(Some).map_err(|errors| {
        let faults = errors.into_iter().map(|error| format!("/gate{}: {}", error.pointer, error.message));
        D::Error::custom(faults.collect::<Vec<_>>().join("; "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uso_queue::{Defaults, Measure};

    use super::*;

    fn spec(body: Value) -> JobSpec {
        JobSpec::parse(&body, &Defaults::default()).unwrap()
    }

    #[test]
    fn the_gate_is_put_into_rows_that_have_none() {
        let settings = json!({
            "gate": { "scorers": ["clip", "dino"], "min": { "clip_t": 0.2, "dino": 0.5 }, "tries": 4 },
        });
        let settings = Settings::read(&settings.to_string()).unwrap();
        assert_eq!(Settings::read(&json!(settings).to_string()).unwrap(), settings);
        let mut row = spec(json!({ "prompt": "a cat", "seed": 1 }));
        settings.complete(&mut row);
        let gate = row.gate.clone().unwrap();
        assert_eq!((gate.tries, gate.min.into_keys().collect::<Vec<_>>()), (4, vec![Measure::ClipT]));
        let own = spec(json!({ "prompt": "a cat", "seed": 1, "gate": { "scorers": ["csd"] } }));
        let mut row = own.clone();
        settings.complete(&mut row);
        assert_eq!(row, own);
        let mut row = spec(json!({ "seed": 1 }));
        Settings::default().complete(&mut row);
        assert_eq!(row.gate, None);
    }

    #[test]
    fn a_gate_beyond_the_limits_is_refused_and_the_fault_named() {
        let gate = json!({ "gate": { "scorers": ["clip"], "tries": 17, "min": { "dino": 0.5 } } });
        let refused = Settings::read(&gate.to_string()).unwrap_err().to_string();
        assert!(refused.contains("/gate/tries: 17 is not within 1 to 16"), "{refused}");
        assert!(refused.contains("/gate/min/dino: dino needs the scorer dino"), "{refused}");
        assert_eq!(Settings::read(r#"{ "gate": null }"#).unwrap(), Settings::default());
    }
}
