//! The bytes of a shard.

use std::io::Read as _;

use bytes::Bytes;
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::SerializedFileReader;
use serde_json::Value;
use uso_dataset::Split;
use uso_dataset::shards::{Row, RowLora, Scores, ShardWriter, read_row_file, write_row_file};

use crate::fixture::{outcome, picture, rows};

fn tar_of(rows: Vec<(Row, Vec<u8>)>) -> (Vec<u8>, uso_dataset::shards::Written) {
    let mut writer = ShardWriter::new(3);
    let mut tar = Vec::new();
    for (row, picture) in rows {
        tar.extend(writer.push(row, &picture).unwrap());
    }
    let written = writer.finish().unwrap();
    tar.extend(&written.last);
    (tar, written)
}

fn entries(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, content)
    });
    entries.collect()
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let (tar, written) = tar_of(rows(0..3, None));
    let (again, written_again) = tar_of(rows(0..3, None));
    assert!(tar == again && written.row_file == written_again.row_file);
    assert_eq!(written.stats.sha256, uso_store::hexadecimal_sha256(&tar));
    assert_eq!((written.stats.bytes, written.stats.rows), (tar.len() as u64, 3));
    assert_eq!(written.stats.file, "00003.tar");
    let header = tar::Header::from_byte_slice(&tar[..512]);
    assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.mode().unwrap()), (0, 0, 0o644));
}

#[test]
fn a_row_is_three_files_that_follow_each_other() {
    let (tar, _) = tar_of(rows(0..2, None));
    let entries = entries(&tar);
    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let of = |key: &str| ["png", "txt", "json"].map(|ending| format!("{key}.{ending}"));
    assert_eq!(names, [of("cup-0000"), of("cup-0001")].concat());
    assert!(entries[0].1 == picture(0));
    assert_eq!(entries[1].1, b"a cup, number 0");
    assert_eq!(entries[5].1, serde_json::to_vec(&rows(1..2, None)[0].0).unwrap());
}

#[test]
fn every_row_has_the_same_fields_of_the_same_types() {
    let split = Split { by: "key".into(), val: 0.5 };
    let scored = Row {
        scores: Scores { dino: Some(1.0), ..Scores::default() },
        weights: Some("w".into()),
        phash: Some("00ff".into()),
        started_ms: Some(1),
        ..rows(1..2, Some(&split)).remove(0).0
    };
    let plain = rows(0..1, None).remove(0).0;
    let (scored, plain) = (serde_json::to_string(&scored).unwrap(), serde_json::to_string(&plain).unwrap());
    let names = |text: &str| {
        let Value::Object(fields) = serde_json::from_str(text).unwrap() else { panic!() };
        fields.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(&scored), names(&plain));
    // A reader takes 4 for an integer and 4.0 for none.
    for float in ["\"guidance\":4.0,", "\"step_cache\":0.0,"] {
        assert!(scored.contains(float) && plain.contains(float), "{plain}");
    }
    assert!(scored.contains("\"dino\":1.0,") && plain.contains("\"dino\":null,"));
    assert!(scored.contains(r#""metadata":"{\"n\":1,\"subject\":\"cup-0\"}""#), "{scored}");
    assert!(!scored.contains("secret"), "what stands behind the ? of an address may be one");
}

#[test]
fn keys_that_name_no_file_are_written_otherwise() {
    let stem = |key: &str| {
        let mut outcome = outcome(0, &picture(0));
        outcome.key = key.into();
        let row = Row::of(&outcome, None).unwrap();
        assert_eq!(row.key, key);
        row.stem().to_owned()
    };
    assert_eq!(stem("katze-ä_1"), "katze-ä_1");
    assert_eq!(stem("../a.b c%"), "%2E%2E%2Fa%2Eb%20c%25");
    assert_eq!(stem(&"k".repeat(300)).len(), 64);
    let long = "k".repeat(200);
    let mut outcome = outcome(0, &picture(0));
    outcome.key.clone_from(&long);
    let (tar, _) = tar_of(vec![(Row::of(&outcome, None).unwrap(), picture(0))]);
    assert_eq!(entries(&tar)[2].0, format!("{long}.json"), "longer than a header's field");
}

#[test]
fn a_picture_that_is_not_the_rows_is_refused() {
    let (row, mut picture) = rows(0..1, None).remove(0);
    picture[40] ^= 1;
    let error = ShardWriter::new(0).push(row, &picture).unwrap_err();
    assert_eq!(error.to_string(), "cup-0000.png is damaged: its sha256 is not the recorded one");
}

#[test]
fn a_row_file_gives_the_rows_back() {
    let mut all: Vec<Row> =
        rows(0..9, Some(&Split { by: "subject".into(), val: 0.5 })).into_iter().map(|row| row.0).collect();
    let lora = |digest: Option<&str>| RowLora {
        name: "ink".into(),
        weight: -1.25,
        digest: digest.map(str::to_owned),
    };
    all[0].loras = vec![lora(None), lora(Some("d")), lora(None)];
    all[2].loras = vec![lora(Some("e"))];
    all[2].styles = vec!["a".into(); 4];
    all[3].scores =
        Scores { clip_i: Some(0.5), csd: Some(-0.0), flatness: Some(f64::MIN_POSITIVE), ..Scores::default() };
    all[4].seed = (1 << 53) - 1;
    all[5].prompt = "ein Bär 🐻\n\"x\"".into();
    all[5].split = None;
    all[6].started_ms = Some(7);
    let file = write_row_file(&all).unwrap();
    assert_eq!(read_row_file(file.into()).unwrap(), all);
    assert!(read_row_file("no parquet".into()).is_err());
}

#[test]
fn a_row_file_of_very_many_rows_has_several_groups() {
    let row = rows(1..2, None).remove(0).0;
    let all: Vec<Row> = (0..10_001).map(|number| Row { row: number, ..row.clone() }).collect();
    let file = Bytes::from(write_row_file(&all).unwrap());
    assert_eq!(SerializedFileReader::new(file.clone()).unwrap().num_row_groups(), 2);
    assert!(read_row_file(file).unwrap() == all);
}

#[test]
fn a_row_has_the_scores_and_the_seed_of_the_picture_that_was_taken() {
    let picture = picture(0);
    let mut outcome = outcome(0, &picture);
    assert_eq!(Row::of(&outcome, None).unwrap().scores, Scores::default());
    let scores = serde_json::json!({
        "accepted": true, "taken": 1, "phash": "8f00ff00ff00ff00", "profiles": { "dino": "dino-vits16@0123456789ab" },
        "tries": [
            { "seed": 0, "scores": { "dino": 0.25 }, "device_ms": 600 },
            { "seed": 77, "scores": { "dino": 0.75, "sharpness": 12.5 }, "device_ms": 600 },
        ],
    });
    let output = outcome.output.as_mut().unwrap();
    output.scores = Some(serde_json::from_value(scores).unwrap());
    output.receipt.tries = Some(2);
    let row = Row::of(&outcome, None).unwrap();
    assert_eq!((row.seed, row.tries, row.phash.as_deref()), (77, 2, Some("8f00ff00ff00ff00")));
    assert_eq!(row.scores, Scores { dino: Some(0.75), sharpness: Some(12.5), ..Scores::default() });
}
