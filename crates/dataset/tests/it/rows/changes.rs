//! Chunks of rows, and what a newer manifest changes.

use serde_json::json;
use uso_dataset::rows::{CHUNK_ROWS, Change, Changes, Chunk, Row};

use super::fixture::{check, good, row};

fn rows(keys: &[(&str, &str)]) -> Vec<Row> {
    good((1..).zip(keys).map(|(line, (key, prompt))| row(line, json!({ "key": key, "prompt": prompt }))))
}

#[test]
fn a_chunk_is_lines_of_json() {
    let row = check(json!({ "key": "k", "prompt": "a", "seed": 1 })).unwrap();
    let text = Chunk::from(vec![row.clone()]).write().unwrap();
    let line: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let names: Vec<&String> = line.as_object().unwrap().keys().collect();
    assert_eq!(names, ["digest", "group", "job", "key"]);
    assert_eq!(line["job"], json!(row.job));
    assert_eq!(line["digest"], row.digest.to_string());
    let mut chunk = Chunk::default();
    (0..CHUNK_ROWS - 1).for_each(|_| chunk.push(row.clone()));
    assert!(!chunk.is_full());
    chunk.push(row);
    assert!(chunk.is_full() && chunk.rows().len() == CHUNK_ROWS);
    assert_eq!(Chunk::read("c", &chunk.write().unwrap()).unwrap().rows().len(), CHUNK_ROWS);
}

#[test]
fn what_is_no_chunk_is_refused_with_its_line() {
    let text = Chunk::from(rows(&[("a", "x"), ("b", "y")])).write().unwrap();
    let text = String::from_utf8(text).unwrap();
    let read = |text: &str| Chunk::read("b/000001.jsonl", text.as_bytes()).unwrap_err().to_string();
    let cut = read(&text[..text.len() - 1]);
    assert_eq!(cut, "b/000001.jsonl cannot be read: its last line is cut off");
    for (from, to, reason) in [
        ("\"key\":\"b\"", "\"key\":\"b.c\"", "line 2: \"b.c\" is no key"),
        ("\"key\":\"b\"", "\"kez\":\"b\"", "line 2: unknown field `kez`"),
        ("\"prompt\":\"y\"", "\"prompt\":5", "line 2: invalid type: integer `5`, expected a string"),
        ("\"digest\":\"", "\"digest\":\"z", "line 1: a digest has 32 hexadecimal digits"),
    ] {
        let error = read(&text.replace(from, to));
        assert!(error.starts_with(&format!("b/000001.jsonl cannot be read: {reason}")), "{error}");
    }
    let long = Chunk::from(vec![check(json!({})).unwrap(); CHUNK_ROWS + 1]).write().unwrap();
    assert!(read(&String::from_utf8(long).unwrap()).ends_with("1001 rows, a chunk has at most 1000"));
    assert!(Chunk::read("c", b"").unwrap().rows().is_empty());
}

#[test]
fn a_newer_manifest_is_compared_by_key_and_digest() {
    let mut changes = Changes::default();
    for row in rows(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]) {
        changes.old(&row.key, row.digest);
    }
    let newer = rows(&[("c", "3"), ("e", "5"), ("a", "another"), ("b", "2")]);
    let found: Vec<Change> = newer.iter().map(|row| changes.compare(&row.key, row.digest)).collect();
    assert_eq!(found, [Change::Same, Change::New, Change::Changed, Change::Same]);
    assert_eq!((changes.same, changes.new, changes.changed, changes.missing()), (2, 1, 1, 1));
    assert!(changes.is_missing("d") && !changes.is_missing("a") && !changes.is_missing("e"));
}
