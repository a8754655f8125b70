//! How a request for a job is described to others: the schema of what [`JobSpec::parse`] reads.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::gate;
use super::limits::{
    GUIDANCE, MAX_METADATA, MAX_PROMPT, MAX_STYLES, PRIORITY, QUALITY, SEED, SIDE, STEP_CACHE, STEPS,
};
use super::loras::{LORA_WEIGHT, MAX_LORAS, NAME};
use super::number::number;
use super::{Class, DEFAULT_QUALITY, Defaults, Format, JobSpec};
use crate::schema::Time;
use crate::{MAX_URL, Source};

impl JobSpec {
    /// The schema of a request for a job, with what one that leaves a field out gets. Null counts as left
    /// out.
    pub fn request_schema(generator: &mut SchemaGenerator, defaults: &Defaults) -> Schema {
        let side = |description: &str, default: u32| {
            number("integer", description, json!([SIDE.start(), SIDE.end()]), json!(default))
        };
        let (width, height) = (
            side("Width in pixels; rounded down to a multiple of 16.", defaults.width),
            side("Height in pixels; rounded down to a multiple of 16.", defaults.height),
        );
        let content_size =
            side("Longest side in pixels to which the content reference is scaled.", defaults.content_size);
        let steps = json!([STEPS.start(), STEPS.end()]);
        let guidance = json!([GUIDANCE.start(), GUIDANCE.end()]);
        let step_cache = json!([STEP_CACHE.start(), defaults.max_step_cache]);
        let priority = json!([PRIORITY.start(), PRIORITY.end()]);
        let seed = json!([SEED.start(), SEED.end()]);
        json_schema!({
            "description": "What to generate. A field that is null counts as left out.",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "prompt": {
                    "description": "What the picture shows; empty to keep the content reference's layout.",
                    "type": ["string", "null"],
                    "maxLength": MAX_PROMPT,
                    "default": "",
                },
                "content": {
                    "description": "The subject, or the picture whose layout is kept.",
                    "anyOf": [generator.subschema_for::<Source>(), { "type": "null" }],
                },
                "styles": {
                    "description": "Pictures whose style is taken over.",
                    "type": ["array", "null"],
                    "items": generator.subschema_for::<Source>(),
                    "maxItems": MAX_STYLES,
                    "default": [],
                },
                "loras": loras(),
                "width": width,
                "height": height,
                "keep_size": {
                    "description": "Take the proportions of the content reference, which must be there, \
                                    instead of width and height.",
                    "type": ["boolean", "null"],
                    "default": false,
                },
                "steps": number("integer", "Sampling steps.", steps, json!(defaults.steps)),
                "guidance": number("number", "Guidance strength.", guidance, json!(defaults.guidance)),
                "content_size": content_size,
                "step_cache": number(
                    "number",
                    "Steps are skipped in which the transformer's first block does the same but for this share: \
                     quicker, and another picture. One that was interrupted may differ from one that was not. The \
                     operator says how much is allowed.",
                    step_cache,
                    json!(0.0),
                ),
                "gate": gate::schema(),
                "seed": number("integer", "Seed of the start noise; -1 for a random one.", seed, json!(-1)),
                "format": choice("File format of the picture.", json!(Format::Png), json!(Format::ALL)),
                "quality": quality(),
                "class": choice("How urgent it is.", json!(Class::Interactive), json!(Class::ALL)),
                "priority": number("integer", "Order within the class; higher first.", priority, json!(0)),
                "not_before": time(generator, "Not to be worked on before this."),
                "start_by": time(
                    generator,
                    "Ended as expired if no attempt has begun by then; not before `not_before`.",
                ),
                "finish_by": time(
                    generator,
                    "Ended as expired if it is not done by then; not before `not_before` and `start_by`.",
                ),
                "webhook": {
                    "description": "URL that is notified when the job ends, besides the tenant's endpoints; signed with the \
                                    tenant's secret.",
                    "type": ["string", "null"],
                    "pattern": "^https?://",
                    "maxLength": MAX_URL,
                },
                "metadata": {
                    "description": format!(
                        "The submitter's own, returned as it came; at most {MAX_METADATA} bytes of JSON."
                    ),
                },
            },
        })
    }
}

