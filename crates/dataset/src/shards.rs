//! Shards out: WebDataset files, what describes them, verification, export.
//!
//! A shard is a tar in the layout of WebDataset with, for each row, `key.png` (or `webp`, `jpg`), `key.txt` (the prompt)
//! and `key.json` (a [`Row`]); beside it lie a Parquet file with the same rows and a [`Stats`]. [`prepare`] uploads all of
//! it but for the last call, [`commit`] makes the tar appear. [`describe`] writes what covers all shards: an [`Index`], a
//! card and a picture of some samples.
//!
//! A row's side of a split for training is a column of every row, and counted in statistics, index and card. The tars are
//! not split: rows of both sides lie in a shard as they come, so a small side needs no shards of its own that would stay
//! open to the end of the batch. Readers of the tars filter; [`export`] makes folders of each side.

mod card;
mod columns;
mod commit;
mod describe;
mod doubles;
mod export;
mod finding;
mod front_matter;
mod hashes;
mod index;
mod list;
mod orphans;
mod pack;
mod pictures;
mod place;
mod row;
mod row_file;
mod sample;
mod samples;
mod seen;
mod segments;
mod split;
mod staged;
mod stats;
mod verify;
mod verify_shard;
mod writer;

pub use card::{About, Licence, Scorer};
pub use commit::{Intent, IntentPart, abandon, commit};
pub use describe::describe;
pub use doubles::{DoublePair, NEAR, NearDoubles};
pub use export::{ExportLayout, export};
pub use finding::Finding;
pub use hashes::Hashes;
pub use index::Index;
pub use orphans::{Known, Orphans, find_orphans, remove_orphans};
pub use pack::{Prepared, Shard, prepare};
pub use place::Place;
pub use row::{Row, RowLora, Scores};
pub use row_file::{read_row_file, write_row_file};
pub use sample::sample_grid;
pub use segments::read_segments;
pub use split::{TRAIN, VALIDATION, split_of};
pub use staged::remove_staged;
pub use stats::{Counts, Extent, Stats};
pub use verify::{Expected, Progress, verify};
pub use writer::{ShardWriter, Written};
