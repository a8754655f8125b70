//! What is wrong with a data set.

use std::fmt;

/// Something that is wrong with a data set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Finding {
    /// There is no readable `index.json`.
    NoIndex {
        /// Why it cannot be read.
        reason: String,
    },
    /// The sums in the index are not those of the shards that it lists.
    Sums,
    /// The statistics of a shard tell of other files than the index.
    Stats {
        /// Their name.
        file: String,
    },
    /// The index lists a tar that is not there.
    NoTar {
        /// Name of the tar.
        file: String,
        /// Rows that it had.
        rows: u64,
    },
    /// A tar has no row file.
    NoRowFile {
        /// Name of the tar.
        file: String,
        /// Name of the row file.
        row_file: String,
    },
    /// A file of a shard that the index does not list.
    Orphan {
        /// Its name.
        file: String,
    },
    /// A file cannot be read.
    Unreadable {
        /// Its name.
        file: String,
        /// Why.
        reason: String,
    },
    /// The bytes of a file are not those that were written.
    Checksum {
        /// Its name.
        file: String,
    },
    /// A file has another number of rows than the index says.
    Count {
        /// Its name.
        file: String,
        /// Rows by the index.
        listed: u64,
        /// Rows that are there.
        found: u64,
    },
    /// A picture is not the one that was made.
    Picture {
        /// Name of the tar.
        file: String,
        /// The row's key.
        key: String,
    },
    /// A row lacks one of its files, or one of them does not belong to it.
    Row {
        /// Name of the tar.
        file: String,
        /// The row's key, or what its files are called.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The row file says something else of a row than the tar.
    RowFile {
        /// Name of the row file.
        file: String,
        /// The row's key.
        key: String,
        /// What is different.
        reason: String,
    },
    /// A row, or its key, is there twice.
    Double {
        /// The row's number.
        row: u64,
        /// Its key.
        key: String,
        /// Name of the tar that has it first.
        first: String,
        /// Name of the tar that has it again.
        second: String,
    },
    /// Rows that should be there are not.
    Gap {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// A row is there that should not be.
    Unexpected {
        /// Its number.
        row: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIndex { reason } => write!(f, "index.json cannot be read: {reason}"),
            Self::Sums => write!(f, "index.json does not add up: its sums are not those of its shards"),
            Self::Stats { file } => write!(f, "{file} tells of other files than the index"),
            Self::NoTar { file, rows } => write!(f, "{file} is missing: it has {rows} rows"),
            Self::NoRowFile { file, row_file } => write!(f, "{file} has no row file: {row_file} is missing"),
            Self::Orphan { file } => write!(f, "{file} is not in the index"),
            Self::Unreadable { file, reason } => write!(f, "{file} cannot be read: {reason}"),
            Self::Checksum { file } => write!(f, "{file} is damaged: its sha256 is not the recorded one"),
            Self::Count { file, listed, found } => {
                write!(f, "{file} has {found} rows; by the index it has {listed}")
            }
            Self::Picture { file, key } => {
                write!(f, "{file}: the picture of {key} is damaged: its sha256 is not the recorded one")
            }
            Self::Row { file, key, reason } => write!(f, "{file}: row {key}: {reason}"),
            Self::RowFile { file, key, reason } => write!(f, "{file}: row {key}: {reason}"),
            Self::Double { row, key, first, second } if first == second => {
                write!(f, "row {row} ({key}) is there twice: in {first}")
            }
            Self::Double { row, key, first, second } => {
                write!(f, "row {row} ({key}) is there twice: in {first} and in {second}")
            }
            Self::Gap { first, last } if first == last => write!(f, "row {first} is missing"),
            Self::Gap { first, last } => write!(f, "rows {first} to {last} are missing"),
            Self::Unexpected { row } => write!(f, "row {row} is there, but it should not be"),
        }
    }
}
