//! Texts that clients send: what was written reads back, and no text makes a parser panic.

use std::fmt::Display;
use std::str::FromStr;

use proptest::prelude::*;
use uso_queue::{ApiKey, BatchId, Defaults, EventId, JobId, JobSpec, LetterId, ListCursor, Source};

/// Whatever a parser takes, it takes again as it is written down.
fn reads_back<T: FromStr + Display + PartialEq>(text: &str) -> Result<(), TestCaseError> {
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string().parse::<T>();
        prop_assert!(again.is_ok_and(|again| again == value), "{text:?}, then {value}");
    }
    Ok(())
}

fn all_read_back(text: &str) -> Result<(), TestCaseError> {
    reads_back::<JobId>(text)?;
    reads_back::<BatchId>(text)?;
    reads_back::<EventId>(text)?;
    reads_back::<LetterId>(text)?;
    reads_back::<ListCursor>(text)?;
    reads_back::<Source>(text)?;
    let key = text.parse::<ApiKey>();
    prop_assert!(key.is_err() || key.is_ok_and(|key| key.expose() == text));
    Ok(())
}

/// Texts that begin as an id, a cursor or a reference does.
fn nearly() -> impl Strategy<Value = String> {
    const ID: &str = "0198a0b0-0000-7000-8000-00000000000a";
    let beginnings = ["", "p", "j", "7-", "j7-", "upload:", "s3://", "https://", "uso_"].map(str::to_owned);
    let middles = ["", ID, "5-0", "12345", "@"].map(str::to_owned);
    let pieces = (
        prop::sample::select(beginnings.to_vec()),
        prop::sample::select(middles.to_vec()),
        "\\PC{0,12}|[-0-9a-f]{0,12}",
    );
    pieces.prop_map(|(beginning, middle, rest)| [beginning, middle, rest].concat())
}

/// JSON as a client may send it.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,9}".prop_map(Into::into),
    ];
    let fields =
        ["prompt", "content", "styles", "loras", "width", "steps", "seed", "step_cache", "start_by", "other"];
    leaf.prop_recursive(3, 20, 5, move |inner| {
        let name = prop::sample::select(fields.map(str::to_owned).to_vec());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(name, inner, 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn what_a_parser_takes_reads_back(text in nearly()) {
        all_read_back(&text)?;
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,80}") {
        all_read_back(&text)?;
    }

    #[test]
    fn a_job_that_is_accepted_reads_back(body in json()) {
        let Ok(spec) = JobSpec::parse(&body, &Defaults::default()) else { return Ok(()) };
        let text = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<JobSpec>(&text).unwrap(), spec);
    }
}
