//! Blocks of a weight file that are used directly from the file, without a copy.
//!
//! The file is mapped into memory. Its pages are in the page cache anyway, and several processes share them. To replace
//! such a file, write the new one beside it and rename it, as packing does; the old file then stays until no process
//! uses it. If a mapped file is overwritten in place, numbers change while they are used. If it is truncated, the
//! operating system ends this process (SIGBUS) when it reads a missing page.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::quantized::k_quants::{self, GgmlType};
use candle_core::quantized::{GgmlDType, QStorage, QuantizedType};
use candle_core::{CpuStorage, Result, bail};
use half::f16;
use memmap2::{Advice, Mmap, MmapOptions};

use super::source::{self, Source};
use super::{Entry, Located};

/// Bytes mapped of all weight files of this process.
static MAPPED: AtomicU64 = AtomicU64::new(0);

/// Bytes of weight files that this process has mapped. The operating system counts them as available memory, but the
/// computation needs them.
pub(crate) fn bytes_mapped() -> u64 {
    MAPPED.load(Ordering::Relaxed)
}

impl Located {
    /// Its blocks, mapped from their file and read ahead. None for numbers that must be copied: those that are not
    /// blocks, that are inside the binary, or whose address is not aligned for blocks.
    ///
    /// # Errors
    /// If the file was truncated since it was opened, or cannot be read.
    pub(crate) fn in_place(&self) -> Result<Option<QStorage>> {
        let Entry { start, bytes, stored, .. } = &self.entry;
        let Some(ggml) = stored.and_then(|stored| stored.quantised()) else { return Ok(None) };
        match &self.file.source {
            Source::File(file, _) if *bytes > 0 => storage(map(file, *start, *bytes)?, ggml),
            Source::File(..) | Source::Bundled(_) => Ok(None),
        }
    }
}

fn map(file: &File, start: u64, bytes: u64) -> io::Result<Mmap> {
    if start.checked_add(bytes).is_none_or(|end| end > file.metadata().map_or(0, |metadata| metadata.len())) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, CUT));
    }
    let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut options = MmapOptions::new();
    options.offset(start).len(length);
    // SAFETY: `Mmap` gives out `&[u8]`, which is sound only as long as nobody writes to the file or truncates it, and
    // no code can check that. We rely on the operator: weight files are replaced by a rename, never changed in place
    // (the module documentation says what happens otherwise). Apart from that, the range was checked against the file's
    // length, the mapping is read-only, and every pattern of bits is a valid number of a block.
    #[expect(unsafe_code, reason = "others may change a file that is mapped")]
    let map = unsafe { options.map(file) }?;
    Ok(map)
}

const CUT: &str = "the file was truncated since it was opened";

/// The blocks of a mapping, read ahead; None if its address is not aligned for them.
fn storage(map: Mmap, ggml: GgmlDType) -> Result<Option<QStorage>> {
    match ggml {
        GgmlDType::Q4_0 => blocks::<k_quants::BlockQ4_0>(map),
        GgmlDType::Q4_1 => blocks::<k_quants::BlockQ4_1>(map),
        GgmlDType::Q5_0 => blocks::<k_quants::BlockQ5_0>(map),
        GgmlDType::Q5_1 => blocks::<k_quants::BlockQ5_1>(map),
        GgmlDType::Q8_0 => blocks::<k_quants::BlockQ8_0>(map),
        GgmlDType::Q2K => blocks::<k_quants::BlockQ2K>(map),
        GgmlDType::Q3K => blocks::<k_quants::BlockQ3K>(map),
        GgmlDType::Q4K => blocks::<k_quants::BlockQ4K>(map),
        GgmlDType::Q5K => blocks::<k_quants::BlockQ5K>(map),
        GgmlDType::Q6K => blocks::<k_quants::BlockQ6K>(map),
        _ => Ok(None),
    }
}

fn blocks<T: GgmlType + 'static>(map: Mmap) -> Result<Option<QStorage>> {
    if !map.as_ptr().cast::<T>().is_aligned() || !map.len().is_multiple_of(size_of::<T>()) {
        return Ok(None);
    }
    read_ahead(&map)?;
    Ok(Some(QStorage::Cpu(Box::new(Blocks::<T>::new(map)))))
}

