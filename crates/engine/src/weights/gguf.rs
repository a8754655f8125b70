//! Headers of GGUF files, versions 2 and 3 (`docs/gguf.md` of ggml).

use std::collections::BTreeMap;
use std::io::{BufReader, Read};

use super::StoredType;
use super::contents::{Container, Entry, Header};
use super::source::{Reader, Source};

pub(super) const MAGIC: &[u8] = b"GGUF";
const MOST_TENSORS: u64 = 1 << 20;
const MOST_PAIRS: u64 = 1 << 16;
const MOST_NAME: u64 = 1 << 16;
const MOST_DIMENSIONS: u32 = 4;
/// Most nested arrays; those of models are not nested so deeply.
const DEPTH: u32 = 4;

pub(super) fn header(source: &Source) -> Result<Header, String> {
    let mut reading = Reading { reader: BufReader::new(source.reader()), read: 0, bytes: source.len() };
    reading.skip(MAGIC.len() as u64)?;
    let version = reading.u32()?;
    if !(2..=3).contains(&version) {
        return Err(format!("GGUF version {version} is not supported, only 2 and 3 are"));
    }
    let tensors = within("tensors", reading.u64()?, MOST_TENSORS)?;
    let pairs = within("metadata pairs", reading.u64()?, MOST_PAIRS)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..pairs {
        let key = reading.name()?;
        let kind = reading.u32()?;
        if let Some(value) = reading.value(kind, DEPTH)? {
            metadata.insert(key, value);
        }
    }
    let mut described = BTreeMap::new();
    for _ in 0..tensors {
        let (name, entry) = reading.tensor()?;
        described.insert(name, entry);
    }
    let alignment = alignment(&metadata)?;
    let data = reading.read.next_multiple_of(alignment);
    for (name, entry) in &mut described {
        entry.start = data.checked_add(entry.start).ok_or(format!("tensor {name} begins beyond any file"))?;
    }
    Ok(Header { container: Container::Gguf, tensors: described, metadata })
}

fn alignment(metadata: &BTreeMap<String, String>) -> Result<u64, String> {
    const KEY: &str = "general.alignment";
    let Some(text) = metadata.get(KEY) else { return Ok(32) };
    let number = text.parse::<u64>().ok().filter(|number| number.is_power_of_two() && *number <= 1 << 20);
    number.ok_or(format!("{KEY} {text} is not a power of two up to 1048576"))
}

fn within(what: &str, count: u64, most: u64) -> Result<u64, String> {
    if count > most { Err(format!("{count} {what} are more than {most}")) } else { Ok(count) }
}

/// Reads numbers and counts the bytes read.
struct Reading<'a> {
    reader: BufReader<Reader<'a>>,
    read: u64,
    bytes: u64,
}

impl Reading<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.reader
            .read_exact(bytes)
            .map_err(|_| format!("the file is cut short: its header ends at byte {}", self.bytes))?;
        self.read += bytes.len() as u64;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        let left = self.bytes.saturating_sub(self.read);
        if bytes > left {
            return Err(format!("the file is cut short: its header ends at byte {}", self.bytes));
        }
        // Not beyond the end of the file, so it fits the type of a seek.
        self.reader.seek_relative(bytes as i64).map_err(|error| error.to_string())?;
        self.read += bytes;
        Ok(())
    }

    fn name(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        let length = within("bytes of a name", length, MOST_NAME)?;
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| "a name in the header is not UTF-8".into())
    }

    /// A metadata value as text; arrays and long texts are skipped.
    fn value(&mut self, kind: u32, depth: u32) -> Result<Option<String>, String> {
        Ok(Some(match kind {
            0 => self.array::<1>()?[0].to_string(),
            1 => self.array().map(i8::from_le_bytes)?.to_string(),
            2 => self.array().map(u16::from_le_bytes)?.to_string(),
            3 => self.array().map(i16::from_le_bytes)?.to_string(),
            4 => self.u32()?.to_string(),
            5 => self.array().map(i32::from_le_bytes)?.to_string(),
            6 => self.array().map(f32::from_le_bytes)?.to_string(),
            7 => (self.array::<1>()?[0] != 0).to_string(),
            8 => return self.text(),
            9 => return self.pass_array(depth).map(|()| None),
            10 => self.u64()?.to_string(),
            11 => self.array().map(i64::from_le_bytes)?.to_string(),
            12 => self.array().map(f64::from_le_bytes)?.to_string(),
            other => return Err(format!("metadata of type {other} is unknown")),
        }))
    }

    fn text(&mut self) -> Result<Option<String>, String> {
        let length = self.u64()?;
        if length > MOST_NAME {
            return self.skip(length).map(|()| None);
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn pass_array(&mut self, depth: u32) -> Result<(), String> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 | 9 if depth > 0 => {
                for _ in 0..count {
                    if kind == 8 {
                        let length = self.u64()?;
                        self.skip(length)?;
                    } else {
                        self.pass_array(depth - 1)?;
                    }
                }
                return Ok(());
            }
            other => return Err(format!("an array of type {other} is unknown")),
        };
        self.skip(count.checked_mul(size).ok_or("an array is longer than any file")?)
    }

    /// A tensor whose start is still relative to the first byte of the data.
    fn tensor(&mut self) -> Result<(String, Entry), String> {
        let name = self.name()?;
        let dimensions = self.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(format!(
                "tensor {name} has {dimensions} dimensions, at most {MOST_DIMENSIONS} are known"
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let side =
                usize::try_from(self.u64()?).map_err(|_| format!("tensor {name} is larger than memory"))?;
            shape.push(side);
        }
        // The fastest dimension comes first in the file.
        shape.reverse();
        let number = self.u32()?;
        let start = self.u64()?;
        let (stored, type_name) = ggml_type(number);
        let bytes = stored.and_then(|stored| stored.bytes(&shape)).unwrap_or(0);
        Ok((name, Entry { stored, type_name, shape, start, bytes }))
    }
}

