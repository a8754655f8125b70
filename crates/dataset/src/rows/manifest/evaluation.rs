//! The layout of USO's own evaluation.

use std::io::Read;

use serde_json::{Map, Value};

use crate::rows::fields::is_key;
use crate::rows::row::{BadRow, RawRow};

/// Longest evaluation in bytes: it is held whole, at several times its size.
pub const MAX_EVALUATION: usize = 16 << 20;

/// Rows of an evaluation.
pub(super) fn rows(input: impl Read) -> Result<impl Iterator<Item = Result<RawRow, BadRow>>, String> {
    let mut text = Vec::new();
    let read = input.take(MAX_EVALUATION as u64 + 1).read_to_end(&mut text);
    if read.map_err(|error| error.to_string())? > MAX_EVALUATION {
        return Err(format!("it is longer than {MAX_EVALUATION} bytes; write it as JSONL"));
    }
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
    let entries: Vec<Value> = serde_json::from_slice(text)
        .map_err(|error| format!("it is not an array of JSON objects: {error}"))?;
    Ok((1..).zip(entries).map(|(line, entry)| row(line, entry)))
}

fn row(line: u64, entry: Value) -> Result<RawRow, BadRow> {
    let Value::Object(mut fields) = entry else {
        return Err(BadRow::new(line, "", "wrong_type", "must be a JSON object"));
    };
    match fields.remove("image_paths") {
        None | Some(Value::Null) => {}
        Some(Value::Array(paths)) => {
            let none = |path: &Value| path.is_null() || path.as_str() == Some("");
            let mut paths = paths.into_iter();
            if let Some(content) = paths.next().filter(|path| !none(path)) {
                fields.insert("content".to_owned(), content);
            }
            fields.insert("styles".to_owned(), paths.filter(|path| !none(path)).collect());
        }
        Some(_) => {
            return Err(BadRow::new(line, "/image_paths", "wrong_type", "must be an array of strings"));
        }
    }
    if let Some(stem) = fields.remove("save_dir").filter(|stem| !stem.is_null()) {
        keep_stem(&mut fields, stem);
    }
    Ok(RawRow { line, fields, labels: Map::new() })
}

fn keep_stem(fields: &mut Map<String, Value>, stem: Value) {
    if stem.as_str().is_some_and(is_key) && !fields.contains_key("key") {
        fields.insert("key".to_owned(), stem.clone());
    }
    if let Value::Object(metadata) = fields.entry("metadata").or_insert_with(|| Map::new().into()) {
        metadata.entry("save_dir").or_insert(stem);
    }
}
