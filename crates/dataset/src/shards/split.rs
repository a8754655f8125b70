//! On which side of a split a row lies.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::settings::Split;

/// The side to train with.
pub const TRAIN: &str = "train";
/// The side to validate with.
pub const VALIDATION: &str = "validation";

/// The side of a row: a hash of its key, or of the field of its metadata that the split names, decides. A row without that
/// field, which older data sets may have, is decided by its key.
pub fn split_of(key: &str, metadata: &Value, split: &Split) -> &'static str {
    let decides = match split.field().and_then(|field| metadata.get(field)) {
        None | Some(Value::Null) => key.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if share(&decides) < split.val { VALIDATION } else { TRAIN }
}

/// A number from 0 up to 1, the same for the same text for ever: the first 53 bits of its SHA-256.
fn share(text: &str) -> f64 {
    let digest = Sha256::digest(text);
    let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (first >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn by(field: &str, val: f64) -> Split {
        Split { by: field.into(), val }
    }

    #[test]
    fn a_row_never_changes_sides() {
        // Taken down once: another hash would mix what was trained with and what is validated with.
        let sides: Vec<_> =
            (0..12).map(|i| split_of(&format!("row-{i}"), &Value::Null, &by("key", 0.5))).collect();
        let validation: Vec<_> = (0..12).filter(|i| sides[*i] == VALIDATION).collect();
        assert_eq!(validation, KNOWN);
    }

    const KNOWN: &[usize] = &[0, 1, 2, 3, 4, 5, 7, 10, 11];

    #[test]
    fn shares_are_as_asked_for() {
        let count = |val| {
            let of = |i: &i32| split_of(&format!("row-{i}"), &Value::Null, &by("key", val)) == VALIDATION;
            (0..10_000).filter(of).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 10_000));
        assert!((450..550).contains(&count(0.05)), "{}", count(0.05));
    }

    #[test]
    fn rows_of_a_subject_lie_on_one_side() {
        let split = by("subject", 0.5);
        for subject in ["dog", "cat", "cup"] {
            let side = |key: &str| split_of(key, &json!({ "subject": subject }), &split);
            assert!((0..20).all(|i| side(&format!("row-{i}")) == side("row-0")), "{subject}");
        }
        assert_eq!(split_of("row-1", &json!({}), &split), split_of("row-1", &Value::Null, &by("key", 0.5)));
        assert_eq!(
            split_of("a", &json!({ "subject": 7 }), &split),
            split_of("b", &json!({ "subject": "7" }), &split)
        );
    }
}
