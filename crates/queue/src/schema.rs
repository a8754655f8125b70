//! Schemas of what JSON writes as text.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Gives types that are written as text their schemas, and a test that the examples can be read.
macro_rules! text_schema {
    ($($type:ident: $description:literal, $pattern:literal, $example:literal;)*) => {$(
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "description": $description,
                    "type": "string",
                    "pattern": $pattern,
                    "examples": [$example],
                })
            }
        }

        #[cfg(test)]
        impl $type {
            pub(crate) const EXAMPLE: &str = $example;
        }
    )*
        #[cfg(test)]
        mod examples {
            #[test]
            fn examples_are_what_they_are_examples_of() {
                $(assert!(super::$type::EXAMPLE.parse::<super::$type>().is_ok());)*
            }
        }
    };
}

pub(crate) use text_schema;

/// A time as RFC 3339 writes it: only its schema.
#[derive(Debug)]
pub struct Time;

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "examples": ["2026-01-31T22:00:00Z"] })
    }
}
