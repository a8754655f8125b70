//! Requests: what is filled in, and what is refused.

use serde_json::{Value, json};
use uso_queue::{Class, DEFAULT_QUALITY, Defaults, FieldError, Format, JobSpec, Output, Source};

fn parse(body: Value) -> Result<JobSpec, Vec<FieldError>> {
    JobSpec::parse(&body, &Defaults::default())
}

fn faults(body: Value) -> Vec<(String, &'static str)> {
    parse(body).unwrap_err().into_iter().map(|error| (error.pointer, error.code)).collect()
}

#[test]
fn an_empty_request_gets_the_models_defaults() {
    let defaults =
        Defaults { width: 64, height: 48, content_size: 96, steps: 10, guidance: 2.5, max_step_cache: 0.0 };
    let spec = JobSpec::parse(&json!({}), &defaults).unwrap();
    assert_eq!((spec.width, spec.height, spec.content_size, spec.steps), (64, 48, 96, 10));
    assert_eq!((spec.guidance, spec.class, spec.priority), (2.5, Class::Interactive, 0));
    assert!(spec.seed < 1 << 32 && spec.prompt.is_empty());
}

#[test]
fn sides_are_cut_to_multiples_of_16() {
    let spec = parse(json!({ "width": 107, "height": 2047 })).unwrap();
    assert_eq!((spec.width, spec.height), (96, 2032));
}

#[test]
fn seeds_are_chosen_or_kept() {
    let chosen: std::collections::BTreeSet<u64> =
        (0..20).map(|_| parse(json!({ "seed": -1 })).unwrap().seed).collect();
    assert!(chosen.len() > 15);
    assert_eq!(parse(json!({ "seed": 9007199254740991_u64 })).unwrap().seed, (1 << 53) - 1);
    assert_eq!(faults(json!({ "seed": 9007199254740992_u64 })), [("/seed".into(), "out_of_range")]);
    assert_eq!(faults(json!({ "seed": -2 })), [("/seed".into(), "out_of_range")]);
}

#[test]
fn every_bad_field_is_named_at_once() {
    let body = json!({
        "prompt": 7, "content": "ftp://x/y", "styles": ["s3://b/k", "nonsense", 3], "width": 8, "height": "tall",
        "steps": 1.5, "guidance": 11, "content_size": 4096, "keep_size": "yes", "format": "gif", "class": "slow",
        "priority": 101, "stepz": 3, "a/b": 1,
    });
    let mut found = faults(body);
    found.sort();
    let expected = [
        ("/a~1b", "unknown_field"),
        ("/class", "not_a_choice"),
        ("/content", "invalid_source"),
        ("/content_size", "out_of_range"),
        ("/format", "not_a_choice"),
        ("/guidance", "out_of_range"),
        ("/height", "wrong_type"),
        ("/keep_size", "wrong_type"),
        ("/priority", "out_of_range"),
        ("/prompt", "wrong_type"),
        ("/steps", "out_of_range"),
        ("/stepz", "unknown_field"),
        ("/styles/1", "invalid_source"),
        ("/styles/2", "wrong_type"),
        ("/width", "out_of_range"),
    ];
    assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
}

#[test]
fn messages_name_the_limit() {
    let message = |body| parse(body).unwrap_err().remove(0).message;
    assert_eq!(message(json!({ "steps": 200 })), "200 is not within 1 to 100");
    assert!(message(json!({ "prompt": "x".repeat(10_001) })).contains("10000"));
    assert!(message(json!({ "styles": vec!["s3://b/k"; 5] })).contains("at most 4"));
    assert!(message(json!({ "metadata": { "x": "y".repeat(5000) } })).contains("4096"));
}

#[test]
fn sources_are_read_and_written_the_same() {
    for text in ["s3://bucket/a/key.png", "upload:0198a0b0-0000-7000-8000-000000000000"] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
    for text in ["", "s3://", "s3://bucket", "s3:///key", "s3://b/../k", "upload:x", "file:///etc/passwd"] {
        assert!(text.parse::<Source>().is_err(), "{text}");
    }
}

#[test]
fn keeping_the_size_needs_a_content_reference() {
    assert_eq!(faults(json!({ "keep_size": true })), [("/keep_size".into(), "out_of_range")]);
    parse(json!({ "keep_size": true, "content": "s3://b/k" })).unwrap();
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    assert_eq!(faults(json!([1])), [(String::new(), "wrong_type")]);
}

#[test]
fn a_spec_survives_json() {
    let spec = parse(json!({ "content": "s3://b/k", "metadata": { "row": 7 } })).unwrap();
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<JobSpec>(&text).unwrap(), spec);
}