/// The types of `enum ggml_type` of ggml.h that weights can have.
const TYPES: [(u32, StoredType); 18] = [
    (0, StoredType::F32),
    (1, StoredType::F16),
    (2, StoredType::Q4_0),
    (3, StoredType::Q4_1),
    (6, StoredType::Q5_0),
    (7, StoredType::Q5_1),
    (8, StoredType::Q8_0),
    (10, StoredType::Q2K),
    (11, StoredType::Q3K),
    (12, StoredType::Q4K),
    (13, StoredType::Q5K),
    (14, StoredType::Q6K),
    (24, StoredType::I8),
    (25, StoredType::I16),
    (26, StoredType::I32),
    (27, StoredType::I64),
    (28, StoredType::F64),
    (30, StoredType::BF16),
];

fn ggml_type(number: u32) -> (Option<StoredType>, String) {
    match TYPES.iter().find(|(known, _)| *known == number) {
        Some((_, stored)) => (Some(*stored), stored.to_string()),
        None => (None, format!("ggml type {number}")),
    }
}

/// Ggml's number of a type; None if it has none.
pub(super) fn gguf_number(stored: StoredType) -> Option<u32> {
    TYPES.iter().find(|(_, known)| *known == stored).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    fn file(tensors: u64, pairs: &[Vec<u8>], infos: &[Vec<u8>], data: usize) -> Source {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend((pairs.len() as u64).to_le_bytes());
        bytes.extend(pairs.concat());
        bytes.extend(infos.concat());
        bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
        Source::Bundled(bytes.leak())
    }

    fn info(name: &str, dimensions: &[u64], kind: u32, start: u64) -> Vec<u8> {
        let mut bytes = text(name);
        bytes.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|side| bytes.extend(side.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes
    }

    fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
    }

    #[test]
    fn shapes_are_turned_and_arrays_passed_over() {
        let words: Vec<u8> =
            [8u32.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), text("a"), text("bc")].concat();
        let pairs =
            [pair("general.architecture", 8, &text("flux")), pair("tokenizer.ggml.tokens", 9, &words)];
        let source = file(2, &pairs, &[info("w", &[64, 3], 8, 0), info("b", &[3], 0, 224)], 236);
        let header = header(&source).unwrap();
        assert_eq!(header.metadata, BTreeMap::from([("general.architecture".into(), "flux".into())]));
        let entry = &header.tensors["w"];
        assert_eq!(
            (entry.stored, entry.shape.as_slice(), entry.bytes),
            (Some(StoredType::Q8_0), [3, 64].as_slice(), 204)
        );
        assert_eq!(header.fault("w", source.len()), None);
        assert_eq!(header.fault("b", source.len()), None);
        assert!(header.fault("b", source.len() - 1).unwrap().contains("cut short: tensor b"));
    }

    #[test]
    fn a_type_without_a_reader_is_kept_by_its_number() {
        let header = header(&file(1, &[], &[info("w", &[256], 23, 0)], 256)).unwrap();
        assert_eq!(
            (header.tensors["w"].stored, header.tensors["w"].type_name.as_str()),
            (None, "ggml type 23")
        );
    }

    #[test]
    fn a_hostile_header_is_refused() {
        let refused = |source: Source| header(&source).unwrap_err();
        assert!(refused(file(u64::MAX, &[], &[], 0)).contains("tensors"));
        assert!(refused(file(3, &[], &[], 0)).contains("cut short"));
        assert!(refused(file(1, &[], &[info("w", &[1; 9], 0, 0)], 0)).contains("9 dimensions"));
        let long = [10u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat();
        assert!(refused(file(0, &[pair("a", 9, &long)], &[], 0)).contains("longer than any file"));
        let odd = pair("general.alignment", 4, &3u32.to_le_bytes());
        assert!(refused(file(0, &[odd], &[], 0)).contains("general.alignment 3"));
        assert!(refused(file(1, &[], &[info("w", &[1], 0, u64::MAX)], 0)).contains("beyond"));
    }
}
