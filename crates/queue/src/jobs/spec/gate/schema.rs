//! How a gate is described to others.

use serde_json::{Value, json};

use super::super::number::number;
use super::{Measure, Scorer, TRIES};
use crate::STEPS;

/// The schema of what [`Gate::parse`](super::Gate::parse) reads.
pub(in crate::jobs::spec) fn schema() -> Value {
    let tries = json!([TRIES.start(), TRIES.end()]);
    json!({
        "description": "Who scores the picture, what it must reach, and how often it is sampled for that; a job goes to \
                        workers that have all its scorers. A try after the first has another seed, which follows from \
                        the job's. A job whose pictures are all below a threshold fails as `below_threshold`.",
        "type": ["object", "null"],
        "additionalProperties": false,
        "required": ["scorers"],
        "properties": {
            "scorers": {
                "description": "Who scores it, no name twice; `bundled` is the bundled model's own and goes with no other.",
                "type": "array",
                "items": { "enum": Scorer::ALL },
                "minItems": 1,
                "uniqueItems": true,
            },
            "min": thresholds(
                "What it must reach at least, by scorers that are asked; with no threshold it is only scored."
            ),
            "tries": number("integer", "Pictures that are sampled at most until one reaches it.", tries, json!(1)),
            "keep_best": {
                "description": "Whether the job succeeds with the best picture if none reaches it: the one whose smallest \
                                difference to a threshold is the largest (for sharpness, its share of the threshold).",
                "type": ["boolean", "null"],
                "default": false,
            },
            "early": {
                "description": "A look at each picture after some steps, to drop those that are hopeless.",
                "type": ["object", "null"],
                "additionalProperties": false,
                "required": ["step", "min"],
                "properties": {
                    "step": {
                        "description": "After how many steps; less than the job's.",
                        "type": "integer",
                        "minimum": 1,
                        "maximum": STEPS.end() - 1,
                    },
                    "min": thresholds("What the predicted picture must reach at least by then; one or more."),
                },
            },
        },
    })
}

fn thresholds(description: &str) -> Value {
    let threshold = |measure: Measure| {
        let range = measure.range();
        let schema = json!({
            "description": threshold_of(measure),
            "type": ["number", "null"],
            "minimum": range.start(),
            "maximum": range.end(),
        });
        (measure.as_str().to_owned(), schema)
    };
    let properties: serde_json::Map<_, _> = Measure::THRESHOLDS.into_iter().map(threshold).collect();
    json!({
        "description": description,
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
    })
}

fn threshold_of(measure: Measure) -> &'static str {
    match measure {
        Measure::ClipI => {
            "Cosine of CLIP's features of picture and content reference; needs `clip` and `content`."
        }
        Measure::ClipT => "Cosine of CLIP's features of picture and prompt; needs `clip` and `prompt`.",
        Measure::Dino => {
            "Cosine of DINO's features of picture and content reference; needs `dino` and `content`."
        }
        Measure::Csd => {
            "Mean cosine of CSD's features of picture and each style reference; needs `csd` and `styles`."
        }
        Measure::SiglipSubject => {
            "Cosine of the bundled encoder's subject features of picture and content reference; needs `bundled` and \
             `content`."
        }
        Measure::SiglipStyle => {
            "Mean cosine of the bundled encoder's style features of picture and each style reference; needs `bundled` \
             and `styles`."
        }
        Measure::Sharpness => "Variance of the Laplacian of the grey levels, 0 to 255.",
        Measure::Flatness => "Share of blocks that are flat.",
    }
}
