//! Schemas of what is written by hand: names, places and times are text, an event is what its kind has.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{BatchId, BrowseCursor, EventId, JobEvent, JobId, LetterId, Source};

macro_rules! text {
    ($($type:ident: $description:literal, $pattern:literal, $example:literal;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
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
    )*};
}

text! {
    JobId: "A job's name: its shard, then a UUID whose order is the order of submission.",
        "^(0|[1-9][0-9]{0,3})-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        "0-0198a0b0-0000-7000-8000-00000000000a";
    BatchId: "A batch's name, made like a job's.",
        "^(0|[1-9][0-9]{0,3})-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        "0-0198a0b0-0000-7000-8000-00000000000b";
    EventId: "An event's place in its stream: milliseconds since 1970, then a number.",
        "^[0-9]{1,19}-[0-9]{1,19}$",
        "1700000000000-0";
    LetterId: "A dead letter's name: its shard, then its place in the shard's stream.",
        "^(0|[1-9][0-9]{0,3})-[0-9]{1,19}-[0-9]{1,19}$",
        "0-1700000000000-0";
    BrowseCursor: "Where a page of jobs ended; what it means is nobody else's business.",
        "^(p[0-9]{1,15}|j(0|[1-9][0-9]{0,3})-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$",
        "p17";
    Source: "Where a reference image lies: an object, its key without `.` and `..` as parts and at most 1024 \
             bytes long, a file that was put through the API, or, where the fleet takes those, an address of the \
             web.",
        "^(s3://[^/]+/[^\\x00-\\x1f\\x7f-\\x9f]+|\
         upload:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(@[!#-~]{1,128})?|\
         https?://[!-~]{1,1990})$",
        "s3://uso/references/cat.png";
}

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

impl JsonSchema for JobEvent {
    fn schema_name() -> Cow<'static, str> {
        "JobEvent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let count = |description: &str| {
            json_schema!({
                "description": description, "type": "integer", "format": "uint32", "minimum": 0,
            })
        };
        json_schema!({
            "description": "One thing that happened to one job, the data of an event of its name.",
            "type": "object",
            "properties": {
                "id": generator.subschema_for::<crate::JobId>(),
                "version": {
                    "description": "The job's version after it.",
                    "type": "integer", "format": "uint64", "minimum": 0,
                },
                "attempt": count("The job's attempts after it."),
                "step": count("Steps done; of `progress` alone."),
                "of": count("Steps in all; of `progress` alone."),
                "reason": {
                    "description": "Why it went back to the queue; of `requeued` alone.",
                    "enum": ["released", "retry", "lease_lost"],
                },
                "missed": {
                    "description": "The time that had passed; of `expired` alone.",
                    "enum": ["start_by", "finish_by"],
                },
            },
            "required": ["id", "version", "attempt"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_what_they_are_examples_of() {
        assert!(JobId::EXAMPLE.parse::<JobId>().is_ok());
        assert!(BatchId::EXAMPLE.parse::<BatchId>().is_ok());
        assert!(EventId::EXAMPLE.parse::<EventId>().is_ok());
        assert!(LetterId::EXAMPLE.parse::<LetterId>().is_ok());
        assert!(BrowseCursor::EXAMPLE.parse::<BrowseCursor>().is_ok());
        assert!(Source::EXAMPLE.parse::<Source>().is_ok());
    }
}