fn loras() -> Value {
    json!({
        "description": "LoRAs that it is generated with, no name twice; a job goes to workers that have all of them.",
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["name"],
            "properties": {
                "name": { "description": "What workers call it.", "type": "string", "pattern": NAME },
                "weight": number(
                    "number",
                    "What its changes are multiplied by.",
                    json!([LORA_WEIGHT.start(), LORA_WEIGHT.end()]),
                    json!(1.0),
                ),
            },
        },
        "maxItems": MAX_LORAS,
        "default": [],
    })
}

/// It has no `default`: a PNG has none.
fn quality() -> Value {
    json!({
        "description": format!(
            "Quality of a JPEG or WebP, {DEFAULT_QUALITY} if it is left out. A PNG has none: it loses nothing."
        ),
        "type": ["integer", "null"],
        "minimum": QUALITY.start(),
        "maximum": QUALITY.end(),
    })
}

fn choice(description: &str, default: Value, words: Value) -> Value {
    let mut words = words;
    if let Value::Array(words) = &mut words {
        words.push(Value::Null);
    }
    json!({ "description": description, "enum": words, "default": default })
}

fn time(generator: &mut SchemaGenerator, description: &str) -> Schema {
    let mut schema = generator.subschema_for::<Option<Time>>();
    schema.insert("description".to_owned(), description.into());
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::super::loras::MAX_NAME;
    use super::*;

    fn properties() -> Map<String, Value> {
        let schema = JobSpec::request_schema(&mut SchemaGenerator::default(), &Defaults::default());
        schema.get("properties").and_then(Value::as_object).unwrap().clone()
    }

    #[test]
    fn what_is_described_is_what_is_read() {
        let described = properties();
        let faults = |body: &Value| JobSpec::parse(body, &Defaults::default()).err().unwrap_or_default();
        for name in described.keys() {
            let unknown = faults(&json!({ name: {} })).iter().any(|fault| fault.code == "unknown_field");
            assert!(!unknown, "{name} is described but not read");
        }
        // A job that asks for everything: what its record names can be asked for.
        let time = "2100-01-01T00:00:00Z";
        let body = json!({
            "content": Source::EXAMPLE, "not_before": time, "start_by": time, "finish_by": time, "metadata": 1,
            "webhook": "https://example.com/hook", "loras": [{ "name": "ink" }], "step_cache": 0.1,
            "format": "webp", "quality": 80, "gate": { "scorers": ["clip"] },
        });
        let defaults = Defaults { max_step_cache: 0.2, ..Defaults::default() };
        let spec = JobSpec::parse(&body, &defaults).unwrap();
        for name in json!(spec).as_object().unwrap().keys() {
            assert!(described.contains_key(name), "{name} is read but not described");
        }
    }

    #[test]
    fn described_ends_are_taken_and_what_lies_beyond_is_not() {
        let fits = |name: &str, value: Value| {
            let mut body = json!({ name: value });
            if name == "quality" {
                // Only the lossy formats have one.
                body["format"] = json!("jpeg");
            }
            JobSpec::parse(&body, &Defaults::default()).is_ok()
        };
        for (name, schema) in properties() {
            assert!(fits(&name, Value::Null), "{name}: null counts as left out");
            if let Some(default) = schema.get("default").filter(|_| name != "keep_size") {
                assert!(fits(&name, default.clone()), "{name}: {default}");
            }
            let (Some(least), Some(most)) = (schema["minimum"].as_f64(), schema["maximum"].as_f64()) else {
                continue;
            };
            assert!(fits(&name, json!(least)) && fits(&name, json!(most)), "{name}: {least} and {most}");
            assert!(!fits(&name, json!(least - 1.0)), "{name}: less than {least}");
            assert!(!fits(&name, json!(most + 1.0)), "{name}: more than {most}");
        }
        let most = properties()["prompt"]["maxLength"].as_u64().unwrap() as usize;
        assert!(fits("prompt", "ä".repeat(most).into()) && !fits("prompt", "ä".repeat(most + 1).into()));
        let most = properties()["styles"]["maxItems"].as_u64().unwrap() as usize;
        let styles = |count| json!(vec![Source::EXAMPLE; count]);
        assert!(fits("styles", styles(most)) && !fits("styles", styles(most + 1)));
    }

    #[test]
    fn the_described_pattern_is_the_rule() {
        assert_eq!(loras()["items"]["properties"]["name"]["pattern"], NAME);
        assert!(NAME.ends_with(&format!("{{0,{}}}$", MAX_NAME - 1)));
    }
}