/// Makes the operating system read a mapping now, so that products do not wait for the disk.
fn read_ahead(map: &Mmap) -> io::Result<()> {
    // Asks for all pages at once, where the next call reads a few at a time. This is only a hint; the next call reads
    // them in any case.
    let _ = map.advise(Advice::WillNeed);
    #[cfg(target_os = "linux")]
    match map.advise(Advice::PopulateRead) {
        // Linux before 5.14 does not support it.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        // The error for a page that cannot be read is "bad address".
        Err(error) => return Err(io::Error::new(error.kind(), format!("{CUT}, or cannot be read: {error}"))),
        Ok(()) => {}
    }
    source::count(map.len());
    Ok(())
}

/// Blocks of one type in a mapping.
struct Blocks<T> {
    map: Mmap,
    of: PhantomData<T>,
}

impl<T: GgmlType> Blocks<T> {
    /// The mapping must be aligned for blocks, and have the length of whole blocks.
    fn new(map: Mmap) -> Self {
        MAPPED.fetch_add(map.len() as u64, Ordering::Relaxed);
        Self { map, of: PhantomData }
    }

    fn all(&self) -> &[T] {
        // SAFETY: `blocks` has checked alignment and length, the mapping lives as long as the slice, and ggml's blocks
        // are plain numbers in C layout, for which every pattern of bits is valid. That the bytes do not change rests on
        // the operator, see `map`.
        #[expect(unsafe_code, reason = "candle has no safe call for bytes that are not its own")]
        unsafe {
            std::slice::from_raw_parts(self.map.as_ptr().cast(), self.map.len() / size_of::<T>())
        }
    }
}

impl<T> Drop for Blocks<T> {
    fn drop(&mut self) {
        MAPPED.fetch_sub(self.map.len() as u64, Ordering::Relaxed);
    }
}

/// Same as candle's implementation for its own vectors.
impl<T: GgmlType> QuantizedType for Blocks<T> {
    fn dtype(&self) -> GgmlDType {
        T::DTYPE
    }

    fn matmul_t(&self, mkn: (usize, usize, usize), lhs: &[f32], dst: &mut [f32]) -> Result<()> {
        k_quants::matmul(mkn, lhs, self.all(), dst)
    }

    fn matmul_t_f16(&self, mkn: (usize, usize, usize), lhs: &[f16], dst: &mut [f16]) -> Result<()> {
        k_quants::matmul_f16(mkn, lhs, self.all(), dst)
    }

    fn embedding(&self, ids: &[u32], rows: usize, hidden: usize) -> Result<CpuStorage> {
        let (row, blocks) = (hidden / T::BLCK_SIZE, self.all());
        if !hidden.is_multiple_of(T::BLCK_SIZE) || blocks.len() != rows * row {
            bail!("{} blocks are not {rows} rows of {hidden} numbers", blocks.len());
        }
        let mut numbers = vec![0f32; ids.len() * hidden];
        for (id, into) in ids.iter().zip(numbers.chunks_exact_mut(hidden.max(1))) {
            let start = *id as usize * row;
            let Some(from) = blocks.get(start..start + row) else { bail!("there is no row {id} of {rows}") };
            T::to_float(from, into);
        }
        Ok(CpuStorage::F32(numbers))
    }

    fn dequantize(&self, count: usize) -> Result<CpuStorage> {
        let mut numbers = vec![0f32; count];
        T::to_float(self.all(), &mut numbers);
        Ok(CpuStorage::F32(numbers))
    }

    fn storage_size_in_bytes(&self) -> usize {
        self.map.len()
    }

