//! What the card tells readers of Hugging Face: which files are the data set, and the types of its columns.

use serde_json::{Map, Value, json};

use super::columns::{COLUMNS, Column, Kind};
use super::index::Index;

/// The name of the one split that readers show. With a split for training, the tars hold rows of both sides, so it is not
/// called `train` then.
pub(super) fn split_name(index: &Index) -> &'static str {
    if index.total.splits.is_empty() { "train" } else { "rows" }
}

/// The front matter as YAML, without its fences.
///
/// The tars are listed one by one: readers see exactly what is committed, miss loudly what was not downloaded, and do not
/// take what they have cached for a data set that has grown since. The types are said because the first rows do not show
/// them: a column may be null there.
pub(super) fn front_matter(name: &str, index: &Index) -> Result<String, serde_norway::Error> {
    let split = split_name(index);
    let tars: Vec<&str> = index.shards.iter().map(|shard| shard.file.as_str()).collect();
    let mut front = Map::new();
    let name: String = name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    front.insert("pretty_name".into(), name.into());
    front.insert("task_categories".into(), json!(["text-to-image"]));
    front.insert("tags".into(), json!(["webdataset", "synthetic"]));
    // Without a tar there is nothing to name.
    if !tars.is_empty() {
        let files = json!([{ "split": split, "path": tars }]);
        front.insert("configs".into(), json!([{ "config_name": "default", "data_files": files }]));
        front.insert("dataset_info".into(), json!([dataset_info(index, split)]));
    }
    serde_norway::to_string(&Value::Object(front))
}

fn dataset_info(index: &Index, split: &str) -> Value {
    let feature = |name: &str, kind: &str| json!({ "name": name, "dtype": kind });
    let mut features: Vec<Value> =
        index.total.formats.keys().map(|format| feature(format, "image")).collect();
    features.push(feature("txt", "string"));
    features.push(json!({ "name": "json", "struct": structure(COLUMNS) }));
    features.extend(["__key__", "__url__"].map(|name| feature(name, "string")));
    let size = index.total.picture_bytes;
    json!({
        "config_name": "default",
        "features": features,
        "splits": [{ "name": split, "num_bytes": size, "num_examples": index.rows }],
        "download_size": index.bytes,
        "dataset_size": size,
    })
}

/// The fields of a structure.
pub(super) fn structure(columns: &[Column]) -> Vec<Value> {
    let feature = |Column { name, kind, .. }: &Column| match kind {
        Kind::Text => json!({ "name": name, "dtype": "string" }),
        Kind::Integer => json!({ "name": name, "dtype": "int64" }),
        Kind::Float => json!({ "name": name, "dtype": "float64" }),
        Kind::Boolean => json!({ "name": name, "dtype": "bool" }),
        Kind::Texts => json!({ "name": name, "list": "string" }),
        Kind::List(fields) => json!({ "name": name, "list": structure(fields) }),
        Kind::Group(fields) => json!({ "name": name, "struct": structure(fields) }),
    };
    columns.iter().map(feature).collect()
}
