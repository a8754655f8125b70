//! LoRAs that a job asks for, by the names that workers know them by.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{FieldError, Fields};

/// LoRAs of one job.
pub const MAX_LORAS: usize = 4;
/// What a LoRA's changes may be multiplied by.
pub const LORA_WEIGHT: RangeInclusive<f64> = -10.0..=10.0;
/// Longest name in characters.
pub(super) const MAX_NAME: usize = 64;
/// What a name is: nothing that means something in a path.
pub(super) const NAME: &str = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$";

/// A LoRA that a job asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// What workers call it.
    pub name: String,
    /// What its changes are multiplied by.
    pub weight: f64,
}

impl Fields {
    pub(super) fn loras(&mut self) -> Vec<Lora> {
        let values = match self.take("loras") {
            None => Vec::new(),
            Some(Value::Array(values)) if values.len() <= MAX_LORAS => values,
            Some(Value::Array(values)) => {
                let message = format!("{} LoRAs, at most {MAX_LORAS} are allowed", values.len());
                self.fault("loras", "out_of_range", message);
                Vec::new()
            }
            Some(_) => {
                self.fault("loras", "wrong_type", "must be an array of objects");
                Vec::new()
            }
        };
        let mut loras: Vec<Lora> = Vec::new();
        for (i, value) in values.into_iter().enumerate() {
            let Some(lora) = self.lora(i, value) else { continue };
            if loras.iter().any(|other| other.name == lora.name) {
                self.fault(&format!("loras/{i}/name"), "twice", "is asked for twice");
            }
            loras.push(lora);
        }
        loras
    }

    fn lora(&mut self, i: usize, value: Value) -> Option<Lora> {
        let Value::Object(left) = value else {
            self.fault(&format!("loras/{i}"), "wrong_type", "must be an object with a name");
            return None;
        };
        let mut fields = Fields::of(left);
        let lora = Lora { name: fields.lora_name(), weight: fields.number("weight", &LORA_WEIGHT, 1.0) };
        let Err(errors) = fields.finish() else { return Some(lora) };
        let inside =
            |error: FieldError| FieldError { pointer: format!("/loras/{i}{}", error.pointer), ..error };
        self.errors.extend(errors.into_iter().map(inside));
        None
    }

    fn lora_name(&mut self) -> String {
        match self.take("name") {
            Some(Value::String(name)) if is_name(&name) => return name,
            Some(Value::String(_)) => {
                let message = format!(
                    "must be 1 to {MAX_NAME} letters, digits, `.`, `_` and `-`, not beginning with `.`"
                );
                self.fault("name", "invalid_name", message);
            }
            _ => self.fault("name", "wrong_type", "must be a string"),
        }
        String::new()
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Defaults, JobSpec};

    fn read(loras: Value) -> Result<Vec<Lora>, Vec<(String, &'static str)>> {
        let spec = JobSpec::parse(&json!({ "loras": loras }), &Defaults::default());
        spec.map(|spec| spec.loras)
            .map_err(|errors| errors.into_iter().map(|error| (error.pointer, error.code)).collect())
    }

    #[test]
    fn names_and_weights_are_read() {
        let loras = read(json!([{ "name": "ink.v2_a-b", "weight": -0.5 }, { "name": "Oil" }])).unwrap();
        let lora = |name: &str, weight| Lora { name: name.into(), weight };
        assert_eq!(loras, [lora("ink.v2_a-b", -0.5), lora("Oil", 1.0)]);
        assert_eq!(read(Value::Null), Ok(Vec::new()));
        let longest = "x".repeat(MAX_NAME);
        for edge in [json!([{ "name": longest, "weight": 10 }]), json!([{ "name": "-", "weight": -10.0 }])] {
            assert!(read(edge.clone()).is_ok(), "{edge}");
        }
    }

    #[test]
    fn a_name_cannot_mean_a_place() {
        let names =
            ["", ".", "..", "../x", "a/b", "a\\b", "a\0", ".hidden", "a b", "a\n", "ä", "C:x", "a%2fb", "~"];
        for name in names.map(str::to_owned).into_iter().chain(["x".repeat(MAX_NAME + 1)]) {
            let refused = read(json!([{ "name": "fine" }, { "name": name }]));
            assert_eq!(refused, Err(vec![("/loras/1/name".into(), "invalid_name")]), "{name:?}");
        }
    }

    #[test]
    fn each_bad_field_is_named() {
        let many: Vec<Value> = (0..5).map(|i| json!({ "name": format!("n{i}") })).collect();
        let names = |pointer: &str, code| Err(vec![(pointer.to_owned(), code)]);
        for (loras, refused) in [
            (json!(many), names("/loras", "out_of_range")),
            (json!("ink"), names("/loras", "wrong_type")),
            (json!(["ink"]), names("/loras/0", "wrong_type")),
            (json!([{}]), names("/loras/0/name", "wrong_type")),
            (json!([{ "name": 7 }]), names("/loras/0/name", "wrong_type")),
            (json!([{ "name": "a", "weight": 10.01 }]), names("/loras/0/weight", "out_of_range")),
            (json!([{ "name": "a", "weight": "NaN" }]), names("/loras/0/weight", "wrong_type")),
            (json!([{ "name": "a", "path": "/x" }]), names("/loras/0/path", "unknown_field")),
            (json!([{ "name": "a" }, { "name": "a", "weight": 2 }]), names("/loras/1/name", "twice")),
        ] {
            assert_eq!(read(loras.clone()), refused, "{loras}");
        }
    }

    #[test]
    fn a_job_without_any_is_written_as_before() {
        let spec = JobSpec::parse(&json!({ "seed": 1 }), &Defaults::default()).unwrap();
        let written = serde_json::to_value(&spec).unwrap();
        assert!(written.get("loras").is_none(), "{written}");
        assert_eq!(serde_json::from_value::<JobSpec>(written).unwrap(), spec);
        let with = JobSpec::parse(&json!({ "seed": 1, "loras": [{ "name": "ink" }] }), &Defaults::default());
        assert_ne!(with.unwrap().digest().unwrap(), spec.digest().unwrap());
    }
}
