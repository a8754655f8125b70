//! Headers of `torch.save` files: a zip file whose pickle describes the tensors, and whose other entries are their
//! numbers, not compressed.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;

use candle_core::DType;
use candle_core::pickle::{TensorInfo, read_pth_tensor_info};
use zip::{CompressionMethod, ZipArchive};

use super::StoredType;
use super::contents::{Container, Entry, Header};
use super::source::{Reader, Source};

pub(super) fn header(source: &Source, path: &Path) -> Result<Header, String> {
    let infos = infos(path)?;
    let mut zip = ZipArchive::new(BufReader::new(source.reader())).map_err(|error| error.to_string())?;
    let mut tensors = BTreeMap::new();
    for info in infos {
        let entry = entry(&mut zip, &info).map_err(|error| format!("tensor {}: {error}", info.name))?;
        tensors.insert(info.name, entry);
    }
    Ok(Header { container: Container::Pickle, tensors, metadata: BTreeMap::new() })
}

/// Keys under which training checkpoints keep the model's tensors, beside those of the optimiser.
const NESTED: [&str; 2] = ["model_state_dict", "state_dict"];

/// The tensors of the pickled dictionary; if it has none itself, those of the model in a training checkpoint.
fn infos(path: &Path) -> Result<Vec<TensorInfo>, String> {
    let read = |key| read_pth_tensor_info(path, false, key);
    let infos = read(None).map_err(|error| first_line(&error.to_string()))?;
    if !infos.is_empty() {
        return Ok(infos);
    }
    // A dictionary without the key is an error here.
    let nested = NESTED.iter().find_map(|key| read(Some(key)).ok().filter(|infos| !infos.is_empty()));
    Ok(nested.unwrap_or_default())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn entry(zip: &mut ZipArchive<BufReader<Reader<'_>>>, info: &TensorInfo) -> Result<Entry, String> {
    if !info.layout.is_contiguous() {
        return Err(format!("its strides {:?} are not those of a contiguous tensor", info.layout.stride()));
    }
    let index = zip.index_for_name(&info.path).ok_or(format!("the file has no {}", info.path))?;
    let storage = zip.by_index_raw(index).map_err(|error| error.to_string())?;
    if storage.compression() != CompressionMethod::Stored {
        return Err(format!("{} is compressed", info.path));
    }
    let shape = info.layout.dims().to_vec();
    let (stored, type_name) = stored(info.dtype);
    let bytes = stored.and_then(|stored| stored.bytes(&shape)).ok_or("its type or size is unknown")?;
    // Candle gives the offset in bytes.
    let offset = info.layout.start_offset() as u64;
    if offset.checked_add(bytes).is_none_or(|end| end > storage.size()) {
        return Err(format!(
            "its {bytes} bytes at {offset} are not within {} of {}",
            storage.size(),
            info.path
        ));
    }
    let start = storage.data_start().and_then(|start| start.checked_add(offset));
    Ok(Entry { stored, type_name, shape, start: start.ok_or("its place in the file is unknown")?, bytes })
}

fn stored(dtype: DType) -> (Option<StoredType>, String) {
    let stored = match dtype {
        DType::U8 => Some(StoredType::U8),
        DType::I64 => Some(StoredType::I64),
        DType::F16 => Some(StoredType::F16),
        DType::BF16 => Some(StoredType::BF16),
        DType::F32 => Some(StoredType::F32),
        DType::F64 => Some(StoredType::F64),
        _ => None,
    };
    (stored, dtype.as_str().to_owned())
}
