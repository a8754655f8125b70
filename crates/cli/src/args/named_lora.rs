//! LoRAs by the names that workers give them.

use std::str::FromStr;

use serde::Serialize;

use super::sampling::finite;

/// A LoRA as a job asks for it. The API decides whether the job may have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct NamedLora {
    name: String,
    weight: f64,
}

impl FromStr for NamedLora {
    type Err = String;

    /// Reads `NAME` or `NAME:WEIGHT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, weight) = match text.rsplit_once(':') {
            Some((name, weight)) => (name, finite(weight)?),
            None => (text, 1.0),
        };
        Ok(Self { name: name.to_owned(), weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_a_weight() {
        let read = |text: &str| text.parse::<NamedLora>().map(|lora| (lora.name, lora.weight));
        assert_eq!(read("ink"), Ok(("ink".into(), 1.0)));
        assert_eq!(read("ink.v2:-0.5"), Ok(("ink.v2".into(), -0.5)));
        assert_eq!(read("ink:much"), Err("\"much\" is not a number".into()));
        assert_eq!(read("ink:nan"), Err("nan is not a finite number".into()));
    }
}