    fn as_ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }

    fn block_size(&self) -> usize {
        T::BLCK_SIZE
    }

    fn from_float(&mut self, _: &[f32]) {
        unreachable!("candle quantises into memory of its own alone");
    }

    fn from_float_imatrix(&mut self, _: &[f32], _: &[f32], _: usize) {
        unreachable!("candle quantises into memory of its own alone");
    }

    fn size(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use candle_core::quantized::QTensor;
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::matrix::Matrix;
    use crate::noise::normal;
    use crate::weights::{Placed, StoredType, WeightFile, gguf_header};

    const SHAPE: (usize, usize) = (6, 512);
    const TYPES: [StoredType; 10] = [
        StoredType::Q4_0,
        StoredType::Q4_1,
        StoredType::Q5_0,
        StoredType::Q5_1,
        StoredType::Q8_0,
        StoredType::Q2K,
        StoredType::Q3K,
        StoredType::Q4K,
        StoredType::Q5K,
        StoredType::Q6K,
    ];

    /// A GGUF file with one matrix after `behind` bytes, and the same matrix as candle loads it into memory.
    fn file(folder: &Path, stored: StoredType, behind: usize) -> (Located, QTensor) {
        let numbers = Tensor::from_vec(normal(5, SHAPE.0 * SHAPE.1), SHAPE, &Device::Cpu).unwrap();
        let own = QTensor::quantize(&numbers, stored.quantised().unwrap()).unwrap();
        let placed = Placed { name: "x".into(), stored, shape: vec![SHAPE.0, SHAPE.1] };
        let mut bytes = gguf_header(&[&placed], &BTreeMap::new());
        bytes.resize(bytes.len() + behind, 0);
        bytes.extend_from_slice(&own.data().unwrap());
        let path = folder.join(format!("{stored}-{behind}.gguf"));
        std::fs::write(&path, bytes).unwrap();
        let file = WeightFile::open("x.gguf".into(), Source::open(&path).unwrap(), &path).unwrap();
        let mut entry = file.header.tensors["x"].clone();
        entry.start += behind as u64;
        (Located { file: Arc::new(file), name: "x".into(), entry, scale: None }, own)
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn blocks_in_their_file_are_those_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let x = Tensor::from_vec(normal(6, 3 * SHAPE.1), (3, SHAPE.1), &Device::Cpu).unwrap();
        let half = x.to_dtype(DType::F16).unwrap();
        for stored in TYPES {
            let (located, own) = file(folder.path(), stored, 0);
            let read = source::bytes_read();
            let storage = located.in_place().unwrap().unwrap();
            assert!(source::bytes_read() >= read + located.entry.bytes, "{stored}: it counts as read");
            let mapped = QTensor::new(storage, SHAPE).unwrap();
            assert!(mapped.data().unwrap() == own.data().unwrap(), "{stored}");
            assert_eq!(
                (mapped.dtype(), mapped.storage_size_in_bytes()),
                (own.dtype(), own.storage_size_in_bytes())
            );
            let ids = Tensor::new(&[4u32, 0, 5], &Device::Cpu).unwrap();
            let rows = |blocks: &QTensor| numbers(&blocks.embedding(&ids).unwrap());
            assert_eq!(rows(&mapped), rows(&own), "{stored}");
            let beyond = Tensor::new(&[SHAPE.0 as u32], &Device::Cpu).unwrap();
            assert!(mapped.embedding(&beyond).is_err(), "{stored}");
            let all = |blocks: &QTensor| numbers(&blocks.dequantize(&Device::Cpu).unwrap());
            assert_eq!(all(&mapped), all(&own), "{stored}");
            for x in [&x, &half] {
                let product = |blocks: &QTensor| {
                    numbers(&x.apply_op1_no_bwd(blocks).unwrap().to_dtype(DType::F32).unwrap())
                };
                assert_eq!(product(&mapped), product(&own), "{stored}");
            }
        }
    }

    #[test]
    fn what_does_not_lie_as_it_should_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (located, own) = file(folder.path(), StoredType::Q8_0, 1);
        assert!(located.in_place().unwrap().is_none(), "an odd address");
        let (stored, bytes) = (StoredType::Q8_0, located.bytes().unwrap());
        let matrix = Matrix::from_bytes(stored, SHAPE, &bytes, None, DType::F32, &Device::Cpu).unwrap();
        let numbers_of = |tensor: Tensor| numbers(&tensor);
        assert_eq!(
            numbers_of(matrix.dequantise(DType::F32).unwrap()),
            numbers_of(own.dequantize(&Device::Cpu).unwrap())
        );
        let bundled = Source::Bundled(std::fs::read(folder.path().join("q8_0-1.gguf")).unwrap().leak());
        let file = WeightFile::open("x".into(), bundled, Path::new("x")).unwrap();
        let entry = file.header.tensors["x"].clone();
        let inside = Located { file: Arc::new(file), name: "x".into(), entry, scale: None };
        assert!(inside.in_place().unwrap().is_none(), "inside the binary");
    }

    #[test]
    fn a_file_that_was_cut_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (located, _) = file(folder.path(), StoredType::Q4K, 0);
        let Source::File(file, bytes) = &located.file.source else { panic!("it is a file") };
        let path = folder.path().join("q4_k-0.gguf");
        std::fs::File::options().write(true).open(path).unwrap().set_len(bytes - 1).unwrap();
        assert_eq!(file.metadata().unwrap().len(), bytes - 1);
        assert!(located.in_place().err().unwrap().to_string().contains(CUT));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_is_cut_while_it_is_read_is_an_error() {
        const PAGES: u64 = 64 << 10;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, vec![0; 2 * PAGES as usize]).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        let map = map(&file, 0, 2 * PAGES).unwrap();
        file.set_len(PAGES).unwrap();
        assert!(read_ahead(&map).unwrap_err().to_string().contains(CUT));
    }
}
