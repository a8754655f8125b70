//! A LoRA's file: the layers that it changes, and checks of its tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{TensorCounts, no_place};
use super::lora::{self, Pair, Read};
use crate::Error;
use crate::config::FluxConfig;
use crate::files::missing;
use crate::weights::{Located, Source, StoredType, WeightFile, Weights};

/// A file with a LoRA for the transformer.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    pub(crate) file: Arc<WeightFile>,
    read: Arc<Read>,
}

impl Adapter {
    /// Reads a file as a LoRA; None if no tensor in it is named like one.
    pub(super) fn read(file: &Arc<WeightFile>, flux: &FluxConfig) -> Option<Self> {
        file.header.tensors.keys().any(|name| lora::is_name(name)).then(|| {
            let read = Arc::new(lora::read(&file.header.tensors, flux));
            Self { file: Arc::clone(file), read }
        })
    }

    /// Opens a file by its path, wherever it is.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if it is missing or not a LoRA.
    pub(crate) fn open(path: &Path, flux: &FluxConfig) -> Result<Self, Error> {
        let source = Source::open(path).map_err(|error| missing(path, error.to_string()))?;
        let name = path.to_string_lossy().into_owned();
        let file = WeightFile::open(name, source, path).map_err(|reason| missing(path, reason))?;
        Self::read(&Arc::new(file), flux).ok_or_else(|| missing(path, "has no keys of a LoRA"))
    }

    /// Whether it is USO's LoRA: it changes most of the layers that USO changes, and hardly any other. Faults are found
    /// later.
    pub(super) fn is_uso(&self, flux: &FluxConfig) -> bool {
        let layers = lora::uso_layers(flux);
        let asked: BTreeSet<&str> = layers.iter().map(|(layer, _)| layer.as_str()).collect();
        let changed: BTreeSet<&str> = self.read.pairs.iter().map(|pair| pair.layer.as_str()).collect();
        let here = changed.intersection(&asked).count();
        let other = changed.len() - here;
        4 * here > 3 * asked.len() && 10 * other < asked.len()
    }

    /// The layers that it changes.
    pub(crate) fn pairs(&self) -> &[Pair] {
        &self.read.pairs
    }

    /// Checks that a LoRA is USO's, complete and without other tensors.
    ///
    /// # Errors
    /// [`Error::Weights`] naming file and tensor of the first fault.
    pub(super) fn check_uso(&self, flux: &FluxConfig) -> Result<TensorCounts, Error> {
        self.check_tensors()?;
        let asked: BTreeMap<String, usize> = lora::uso_layers(flux).into_iter().collect();
        for (layer, rows) in &asked {
            let ranges = self.pairs().iter().filter(|pair| pair.layer == *layer).flat_map(|pair| &pair.rows);
            let covered: usize = ranges.map(ExactSizeIterator::len).sum();
            if covered < *rows {
                return Err(self.fault(format!(
                    "tensors for layer {layer} are missing: {covered} of {rows} rows are changed"
                )));
            }
        }
        let beyond = self.pairs().iter().filter(|pair| {
            let rows = asked.get(&pair.layer);
            rows.is_none_or(|rows| pair.rows.iter().any(|range| range.end > *rows))
        });
        let mut added: Vec<String> = beyond.map(|pair| pair.down.clone()).collect();
        added.extend(self.read.unknown.iter().cloned());
        if added.is_empty() { Ok(self.counts()) } else { Err(self.fault(no_place(&added))) }
    }

    /// Checks any other LoRA: it may cover some layers only and have unknown tensors, but not only unknown ones.
    ///
    /// # Errors
    /// [`Error::Weights`] naming file and tensor of the first fault.
    pub(crate) fn check_extra(&self) -> Result<TensorCounts, Error> {
        self.check_tensors()?;
        if self.pairs().is_empty() {
            let reason =
                format!("no key fits a layer of the transformer, such as {}", self.read.unknown.join(", "));
            return Err(self.fault(shortened(reason)));
        }
        Ok(TensorCounts { added: self.read.unknown.clone(), ..self.counts() })
    }

    fn check_tensors(&self) -> Result<(), Error> {
        if let Some(reason) = self.file.fault() {
            return Err(self.fault(reason));
        }
        let header = &self.file.header;
        if let Some(reason) = self.read.faults.first() {
            return Err(self.fault(reason.clone()));
        }
        let names =
            self.pairs().iter().flat_map(|pair| [&pair.down, &pair.up].into_iter().chain(&pair.alpha));
        for name in names {
            let entry = &header.tensors[name];
            if !entry.stored.is_some_and(StoredType::is_wide_float) {
                return Err(
                    self.fault(format!("tensor {name} is {}, which LoRAs never are", entry.type_name))
                );
            }
        }
        Ok(())
    }

    fn counts(&self) -> TensorCounts {
        let used = self.pairs().iter().map(|pair| 2 + usize::from(pair.alpha.is_some())).sum();
        TensorCounts { used, ..TensorCounts::default() }
    }

    /// Its tensors for reading, under their names in the file.
    pub(crate) fn weights(&self) -> Weights {
        let located = |(name, entry): (&String, _)| {
            let file = Arc::clone(&self.file);
            (name.clone(), Located { file, name: name.clone(), entry: Clone::clone(entry), scale: None })
        };
        Weights::new(&self.file.path, self.file.header.tensors.iter().map(located).collect())
    }

    fn fault(&self, reason: String) -> Error {
        Error::Weights { file: self.file.path.clone().into(), reason }
    }
}

fn shortened(text: String) -> String {
    const MOST: usize = 200;
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST).chain("...".chars()).collect() }
}
