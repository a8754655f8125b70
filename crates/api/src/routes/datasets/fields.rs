//! Fields of requests for data sets.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};
use uso_queue::{Budget, FieldError};

/// The largest number that JSON keeps everywhere.
pub(super) const MOST: u64 = (1 << 53) - 1;

/// The schema of a budget in a request.
pub(super) fn budget_schema(_: &mut SchemaGenerator) -> Value {
    let limit = |of: &str| json!({ "description": format!("{of} at most; null for no limit."), "type": ["integer", "null"], "minimum": 0, "maximum": MOST });
    json!({
        "description": "What a data set may cost: at its budget it queues no more rows.",
        "type": "object",
        "additionalProperties": false,
        "properties": { "pictures": limit("Pictures"), "device_seconds": limit("Seconds of device time") },
    })
}

/// Reads a budget that stands at `pointer`.
pub(super) fn read_budget(body: &Value, pointer: &str, errors: &mut Vec<FieldError>) -> Budget {
    let mut found = Vec::new();
    let none = Map::new();
    let fields = object(body, &["pictures", "device_seconds"], &mut found).unwrap_or(&none);
    let mut limit = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => None,
        Some(value) => {
            let limit = whole(value);
            if limit.is_none() {
                found.push(fault(
                    format!("/{name}"),
                    "out_of_range",
                    "must be a whole number of at most 2^53 - 1, or null".into(),
                ));
            }
            limit
        }
    };
    let budget = Budget { pictures: limit("pictures"), device_seconds: limit("device_seconds") };
    errors.extend(
        found.into_iter().map(|error| FieldError { pointer: format!("{pointer}{}", error.pointer), ..error }),
    );
    budget
}

/// The fields of an object; notes those that it must not have, or that it is none.
pub(super) fn object<'a>(
    body: &'a Value,
    names: &[&str],
    errors: &mut Vec<FieldError>,
) -> Option<&'a Map<String, Value>> {
    let Value::Object(fields) = body else {
        errors.push(fault(String::new(), "wrong_type", "must be a JSON object".into()));
        return None;
    };
    errors.extend(
        fields.keys().filter(|name| !names.contains(&name.as_str())).map(|name| FieldError::unknown(name)),
    );
    Some(fields)
}

/// A whole number; to JSON, 64.0 is one. Larger ones are not exact.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=MOST as f64).contains(number);
    let number = value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64));
    number.filter(|number| *number <= MOST)
}

/// A fault of a field.
pub(super) fn fault(pointer: String, code: &'static str, message: String) -> FieldError {
    FieldError { pointer, code, message }
}
