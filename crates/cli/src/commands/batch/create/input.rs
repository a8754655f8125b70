//! The rows of a local manifest or grid.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use uso_dataset::rows::{BadRow, Checker, Grid, Kind, MAX_GRID, Manifest, Options, Row};
use uso_dataset::{Error, Split, file};
use uso_queue::Defaults;

use super::fleet::FleetFacts;
use super::local::LocalPictures;
use super::steady::Steady;
use crate::args::{CreateBatchArgs, ManifestKind, Unknown};

/// The rows of a local manifest or grid. They are read anew each time, and never held all at once.
pub(super) struct Input {
    path: PathBuf,
    kind: ManifestKind,
    options: Options,
    defaults: Defaults,
    split: Option<Split>,
    pictures: Arc<LocalPictures>,
    steady: Steady,
}

impl Input {
    pub(super) fn open(args: &CreateBatchArgs, fleet: &FleetFacts) -> anyhow::Result<Self> {
        let path = PathBuf::from(&args.manifest);
        let kind = kind(args).with_context(|| {
            format!(
                "{}: say what it is with --kind, or name it .jsonl, .ndjson, .csv, .parquet, .json (USO's evaluation), \
                 .yaml or .yml (a grid)",
                path.display()
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self {
            path,
            kind,
            options: Options { unknown_to_metadata: args.unknown == Unknown::Metadata },
            defaults: fleet.defaults.clone(),
            split: split(args),
            pictures: Arc::new(LocalPictures::new(folder, fleet.max_bytes)),
            steady: Steady::default(),
        })
    }

    /// What a row's number counts.
    pub(super) fn place(&self) -> &'static str {
        self.kind.place()
    }

    pub(super) fn pictures(&self) -> &Arc<LocalPictures> {
        &self.pictures
    }

    /// Whether it was found to be another one than at first.
    pub(super) fn has_changed(&self) -> bool {
        self.steady.has_changed()
    }

    /// Reads and checks all rows from the first on. Blocks.
    ///
    /// # Errors
    /// If it cannot be read to its end, or has changed since it was read for the first time: rows that have changed are
    /// not given. What `sink` returns ends it too.
    pub(super) fn each_row(
        &self,
        sink: impl FnMut(Result<Row, BadRow>) -> Result<(), Error>,
    ) -> anyhow::Result<()> {
        let pictures = self.pictures.clone();
        let mut checker = Checker::new(self.defaults.clone(), self.options)
            .with_place(self.place())
            .with_split(self.split.clone())
            .with_references(move |text| pictures.resolve(text));
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let mut reading = self.steady.begin(self.path.display().to_string(), sink);
        checker.check_all(&mut self.manifest()?, threads, |row| reading.take(row))?;
        Ok(reading.end()?)
    }

    fn manifest(&self) -> anyhow::Result<Manifest> {
        match self.kind.format() {
            Some(kind) => Ok(Manifest::open(&self.path, Some(kind))?),
            None => Ok(self.grid()?.into()),
        }
    }

    fn grid(&self) -> anyhow::Result<Grid> {
        let path = self.path.display();
        let text =
            file::read_text(&self.path, MAX_GRID as u64).with_context(|| format!("cannot read {path}"))?;
        Grid::parse(&text).with_context(|| path.to_string())
    }
}

/// How the caller wants rows to be split.
pub(super) fn split(args: &CreateBatchArgs) -> Option<Split> {
    Some(Split { by: args.split_by.clone()?, val: args.split_val? })
}

/// What the caller says that the manifest is, or its name; none if neither does.
pub(super) fn kind(args: &CreateBatchArgs) -> Option<ManifestKind> {
    args.kind.or_else(|| kind_of(Path::new(&args.manifest)))
}

fn kind_of(path: &Path) -> Option<ManifestKind> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "yaml" | "yml" => return Some(ManifestKind::Grid),
        _ => {}
    }
    Some(match Kind::of(path)? {
        Kind::Jsonl => ManifestKind::Jsonl,
        Kind::Csv => ManifestKind::Csv,
        Kind::Parquet => ManifestKind::Parquet,
        Kind::Evaluation => ManifestKind::Evaluation,
    })
}