#[test]
fn a_job_without_a_step_cache_is_written_as_before() {
    let defaults = Defaults { max_step_cache: 0.5, ..Defaults::default() };
    let spec = |body: Value| JobSpec::parse(&body, &defaults).unwrap();
    let written = |spec: &JobSpec| serde_json::to_value(spec).unwrap();
    for none in [json!({ "seed": 1 }), json!({ "seed": 1, "step_cache": 0 })] {
        let spec = spec(none);
        assert!(written(&spec).get("step_cache").is_none());
        assert_eq!(serde_json::from_value::<JobSpec>(written(&spec)).unwrap(), spec);
    }
    let with = spec(json!({ "seed": 1, "step_cache": 0.5 }));
    assert_eq!(written(&with)["step_cache"], 0.5);
    assert_eq!(serde_json::from_value::<JobSpec>(written(&with)).unwrap(), with);
}

#[test]
fn lossy_formats_have_a_quality() {
    for (word, format) in [("jpeg", Format::Jpeg), ("webp", Format::WebP)] {
        let spec = parse(json!({ "format": word })).unwrap();
        assert_eq!((spec.format, spec.quality), (format, Some(DEFAULT_QUALITY)));
        let spec = parse(json!({ "format": word, "quality": 1, "seed": 1 })).unwrap();
        assert_eq!(spec.quality, Some(1));
        let written = serde_json::to_value(&spec).unwrap();
        assert_eq!((&written["format"], &written["quality"]), (&json!(word), &json!(1)));
        assert_eq!(serde_json::from_value::<JobSpec>(written).unwrap(), spec);
        for beyond in [0, 101] {
            let body = json!({ "format": word, "quality": beyond });
            assert_eq!(faults(body), [("/quality".into(), "out_of_range")]);
        }
        assert_eq!(faults(json!({ "format": word, "quality": "best" })), [("/quality".into(), "wrong_type")]);
    }
}

#[test]
fn a_png_has_no_quality() {
    for body in [json!({ "quality": 90 }), json!({ "format": "png", "quality": 90 })] {
        let refused = parse(body).unwrap_err();
        assert_eq!((refused[0].pointer.as_str(), refused[0].code), ("/quality", "out_of_range"));
        assert!(refused[0].message.contains("png has no quality"), "{}", refused[0].message);
    }
    assert_eq!(parse(json!({ "format": "png", "quality": null })).unwrap().quality, None);
    // The one fault is the format: nobody knows whether such a file has a quality.
    assert_eq!(faults(json!({ "format": "gif", "quality": 90 })), [("/format".into(), "not_a_choice")]);
}

/// A record as a version wrote it that knew PNG alone.
const RECORD: &str = r#"{"prompt":"a cat","content":null,"styles":[],"width":64,"height":64,"keep_size":false,"steps":5,"guidance":4.0,"content_size":512,"seed":1,"format":"png","class":"interactive","priority":0}"#;

#[test]
fn a_job_of_a_png_is_written_as_before_there_were_other_formats() {
    let spec = parse(json!({ "prompt": "a cat", "width": 64, "height": 64, "steps": 5, "seed": 1 })).unwrap();
    assert_eq!(serde_json::to_string(&spec).unwrap(), RECORD);
    assert_eq!(serde_json::from_str::<JobSpec>(RECORD).unwrap(), spec);
}

#[test]
fn an_output_without_a_thumbnail_is_read_and_written_as_before_there_were_any() {
    let record = r#"{"uri":"s3://b/0.png","sidecar":"s3://b/0.json","width":1,"height":1,"bytes":1,"sha256":"0","content_type":"image/png"}"#;
    let mut output: Output = serde_json::from_str(record).unwrap();
    assert_eq!(output.thumbnail, None);
    assert!(serde_json::to_value(&output).unwrap().get("thumbnail").is_none());
    output.thumbnail = Some("s3://b/0.thumb.webp".into());
    let written = serde_json::to_string(&output).unwrap();
    assert_eq!(serde_json::from_str::<Output>(&written).unwrap(), output);
}

fn subject(gate: Value) -> Value {
    json!({ "prompt": "a cat", "content": "s3://b/k", "styles": ["s3://b/k"], "seed": 1, "steps": 10, "gate": gate })
}

#[test]
fn a_job_without_a_gate_is_written_as_before() {
    let spec = parse(json!({ "seed": 1 })).unwrap();
    let written = serde_json::to_value(&spec).unwrap();
    assert!(written.get("gate").is_none());
    assert_eq!(serde_json::from_value::<JobSpec>(written).unwrap(), spec);
}

#[test]
fn a_gate_is_read_with_its_defaults_and_written_short() {
    let spec = parse(subject(json!({ "scorers": ["clip"] }))).unwrap();
    let gate = spec.gate.clone().unwrap();
    assert_eq!((gate.tries, gate.keep_best, gate.min.len(), &gate.early), (1, false, 0, &None));
    let written = serde_json::to_value(&spec).unwrap();
    assert_eq!(written["gate"], json!({ "scorers": ["clip"], "tries": 1 }));
    assert_eq!(serde_json::from_value::<JobSpec>(written).unwrap(), spec);
    let all = json!({
        "scorers": ["clip", "dino", "csd"],
        "min": { "clip_i": 0.6, "clip_t": 0.2, "dino": 0.5, "csd": -1.0, "sharpness": 40.0 },
        "tries": 16, "keep_best": true, "early": { "step": 9, "min": { "dino": 0.1 } },
    });
    let spec = parse(subject(all.clone())).unwrap();
    assert_eq!(serde_json::to_value(&spec.gate).unwrap(), all);
    parse(subject(json!({ "scorers": ["bundled"], "min": { "siglip_subject": 0.6, "siglip_style": 1 } })))
        .unwrap();
}

