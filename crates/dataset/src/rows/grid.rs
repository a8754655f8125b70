//! Rows from all combinations of subjects, styles, prompts, sizes and seeds.

mod axes;
mod exclude;
mod file;
mod kept;
mod sample;
mod template;

use serde_json::{Map, Value, json};

use self::axes::{Axes, Point};
use self::exclude::Rule;
use self::file::GridFile;
use self::kept::Kept;
pub use self::kept::MAX_COMBINATIONS;
use super::row::{MAX_ROWS, RawRow};
use crate::Error;

/// Fields of which a row must have one.
const ASKS: [&str; 3] = ["prompt", "content", "styles"];

/// Longest grid file in bytes.
pub const MAX_GRID: usize = 4 << 20;

/// All combinations of subjects, styles, prompts, sizes and seeds, written down in a few lines of YAML:
///
/// ```yaml
/// subjects: [{ name: fox, image: fox.png, kind: animal }, cup.png]   # cup.png is called cup
/// styles: [{ name: ink, image: ink.png }, { name: oil, image: oil.png }]
/// style_pairs: [[ink, oil]]            # beside each style alone; it is called ink+oil
/// prompts: ["A {subject.name} in {style.name} style"]                 # {{ and }} are braces
/// seeds: { from: 0, count: 4 }         # or a list
/// sizes: ["1024x1024", [768, 1024]]
/// fixed: { steps: 25, metadata: { set: 7 } }                          # any fields of a row
/// exclude: [{ subject: cup, style: ink }, { subject.kind: animal, size: 768x1024 }, { style_count: 1 }]
/// sample: 1000                         # that many rows of all, always the same for the same sample_seed
/// sample_seed: 1
/// ```
///
/// Whatever is left out has no part in the rows. In `exclude` a value may be a list of values; a rule excludes what all
/// its parts match: `subject` and `style` by name, `prompt` by number from 0, `size`, `seed`, `style_count` (styles of a
/// row), and `subject.X` or `style.X` by what the file says there. For a pair, `{style.X}` is `a and b`.
///
/// The order lets workers reuse what they have encoded: by subject, then style, then prompt; sizes and seeds change
/// first. A row is worked out from its number; nothing is kept but, with `exclude`, 8 bytes for 256 combinations, and
/// 8 bytes a sampled row.
///
/// `metadata` of each row has `subject`, `style` (names) and `prompt` (its number). Keys come from a hash of what is
/// asked for, names included: what you add to a grid leaves old keys as they are. Paths are given as they are written, as
/// those of a [`Manifest`](super::Manifest).
#[derive(Debug)]
pub struct Grid {
    axes: Axes,
    rules: Vec<Rule>,
    /// None if nothing is excluded.
    kept: Option<Kept>,
    /// Numbers of the sampled rows among the kept ones, in order.
    sample: Option<Vec<u64>>,
    fixed: Map<String, Value>,
}

impl Grid {
    /// Reads a grid file.
    ///
    /// # Errors
    /// [`Error::Grid`] with what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::read(text).map_err(Error::Grid)
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.len() > MAX_GRID {
            return Err(format!("it is longer than {MAX_GRID} bytes"));
        }
        // Some editors begin a file with a byte order mark.
        let file = GridFile::read(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        let axes = Axes::of(&file)?;
        let fixed = file::fixed(&file, &axes.set_fields())?;
        let rules = exclude::rules(&file.exclude, &axes)?;
        if axes.set_fields().is_empty() && !ASKS.iter().any(|name| fixed.contains_key(*name)) {
            return Err("it combines nothing: list prompts, subjects, styles, sizes or seeds".to_owned());
        }
        let kept = if rules.is_empty() { None } else { Some(Kept::count(&axes, &rules)?) };
        let len = kept.as_ref().map_or(axes.combinations(), Kept::len);
        let sample = match file.sample {
            None => None,
            Some(rows) => Some(sample::sorted(rows, len, file.sample_seed)?),
        };
        let grid = Self { axes, rules, kept, sample, fixed };
        match grid.len() {
            0 => Err("it has no rows: `exclude` leaves out every combination".to_owned()),
            rows if rows > MAX_ROWS => {
                Err(format!("{rows} rows, at most {MAX_ROWS} are allowed; `sample` takes some of them"))
            }
            _ => Ok(grid),
        }
    }

    /// How many rows it has: 1 to [`MAX_ROWS`].
    pub fn len(&self) -> u64 {
        let kept = || self.kept.as_ref().map_or(self.axes.combinations(), Kept::len);
        self.sample.as_ref().map_or_else(kept, |sample| sample.len() as u64)
    }

    /// Never: such a grid is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of a number from 0; none beyond the last.
    pub fn row(&self, number: u64) -> Option<RawRow> {
        if number >= self.len() {
            return None;
        }
        let kept = match &self.sample {
            Some(sample) => *sample.get(usize::try_from(number).ok()?)?,
            None => number,
        };
        let combination = match &self.kept {
            Some(index) => index.nth(kept, &self.axes, &self.rules)?,
            None => kept,
        };
        Some(self.make(number, combination))
    }

    /// Its rows in order.
    pub fn rows(self) -> GridRows {
        GridRows { grid: self, number: 0, combination: 0 }
    }

    fn make(&self, number: u64, combination: u64) -> RawRow {
        let point = self.axes.point(combination);
        let mut fields = self.fixed.clone();
        let mut names = match fields.remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => Map::new(),
        };
        let mut labels = Map::new();
        self.set_references(&point, &mut fields, &mut names);
        if let Some(prompt) = self.axes.prompt(&point) {
            fields.insert("prompt".to_owned(), prompt.into());
            labels.insert("prompt".to_owned(), point.prompt.into());
        }
        if let Some((width, height)) = self.axes.sizes.get(point.size) {
            fields.insert("width".to_owned(), (*width).into());
            fields.insert("height".to_owned(), (*height).into());
        }
        if let Some(seed) = self.axes.seeds.get(point.seed) {
            fields.insert("seed".to_owned(), seed.into());
        }
        if !names.is_empty() {
            fields.insert("metadata".to_owned(), names.into());
        }
        RawRow { line: number + 1, fields, labels }
    }

    fn set_references(&self, point: &Point, fields: &mut Map<String, Value>, names: &mut Map<String, Value>) {
        if let Some(subject) = self.axes.subjects.get(point.subject) {
            fields.insert("content".to_owned(), json!(subject.images.first()));
            names.insert("subject".to_owned(), subject.name.as_str().into());
        }
        if let Some(style) = self.axes.styles.get(point.style) {
            fields.insert("styles".to_owned(), json!(style.images));
            names.insert("style".to_owned(), style.name.as_str().into());
        }
    }
}

/// The rows of a grid in order.
#[derive(Debug)]
pub struct GridRows {
    grid: Grid,
    /// The next row.
    number: u64,
    /// Where to look for it, unless rows are sampled.
    combination: u64,
}

impl Iterator for GridRows {
    type Item = RawRow;

    fn next(&mut self) -> Option<RawRow> {
        let grid = &self.grid;
        if self.number >= grid.len() {
            return None;
        }
        let row = if grid.sample.is_some() {
            grid.row(self.number)?
        } else {
            // Walking on is quicker than counting from the last mark for each row.
            while exclude::excludes(&grid.rules, &grid.axes.point(self.combination)) {
                self.combination += 1;
            }
            self.combination += 1;
            grid.make(self.number, self.combination - 1)
        };
        self.number += 1;
        Some(row)
    }
}
