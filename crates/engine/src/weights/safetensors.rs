//! Headers of safetensors files: eight bytes of length, then JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::StoredType;
use super::contents::{Container, Entry, Header};
use super::source::Source;

const LENGTH: u64 = 8;
/// The format's own limit.
const MOST: u64 = 100_000_000;

#[derive(Deserialize)]
struct Described {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

pub(super) fn header(source: &Source) -> Result<Header, String> {
    let unreadable = |error: std::io::Error| error.to_string();
    let mut length = [0; LENGTH as usize];
    source.read_at(&mut length, 0).map_err(unreadable)?;
    let length = u64::from_le_bytes(length);
    let most = MOST.min(source.len().saturating_sub(LENGTH));
    if length > most {
        return Err(format!(
            "the file is cut short: its header has {length} bytes, at most {most} are there"
        ));
    }
    let mut text = vec![0; length as usize];
    source.read_at(&mut text, LENGTH).map_err(unreadable)?;
    let parts: BTreeMap<String, Value> =
        serde_json::from_slice(&text).map_err(|error| format!("header: {error}"))?;
    let mut header =
        Header { container: Container::Safetensors, tensors: BTreeMap::new(), metadata: BTreeMap::new() };
    for (name, value) in parts {
        if name == "__metadata__" {
            header.metadata = serde_json::from_value(value).unwrap_or_default();
            continue;
        }
        let entry = entry(value, LENGTH + length).map_err(|error| format!("tensor {name}: {error}"))?;
        header.tensors.insert(name, entry);
    }
    Ok(header)
}

fn entry(value: Value, data: u64) -> Result<Entry, String> {
    let Described { dtype, shape, data_offsets: [start, end] } =
        serde_json::from_value(value).map_err(|error| error.to_string())?;
    let bytes = end.checked_sub(start).ok_or("its bytes end before they begin")?;
    let start = data.checked_add(start).ok_or("its bytes begin beyond any file")?;
    Ok(Entry { stored: stored(&dtype), type_name: dtype, shape, start, bytes })
}

/// The format's names of the supported types.
const TYPES: [(&str, StoredType); 12] = [
    ("BOOL", StoredType::Bool),
    ("U8", StoredType::U8),
    ("I8", StoredType::I8),
    ("I16", StoredType::I16),
    ("I32", StoredType::I32),
    ("I64", StoredType::I64),
    ("F8_E4M3", StoredType::F8E4M3),
    ("F8_E5M2", StoredType::F8E5M2),
    ("F16", StoredType::F16),
    ("BF16", StoredType::BF16),
    ("F32", StoredType::F32),
    ("F64", StoredType::F64),
];

fn stored(dtype: &str) -> Option<StoredType> {
    TYPES.iter().find(|(name, _)| *name == dtype).map(|(_, stored)| *stored)
}

/// The format's name of a type; None if it has none.
pub(super) fn safetensors_name(stored: StoredType) -> Option<&'static str> {
    TYPES.iter().find(|(_, known)| *known == stored).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str, data: usize) -> Source {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        Source::Bundled(bytes.leak())
    }

    #[test]
    fn tensors_and_metadata_are_listed() {
        let json = r#"{"__metadata__":{"a":"b"},"x":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]}}"#;
        let source = file(json, 16);
        let header = header(&source).unwrap();
        let entry = &header.tensors["x"];
        assert_eq!((entry.stored, entry.bytes), (Some(StoredType::BF16), 12));
        assert_eq!(entry.start + entry.bytes, source.len());
        assert_eq!(header.metadata["a"], "b");
        assert_eq!(header.fault("x", source.len()), None);
    }

    #[test]
    fn a_fault_names_its_tensor() {
        let text = |json: &str, data| {
            let source = file(json, data);
            let header = header(&source).unwrap();
            header.fault("x", source.len()).unwrap()
        };
        let whole = r#"{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
        assert!(text(whole, 12).contains("cut short: tensor x"));
        let short = r#"{"x":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}}"#;
        assert!(text(short, 16).contains("tensor x has 16 bytes, its shape [5] in F32 asks for 20"));
        let endless = r#"{"x":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,16]}}"#;
        assert!(text(endless, 16).contains("not whole blocks"), "more than there can be");
    }

    #[test]
    fn a_hostile_header_is_refused() {
        let refused = |source: Source| header(&source).unwrap_err();
        let mut long = u64::MAX.to_le_bytes().to_vec();
        long.extend_from_slice(b"{}");
        assert!(refused(Source::Bundled(long.leak())).contains("cut short"));
        assert!(refused(file(r#"{"x":{"dtype":"F32"}}"#, 0)).contains("tensor x"));
        assert!(
            refused(file(r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#, 8)).contains("before")
        );
        let far = format!(r#"{{"x":{{"dtype":"F32","shape":[1],"data_offsets":[{0},{0}]}}}}"#, u64::MAX);
        assert!(refused(file(&far, 8)).contains("beyond"));
        assert!(refused(file("{nothing", 0)).contains("header"));
    }
}