#[test]
fn every_fault_of_a_gate_is_named() {
    for (gate, expected) in [
        (json!(["clip"]), vec![("/gate", "wrong_type")]),
        (json!({}), vec![("/gate/scorers", "out_of_range")]),
        (json!({ "scorers": [] }), vec![("/gate/scorers", "out_of_range")]),
        (json!({ "scorers": "clip" }), vec![("/gate/scorers", "wrong_type")]),
        (json!({ "scorers": ["clip", "clip"] }), vec![("/gate/scorers/1", "twice")]),
        (
            json!({ "scorers": ["clip", "siglip", 3] }),
            vec![("/gate/scorers/1", "not_a_choice"), ("/gate/scorers/2", "not_a_choice")],
        ),
        (json!({ "scorers": ["bundled", "clip"] }), vec![("/gate/scorers", "out_of_range")]),
        (json!({ "scorers": ["clip"], "min": [0.5] }), vec![("/gate/min", "wrong_type")]),
        (
            json!({ "scorers": ["clip"], "min": { "clip_i": 1.1, "clip_t": "high", "flatness": 0.5 } }),
            vec![
                ("/gate/min/clip_i", "out_of_range"),
                ("/gate/min/clip_t", "wrong_type"),
                ("/gate/min/flatness", "unknown_field"),
            ],
        ),
        (json!({ "scorers": ["clip"], "min": { "dino": 0.5 } }), vec![("/gate/min/dino", "out_of_range")]),
        (
            json!({ "scorers": ["clip"], "tries": 0, "keep_best": 1, "max": {} }),
            vec![
                ("/gate/keep_best", "wrong_type"),
                ("/gate/max", "unknown_field"),
                ("/gate/tries", "out_of_range"),
            ],
        ),
        (json!({ "scorers": ["clip"], "tries": 17 }), vec![("/gate/tries", "out_of_range")]),
        (json!({ "scorers": ["clip"], "early": 3 }), vec![("/gate/early", "wrong_type")]),
        (
            json!({ "scorers": ["clip"], "early": { "min": { "clip_i": 0 } } }),
            vec![("/gate/early/step", "out_of_range")],
        ),
        (json!({ "scorers": ["clip"], "early": { "step": 3 } }), vec![("/gate/early/min", "out_of_range")]),
        (
            json!({ "scorers": ["clip"], "early": { "step": 10, "min": { "clip_i": 0 } } }),
            vec![("/gate/early/step", "out_of_range")],
        ),
    ] {
        let mut found = faults(subject(gate.clone()));
        found.sort();
        let expected: Vec<_> =
            expected.into_iter().map(|(pointer, code)| (pointer.to_owned(), code)).collect();
        assert_eq!(found, expected, "{gate}");
    }
}

#[test]
fn a_threshold_needs_what_its_score_compares_with() {
    let gate = json!({
        "scorers": ["clip", "dino", "csd"], "min": { "clip_i": 0.6, "clip_t": 0.2, "dino": 0.5, "csd": 0.1, "sharpness": 1 },
        "early": { "step": 3, "min": { "dino": 0.1 } },
    });
    let mut found = faults(json!({ "gate": gate }));
    found.sort();
    let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(
        pointers,
        ["/gate/early/min/dino", "/gate/min/clip_i", "/gate/min/clip_t", "/gate/min/csd", "/gate/min/dino",]
    );
    let message =
        &parse(json!({ "gate": { "scorers": ["dino"], "min": { "dino": 0.5 } } })).unwrap_err()[0].message;
    assert_eq!(message, "dino needs a content reference");
    assert_eq!(
        faults(json!({ "content": 3, "gate": { "scorers": ["dino"], "min": { "dino": 0.5 } } })),
        [("/content".to_owned(), "wrong_type")]
    );
}

#[test]
fn results_of_jobs_without_a_gate_are_written_as_before() {
    let output: Output = serde_json::from_value(json!({
        "uri": "a", "sidecar": "b", "width": 1, "height": 1, "bytes": 1, "sha256": "c", "content_type": "image/png",
    }))
    .unwrap();
    let written = serde_json::to_value(&output).unwrap();
    assert!(written.get("scores").is_none() && written["receipt"].get("tries").is_none(), "{written}");
    let old = json!({ "code": "broke", "message": "it broke", "retryable": false });
    let failure: uso_queue::Failure = serde_json::from_value(old.clone()).unwrap();
    assert_eq!(serde_json::to_value(&failure).unwrap(), old);
    let old = json!({ "step": 3, "key": "a", "sha256": "b", "fingerprint": "c" });
    let checkpoint: uso_queue::Checkpoint = serde_json::from_value(old.clone()).unwrap();
    assert_eq!(serde_json::to_value(&checkpoint).unwrap(), old);
}
