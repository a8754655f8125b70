//! What is written as a manifest is read as it was.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uso_dataset::rows::{Chunk, Kind, Row};

use super::fixture::{checker, raw, row};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,20}", "\\PC{0,8}", Just("a,\"b\"\r\n;c\n".to_owned())]
}

fn source() -> impl Strategy<Value = String> {
    "s3://[a-z]{1,5}/[a-z;]{1,9}"
}

prop_compose! {
    fn any_row()(
        prompt in of(text()),
        content in of(source()),
        styles in of(vec(source(), 1..4)),
        width in of(16..2048_u32),
        guidance in of((100..1000_u32).prop_map(|hundredths| f64::from(hundredths) / 100.0)),
        seed in of(-1..(1_i64 << 53)),
        priority in of(-100..100_i32),
        subject in of(text()),
    ) -> Value {
        let mut fields = Map::new();
        let mut add = |name: &str, value: Value| {
            if !value.is_null() {
                fields.insert(name.to_owned(), value);
            }
        };
        // An empty cell is one that is left out.
        add("prompt", json!(prompt.filter(|prompt| !prompt.is_empty())));
        add("content", json!(content));
        add("styles", json!(styles));
        add("width", json!(width));
        add("guidance", json!(guidance));
        add("seed", json!(seed));
        add("priority", json!(priority));
        add("metadata", subject.map_or(Value::Null, |subject| json!({ "subject": subject, "n": [1, 2.5] })));
        Value::Object(fields)
    }
}

/// As fields are named in a CSV file, in another order than in JSON.
const COLUMNS: [&str; 8] =
    ["seed", "styles", "metadata", "width", "prompt", "priority", "guidance", "content"];

fn to_csv(rows: &[Value]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).unwrap();
    for row in rows {
        let cell = |name: &str| match row.get(name) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        writer.write_record(COLUMNS.map(cell)).unwrap();
    }
    writer.into_inner().unwrap()
}

fn read(kind: Kind, text: Vec<u8>) -> Vec<Value> {
    raw(kind, text).into_iter().map(|row| Value::Object(row.unwrap().fields)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn jsonl_and_csv_give_what_was_written(rows in vec(any_row(), 1..20)) {
        let lines: Vec<String> = rows.iter().map(|row| format!("{row}\n")).collect();
        prop_assert_eq!(&read(Kind::Jsonl, lines.concat().into_bytes()), &rows);
        // A record without a single cell is an empty line to CSV only if it has one column.
        prop_assert_eq!(&read(Kind::Csv, to_csv(&rows)), &rows);
    }

    #[test]
    fn a_key_does_not_depend_on_order_or_on_what_is_left_out(fields in any_row(), turn in 0..8_usize) {
        let Value::Object(given) = fields.clone() else { unreachable!() };
        let mut entries: Vec<String> =
            given.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let places = entries.len().max(1);
        entries.rotate_left(turn % places);
        entries.push("\"loras\":null,\"step_cache\":null".to_owned());
        let other = format!("{{{}}}", entries.join(","));
        let one = checker().check(row(1, fields)).unwrap();
        let two = checker().check(row(1, serde_json::from_str(&other).unwrap())).unwrap();
        prop_assert_eq!(one, two);
    }

    #[test]
    fn a_chunk_reads_back(rows in vec(any_row(), 0..20)) {
        let mut checker = checker();
        let rows: Vec<Row> = (1..).zip(rows).filter_map(|(line, fields)| checker.check(row(line, fields)).ok()).collect();
        let chunk = Chunk::from(rows.clone());
        let back = Chunk::read("chunk", &chunk.write().unwrap()).unwrap().into_rows();
        let expected: Vec<Row> = (1..).zip(rows).map(|(line, row)| Row { line, ..row }).collect();
        prop_assert_eq!(back, expected);
    }
}
