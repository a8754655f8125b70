//! Rows are checked: each by itself, then against those before it.

use uso_queue::Defaults;

use super::manifest::Manifest;
use super::pipeline::in_order;
use super::row::{BadRow, RawRow, Row};
use super::rules::{Options, Reference, Rules};
use super::seen::Seen;
use crate::{Error, Split};

/// Checks the rows of a batch: each by itself as [`Rules`] say, and that no two have the same key.
pub struct Checker {
    rules: Rules,
    seen: Seen,
}

impl Checker {
    /// A checker with what a row that leaves a field out gets. References are taken as they are written.
    pub fn new(defaults: Defaults, options: Options) -> Self {
        Self { rules: Rules::new(defaults, options), seen: Seen::new("row") }
    }

    /// As [`Rules::with_references`].
    #[must_use]
    pub fn with_references(
        self,
        resolve: impl Fn(&str) -> Result<Reference, String> + Send + Sync + 'static,
    ) -> Self {
        Self { rules: self.rules.with_references(resolve), ..self }
    }

    /// As [`Rules::with_split`].
    #[must_use]
    pub fn with_split(self, split: Option<Split>) -> Self {
        Self { rules: self.rules.with_split(split), ..self }
    }

    /// With what a row's number counts, as messages are to say: `row` without this, see [`Kind::place`](super::Kind::place).
    #[must_use]
    pub fn with_place(self, place: &'static str) -> Self {
        Self { seen: Seen::new(place), ..self }
    }

    /// Checks the next row. What it keeps of a row is 16 bytes.
    ///
    /// # Errors
    /// All that is wrong with the row; a second row with a key names the first.
    pub fn check(&mut self, raw: RawRow) -> Result<Row, BadRow> {
        self.rules.read(raw).and_then(|row| self.seen.admit(row))
    }

    /// Checks all rows of a manifest, on `threads` threads beside this one, and gives them to `sink` in their order.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the manifest cannot be read on; what `sink` returns ends it too.
    pub fn check_all(
        &mut self,
        manifest: &mut Manifest,
        threads: usize,
        mut sink: impl FnMut(Result<Row, BadRow>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Self { rules, seen } = self;
        let read = |raw: Result<RawRow, BadRow>| raw.and_then(|raw| rules.read(raw));
        in_order(manifest, threads, read, |row| sink(row.and_then(|row| seen.admit(row))))
    }
}
