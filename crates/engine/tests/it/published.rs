//! The small model's files in the formats that weights are published in.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};

/// A tensor of a file that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    /// The container's own name for the type: `BF16`, `F8_E4M3`, or ggml's number for one in a GGUF file.
    pub(crate) kind: Kind,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// A type as both containers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F16,
    BF16,
    F8E4M3,
    F8E5M2,
    I64,
    U8,
    Blocks(GgmlDType),
}

impl Kind {
    fn safetensors(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E5M2 => "F8_E5M2",
            Self::I64 => "I64",
            Self::U8 => "U8",
            Self::Blocks(_) => panic!("safetensors knows no blocks"),
        }
    }

    fn ggml(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 30,
            Self::I64 => 27,
            Self::U8 => 24,
            Self::F8E4M3 | Self::F8E5M2 => panic!("GGUF knows no eight-bit floats"),
            Self::Blocks(GgmlDType::Q4_0) => 2,
            Self::Blocks(GgmlDType::Q4_1) => 3,
            Self::Blocks(GgmlDType::Q5_0) => 6,
            Self::Blocks(GgmlDType::Q5_1) => 7,
            Self::Blocks(GgmlDType::Q8_0) => 8,
            Self::Blocks(GgmlDType::Q4K) => 12,
            Self::Blocks(GgmlDType::Q5K) => 13,
            Self::Blocks(GgmlDType::Q6K) => 14,
            Self::Blocks(other) => panic!("{other:?} is not written here"),
        }
    }

    pub(crate) fn bytes(self, shape: &[usize]) -> usize {
        let count: usize = shape.iter().product();
        match self {
            Self::F32 => 4 * count,
            Self::F16 | Self::BF16 => 2 * count,
            Self::F8E4M3 | Self::F8E5M2 | Self::U8 => count,
            Self::I64 => 8 * count,
            Self::Blocks(blocks) => count / blocks.block_size() * blocks.type_size(),
        }
    }
}

/// Names and tensors of a file.
pub(crate) type Tensors = BTreeMap<String, Raw>;

/// All tensors of a safetensors file, in float32 where they are floats.
pub(crate) fn read(path: &Path) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect()
}

/// A tensor's numbers in a type.
pub(crate) fn raw(tensor: &Tensor, kind: Kind) -> Raw {
    let shape = tensor.dims().to_vec();
    let flat = |dtype| tensor.to_dtype(dtype).unwrap().flatten_all().unwrap();
    let floats = || flat(DType::F32).to_vec1::<f32>().unwrap();
    let bytes = match kind {
        Kind::F32 => floats().into_iter().flat_map(f32::to_le_bytes).collect(),
        Kind::F16 => safetensors_bytes(&flat(DType::F16)),
        Kind::BF16 => safetensors_bytes(&flat(DType::BF16)),
        Kind::F8E4M3 => safetensors_bytes(&flat(DType::F8E4M3)),
        // The upper halves of float16: rounded towards zero.
        Kind::F8E5M2 => safetensors_bytes(&flat(DType::F16)).into_iter().skip(1).step_by(2).collect(),
        Kind::I64 => {
            flat(DType::I64).to_vec1::<i64>().unwrap().into_iter().flat_map(i64::to_le_bytes).collect()
        }
        Kind::U8 => flat(DType::U8).to_vec1().unwrap(),
        Kind::Blocks(blocks) => QTensor::quantize(&tensor.to_dtype(DType::F32).unwrap(), blocks)
            .unwrap()
            .data()
            .unwrap()
            .into_owned(),
    };
    Raw { kind, shape, bytes }
}

fn safetensors_bytes(tensor: &Tensor) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    candle_core::safetensors::save(&std::collections::HashMap::from([("x", tensor.clone())]), file.path())
        .unwrap();
    let bytes = std::fs::read(file.path()).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

/// Writes a safetensors file; metadata beside the tensors, if any.
pub(crate) fn write_safetensors(path: &Path, tensors: &Tensors, metadata: &[(&str, &str)]) {
    let data: Vec<u8> = tensors.values().flat_map(|raw| raw.bytes.clone()).collect();
    write(path, &[safetensors_header(tensors, metadata).0, data].concat());
}

/// A header, and the number of bytes that follow it.
fn safetensors_header(tensors: &Tensors, metadata: &[(&str, &str)]) -> (Vec<u8>, usize) {
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        let metadata: BTreeMap<_, _> = metadata.iter().copied().collect();
        header.insert("__metadata__".into(), serde_json::to_value(metadata).unwrap());
    }
    let mut end = 0;
    for (name, Raw { kind, shape, .. }) in tensors {
        let offsets = [end, end + kind.bytes(shape)];
        end = offsets[1];
        let entry =
            serde_json::json!({ "dtype": kind.safetensors(), "shape": shape, "data_offsets": offsets });
        header.insert(name.clone(), entry);
    }
    let mut text = serde_json::to_vec(&header).unwrap();
    text.resize(text.len().next_multiple_of(8), b' ');
    ([&(text.len() as u64).to_le_bytes(), &text[..]].concat(), end)
}

/// Writes a GGUF file, with an architecture if one is given.
pub(crate) fn write_gguf(path: &Path, tensors: &Tensors, architecture: Option<&str>) {
    let mut data = Vec::new();
    for raw in tensors.values() {
        data.extend(&raw.bytes);
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    }
    write(path, &[gguf_header(tensors, architecture).0, data].concat());
}

const ALIGNMENT: usize = 32;

/// A header, and the number of bytes that follow it.
fn gguf_header(tensors: &Tensors, architecture: Option<&str>) -> (Vec<u8>, usize) {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut header =
        [b"GGUF".as_slice(), &3u32.to_le_bytes(), &(tensors.len() as u64).to_le_bytes()].concat();
    header.extend(u64::from(architecture.is_some()).to_le_bytes());
    if let Some(architecture) = architecture {
        header
            .extend([text("general.architecture"), 8u32.to_le_bytes().to_vec(), text(architecture)].concat());
    }
    let mut end = 0usize;
    for (name, Raw { kind, shape, .. }) in tensors {
        header.extend(text(name));
        header.extend((shape.len().max(1) as u32).to_le_bytes());
        let mut turned: Vec<u64> = shape.iter().rev().map(|side| *side as u64).collect();
        if turned.is_empty() {
            turned.push(1);
        }
        turned.iter().for_each(|side| header.extend(side.to_le_bytes()));
        header.extend(kind.ggml().to_le_bytes());
        header.extend((end as u64).to_le_bytes());
        end = (end + kind.bytes(shape)).next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    (header, end)
}

/// Writes a file's true header and a hole where the numbers would be; gives back where those begin.
pub(crate) fn write_hole(path: &Path, tensors: &Tensors) -> u64 {
    let is_gguf = path.extension().is_some_and(|extension| extension == "gguf");
    let (header, data) = if is_gguf { gguf_header(tensors, None) } else { safetensors_header(tensors, &[]) };
    write(path, &header);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len((header.len() + data) as u64).unwrap();
    header.len() as u64
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}
