//! Reads the headers of weight files: what a file holds, without its numbers.

use std::path::Path;

use super::contents::{Container, Header};
use super::source::Source;
use super::{gguf, pickle, safetensors};
use crate::guard::guarded;

/// Bytes that are enough to recognise a file.
const BEGINNING: u64 = 512;

impl Header {
    /// Reads the header of `source`. A pickle is opened again at `path`.
    pub(crate) fn read(source: &Source, path: &Path) -> Result<Self, String> {
        let beginning = source.beginning(BEGINNING).map_err(|error| error.to_string())?;
        match container(&beginning)? {
            Container::Safetensors => safetensors::header(source),
            Container::Gguf => gguf::header(source),
            Container::Pickle => guarded(|| pickle::header(source, path)),
        }
    }

    /// The fault of a tensor's bytes, if there is one: fewer of them than its shape needs, or a file that ends too
    /// early.
    pub fn fault(&self, name: &str, file_bytes: u64) -> Option<String> {
        let entry = self.tensors.get(name)?;
        let wanted = entry.stored.map(|stored| stored.bytes(&entry.shape));
        match wanted {
            Some(None) => {
                return Some(format!(
                    "tensor {name} has shape {:?}, not whole blocks of {} or more than any file has",
                    entry.shape, entry.type_name
                ));
            }
            Some(Some(wanted)) if wanted != entry.bytes => {
                return Some(format!(
                    "tensor {name} has {} bytes, its shape {:?} in {} asks for {wanted}",
                    entry.bytes, entry.shape, entry.type_name
                ));
            }
            _ => {}
        }
        let end = entry.start.checked_add(entry.bytes);
        match end {
            Some(end) if end <= file_bytes => None,
            _ => Some(format!(
                "the file is cut short: tensor {name} needs bytes {} to {}, there are {file_bytes}",
                entry.start,
                entry.start.saturating_add(entry.bytes)
            )),
        }
    }
}

fn container(beginning: &[u8]) -> Result<Container, String> {
    if beginning.is_empty() {
        return Err("is empty".into());
    }
    if beginning.starts_with(b"version https://git-lfs") {
        return Err("is a git-lfs pointer, not the file itself: fetch it with `git lfs pull`".into());
    }
    if beginning.starts_with(gguf::MAGIC) {
        return Ok(Container::Gguf);
    }
    if beginning.starts_with(b"PK\x03\x04") {
        return Ok(Container::Pickle);
    }
    if beginning.get(8) == Some(&b'{') {
        return Ok(Container::Safetensors);
    }
    let text = String::from_utf8_lossy(beginning).trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        return Err("is a web page, not weights: the download was answered by a page".into());
    }
    if beginning.starts_with(b"\x80\x02") {
        return Err("is a pickle of PyTorch before 1.6: save it again with a newer one".into());
    }
    Err("is not a safetensors, GGUF or PyTorch file".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_named_for_what_they_are() {
        let refused =
            |bytes: &'static [u8]| Header::read(&Source::Bundled(bytes), Path::new("x")).unwrap_err();
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        assert!(refused(pointer).contains("git-lfs pointer"));
        assert!(refused(b"\n <!DOCTYPE html><html>Please log in</html>").contains("web page"));
        assert!(refused(b"<HTML><head>").contains("web page"));
        assert!(refused(b"").contains("empty"));
        assert!(refused(b"\x80\x02\x8a\nl\xfc").contains("before 1.6"));
        assert!(refused(b"hello, this is a text").contains("is not a safetensors"));
    }
}
