//! Files as `torch.save` writes them, with holes where the numbers would be.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use crate::published::Tensors;

/// Writes a dictionary of float32 tensors, or one that has it under `key`, as a zip file. All numbers are zero, and the
/// file takes no room for them. Check sums are left out: no reader of ours looks at those of numbers.
pub(crate) fn write_torch_hole(path: &Path, key: Option<&str>, tensors: &Tensors) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut zip = Zip { file: File::create(path).unwrap(), entries: Vec::new() };
    zip.add("archive/data.pkl", &pickle(key, tensors));
    for (index, raw) in tensors.values().enumerate() {
        zip.add_hole(&format!("archive/data/{index}"), raw.kind.bytes(&raw.shape) as u32);
    }
    zip.add("archive/version", b"3\n");
    zip.end();
}

/// A pickle of protocol 2 of the dictionary.
fn pickle(key: Option<&str>, tensors: &Tensors) -> Vec<u8> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |number: usize| [b"J", &(number as u32).to_le_bytes()[..]].concat();
    let tuple = |numbers: &[usize]| {
        let inner: Vec<u8> = numbers.iter().flat_map(|n| number(*n)).collect();
        [b"(", &inner[..], b"t"].concat()
    };
    let dictionary = b"ccollections\nOrderedDict\n)R(".as_slice();
    let mut out = b"\x80\x02".to_vec();
    if let Some(key) = key {
        out.extend([b"}(".as_slice(), &text("iter"), &number(7), &text(key)].concat());
    }
    out.extend(dictionary);
    for (index, (name, raw)) in tensors.iter().enumerate() {
        let count: usize = raw.shape.iter().product();
        let strides: Vec<usize> = (1..=raw.shape.len()).map(|i| raw.shape[i..].iter().product()).collect();
        out.extend([text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(), text("storage")].concat());
        out.extend(b"ctorch\nFloatStorage\n");
        out.extend([text(&index.to_string()), text("cpu"), number(count), b"tQ".to_vec()].concat());
        out.extend([number(0), tuple(&raw.shape), tuple(&strides)].concat());
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend(b"u");
    if key.is_some() {
        out.extend(b"u");
    }
    out.extend(b".");
    out
}

struct Zip {
    file: File,
    /// Name, check sum, bytes and place of each entry.
    entries: Vec<(String, u32, u32, u32)>,
}

impl Zip {
    fn add(&mut self, name: &str, data: &[u8]) {
        self.begin(name, crc32(data), data.len() as u32);
        self.file.write_all(data).unwrap();
    }

    fn add_hole(&mut self, name: &str, bytes: u32) {
        self.begin(name, 0, bytes);
        let end = self.file.stream_position().unwrap() + u64::from(bytes);
        self.file.set_len(end).unwrap();
        self.file.seek(SeekFrom::End(0)).unwrap();
    }

    fn begin(&mut self, name: &str, sum: u32, bytes: u32) {
        let at = self.file.stream_position().unwrap() as u32;
        self.entries.push((name.to_owned(), sum, bytes, at));
        let header = [b"PK\x03\x04\x14\0".as_slice(), &sizes(name, sum, bytes), &0u16.to_le_bytes()];
        self.file.write_all(&header.concat()).unwrap();
        self.file.write_all(name.as_bytes()).unwrap();
    }

    fn end(mut self) {
        let start = self.file.stream_position().unwrap() as u32;
        for (name, sum, bytes, at) in &self.entries {
            let header =
                [b"PK\x01\x02\x14\0\x14\0".as_slice(), &sizes(name, *sum, *bytes), &[0; 12]].concat();
            self.file.write_all(&header).unwrap();
            self.file.write_all(&at.to_le_bytes()).unwrap();
            self.file.write_all(name.as_bytes()).unwrap();
        }
        let bytes = self.file.stream_position().unwrap() as u32 - start;
        let count = (self.entries.len() as u16).to_le_bytes();
        let end = [&count[..], &count, &bytes.to_le_bytes(), &start.to_le_bytes(), &[0; 2]].concat();
        self.file.write_all(&[b"PK\x05\x06\0\0\0\0".as_slice(), &end].concat()).unwrap();
    }
}

/// What both headers of a stored entry share, from the flags to the length of its name.
fn sizes(name: &str, sum: u32, bytes: u32) -> Vec<u8> {
    let (sum, bytes, length) = (sum.to_le_bytes(), bytes.to_le_bytes(), (name.len() as u16).to_le_bytes());
    [&[0u8, 0, 0, 0, 0, 0, 0x21, 0][..], &sum, &bytes, &bytes, &length].concat()
}

fn crc32(data: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
    !data.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}
