//! Packs a model into one file that loads as it is: USO's LoRA merged, the large matrices in a tier, every other tensor
//! unchanged.
//!
//! Tensors are read, changed and written one after another, so that a model of 24 GB needs little memory. The file is
//! GGUF, or safetensors for fp8, which GGUF does not have. Its parts have the prefixes of an all-in-one checkpoint.

mod contents;
mod file;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use self::contents::{Contents, Packing};
use self::file::Layout;
use crate::Error;
use crate::matrix::Tier;
use crate::model::Model;
use crate::weights::StoredType;

/// Progress of packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes written.
    pub done: u64,
    /// Bytes of the finished file.
    pub of: u64,
}

/// What packing has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Name of the weight file.
    pub name: String,
    /// Matrices of the transformer's blocks, without those of its modulations.
    pub matrices: usize,
    /// Those of them that stay as they are because their rows are not multiples of the tier's blocks, by type.
    pub others: BTreeMap<StoredType, usize>,
}

/// Packs a model into `folder`, which becomes a model folder. No file is replaced by another one.
///
/// # Errors
/// [`Error::Request`] for a tier that files are not made in, or that no matrix can have. [`Error::ModelFile`] or
/// [`Error::Weights`] for a model that is incomplete, or whose transformer is already quantised: quantising twice would lose
/// more. [`Error::Write`] if the folder cannot be written, or has other files of these names.
pub fn pack(
    model: &Model,
    tier: Tier,
    folder: &Path,
    report: &mut dyn FnMut(Progress),
) -> Result<Packed, Error> {
    if tier != tier.of_files() {
        let reason = format!("{tier} is a way to multiply {}: pack that", tier.of_files());
        return Err(Error::Request { parameter: "tier", reason });
    }
    model.check()?;
    let contents = Contents::new(model, tier)?;
    let name = format!("uso-{tier}.{}", if tier == Tier::Fp8 { "safetensors" } else { "gguf" });
    refuse_replacing(model, folder, &name)?;
    std::fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
    copy_small_files(model, folder)?;
    // The file gets its final name when it is complete, so that nobody loads a partial one.
    let (part, whole) = (folder.join(format!("{name}.part")), folder.join(&name));
    write(&contents, &part, report)?;
    std::fs::rename(&part, &whole).map_err(|error| unwritten(&whole, &error))?;
    Ok(Packed { name, matrices: contents.matrices().count(), others: contents.others() })
}

/// Refuses a folder that has this file already, or other small files than the model's.
fn refuse_replacing(model: &Model, folder: &Path, name: &str) -> Result<(), Error> {
    let reason = "is there already, and packing replaces nothing: remove it, or name a new folder";
    let refused = |file| Err(Error::Write { file, reason: reason.into() });
    let whole = folder.join(name);
    if whole.symlink_metadata().is_ok() {
        return refused(whole);
    }
    for (from, to) in model.small_files_and_places() {
        let there = folder.join(to);
        if there.symlink_metadata().is_err() {
            continue;
        }
        let same = std::fs::read(&there).ok() == Some(model.files().read(&from)?.into_owned());
        if !same {
            return refused(there);
        }
    }
    Ok(())
}

fn unwritten(path: &Path, error: &std::io::Error) -> Error {
    Error::Write { file: path.to_owned(), reason: error.to_string() }
}

fn write(contents: &Contents, path: &Path, report: &mut dyn FnMut(Progress)) -> Result<(), Error> {
    let failed = |error: std::io::Error| unwritten(path, &error);
    let layout = Layout::new(contents);
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(path).map_err(failed)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    writer.write_all(layout.header()).map_err(failed)?;
    let (mut digest, mut done) = (Sha256::new(), 0);
    // As many tensors at once as there are processors, in the order of the file.
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for window in contents.packings.chunks(threads) {
        for (packing, produced) in window.iter().zip(produce(contents, window)) {
            for (bytes, placed) in produced?.iter().zip(&packing.tensors) {
                digest.update(bytes);
                writer.write_all(bytes).map_err(failed)?;
                let padding = layout.padding(placed.bytes());
                writer.write_all(&vec![0; padding]).map_err(failed)?;
                done += bytes.len() as u64;
            }
            report(Progress { done, of: layout.data_bytes() });
        }
    }
    let digest = hex::encode(digest.finalize());
    writer.seek(SeekFrom::Start(layout.digest_at())).map_err(failed)?;
    writer.write_all(digest.as_bytes()).map_err(failed)?;
    let file = writer.into_inner().map_err(|error| unwritten(path, error.error()))?;
    file.sync_all().map_err(failed)
}

fn produce(contents: &Contents, window: &[Packing]) -> Vec<Result<Vec<Vec<u8>>, Error>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            window.iter().map(|packing| scope.spawn(|| contents.produce(packing))).collect();
        let lost = || Err(Error::Weights { file: "".into(), reason: "a thread that packs was lost".into() });
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    })
}

/// Copies the model's configuration, and the small files of its encoders, to their places in this project's layout.
fn copy_small_files(model: &Model, folder: &Path) -> Result<(), Error> {
    for (from, to) in model.small_files_and_places() {
        let target = folder.join(&to);
        let above = target.parent().unwrap_or(folder);
        std::fs::create_dir_all(above).map_err(|error| unwritten(above, &error))?;
        std::fs::write(&target, &*model.files().read(&from)?).map_err(|error| unwritten(&target, &error))?;
    }
    Ok(())
}
