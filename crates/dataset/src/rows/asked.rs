//! What a row asks for, written in one way only: equal for rows that mean the same.

use std::io::Write;

use serde_json::{Map, Value};

/// Appends what `fields` ask for as JSON: names in order, numbers without needless digits. Left out are a row's key,
/// null, empty text and lists (all of which mean "left out" to a job), and a seed of -1.
pub(super) fn write_asked(fields: &Map<String, Value>, text: &mut Vec<u8>) {
    let asked = fields.iter().filter(|(name, value)| match value {
        Value::Null => false,
        Value::String(text) => *name != "key" && !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        value => *name != "seed" || !is_random(value),
    });
    write_object(asked.collect(), text);
}

/// Whether this seed asks for any seed.
pub(super) fn is_random(seed: &Value) -> bool {
    seed.is_null() || seed.as_f64() == Some(-1.0)
}

fn write_object(mut fields: Vec<(&String, &Value)>, text: &mut Vec<u8>) {
    // They are in order already unless somebody builds serde_json to keep the order they came in.
    fields.sort_unstable_by_key(|(name, _)| *name);
    text.push(b'{');
    for (i, (name, value)) in fields.into_iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        write_text(name, text);
        text.push(b':');
        write_value(value, text);
    }
    text.push(b'}');
}

fn write_value(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Null => text.extend_from_slice(b"null"),
        Value::Bool(true) => text.extend_from_slice(b"true"),
        Value::Bool(false) => text.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, text),
        Value::String(string) => write_text(string, text),
        Value::Object(fields) => write_object(fields.iter().collect(), text),
        Value::Array(items) => {
            text.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(b',');
                }
                write_value(item, text);
            }
            text.push(b']');
        }
    }
}

/// 4, 4.0 and 4e0 are one number: a manifest in another format writes it in another way.
fn write_number(number: &serde_json::Number, text: &mut Vec<u8>) {
    let whole = number.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9.0e15).map(|x| x as i64);
    // Writing to memory does not fail.
    let _ = match (number.as_i64().or(whole), number.as_u64(), number.as_f64()) {
        (Some(whole), _, _) => write!(text, "{whole}"),
        (_, Some(large), _) => write!(text, "{large}"),
        (_, _, Some(number)) => write!(text, "{number}"),
        _ => write!(text, "{number}"),
    };
}

fn write_text(string: &str, text: &mut Vec<u8>) {
    // A string can always be written, and memory takes it.
    let _ = serde_json::to_writer(text, string);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(fields: Value) -> String {
        let mut text = Vec::new();
        let Value::Object(fields) = fields else { panic!("{fields}") };
        write_asked(&fields, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_means_the_same_is_written_the_same() {
        let plain = asked(json!({ "prompt": "a", "width": 64, "metadata": { "b": [1, null], "a": 0.5 } }));
        assert_eq!(plain, r#"{"metadata":{"a":0.5,"b":[1,null]},"prompt":"a","width":64}"#);
        let other = r#"{"metadata":{"a":5e-1,"b":[1.0,null]},"width":64.0,"seed":-1,"key":"k","styles":[],"content":"","prompt":"a",
            "steps":null}"#;
        assert_eq!(asked(serde_json::from_str(other).unwrap()), plain);
    }

    #[test]
    fn what_differs_is_written_differently() {
        let base = asked(json!({ "prompt": "a" }));
        for other in [
            json!({ "prompt": "b" }),
            json!({ "prompt": "a", "seed": 0 }),
            json!({ "prompt": "a", "keep_size": false }),
            json!({ "prompt": "a", "metadata": {} }),
        ] {
            assert_ne!(asked(other.clone()), base, "{other}");
        }
        assert_eq!(asked(json!({ "x": 1e300 })).len(), 301 + 6);
        assert_eq!(asked(json!({ "x": u64::MAX })), r#"{"x":18446744073709551615}"#);
    }
}
