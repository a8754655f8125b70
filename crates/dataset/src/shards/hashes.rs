//! The perceptual hashes of a data set's rows, and what they tell.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::doubles::{self, DoublePair, Found, Hashed, NearDoubles};
use super::place::{Place, blocking};
use super::row::Row;
use super::row_file::read_row_file;
use super::stats::Stats;
use crate::Error;

/// Pairs that a data set's index lists.
const LISTED: usize = 100;

/// Pairs that a shard's statistics list.
const LISTED_OF_SHARD: usize = 20;

/// The perceptual hashes of a data set's rows, 16 bytes each. What it was told once is not read again.
#[derive(Debug, Default)]
pub struct Hashes {
    shards: BTreeSet<u32>,
    hashes: Vec<Hashed>,
    /// Keys of rows that were listed.
    keys: BTreeMap<u32, String>,
}

impl Hashes {
    /// Compares all rows of these shards: it reads the row files of those that are new to it.
    ///
    /// # Errors
    /// [`Error::Store`]. A row file that is missing or damaged is passed over: verification finds it.
    pub(super) async fn near_doubles(
        &mut self,
        place: &Place,
        shards: &[Stats],
    ) -> Result<NearDoubles, Error> {
        for stats in shards {
            if !self.shards.contains(&stats.shard) {
                // Those of a version before do not say how many have a hash.
                if stats.near_doubles.as_ref().is_none_or(|doubles| doubles.hashed > 0) {
                    self.hashes.extend(hashes_of(&read(place, stats).await?, stats.shard));
                }
                self.shards.insert(stats.shard);
            }
        }
        let mut hashes = std::mem::take(&mut self.hashes);
        let (hashes, Found { mut doubles, closest }) = blocking(move || {
            let found = doubles::find(&mut hashes, LISTED);
            (hashes, found)
        })
        .await?;
        self.hashes = hashes;
        self.learn_keys(place, shards, &closest).await?;
        let key = |row: &Hashed| self.keys.get(&row.row).cloned().unwrap_or_default();
        let pair = |(distance, first, second): &(u32, Hashed, Hashed)| DoublePair {
            distance: *distance,
            first: key(first),
            second: key(second),
        };
        doubles.closest = closest.iter().map(pair).collect();
        Ok(doubles)
    }

    /// Reads the row files of listed rows whose keys are not known.
    async fn learn_keys(
        &mut self,
        place: &Place,
        shards: &[Stats],
        closest: &[(u32, Hashed, Hashed)],
    ) -> Result<(), Error> {
        let mut listed: BTreeMap<u32, u32> = closest
            .iter()
            .flat_map(|(_, one, other)| [(one.row, one.shard), (other.row, other.shard)])
            .collect();
        self.keys.retain(|row, _| listed.remove(row).is_some());
        let unknown: BTreeSet<u32> = listed.values().copied().collect();
        for stats in shards.iter().filter(|stats| unknown.contains(&stats.shard)) {
            for row in read(place, stats).await? {
                if let Ok(number) = u32::try_from(row.row)
                    && listed.contains_key(&number)
                {
                    self.keys.insert(number, row.key);
                }
            }
        }
        Ok(())
    }
}

/// Near-doubles among the rows of one shard.
pub(super) fn near_doubles_of(rows: &[Row], shard: u32) -> NearDoubles {
    let mut hashes: Vec<Hashed> = hashes_of(rows, shard).collect();
    let Found { mut doubles, closest } = doubles::find(&mut hashes, LISTED_OF_SHARD);
    let keys: BTreeMap<u64, &str> = match closest.is_empty() {
        true => BTreeMap::new(),
        false => rows.iter().map(|row| (row.row, row.key.as_str())).collect(),
    };
    let key = |row: Hashed| keys.get(&row.row.into()).copied().unwrap_or_default().to_owned();
    let pairs = closest.into_iter();
    doubles.closest = pairs
        .map(|(distance, first, second)| DoublePair { distance, first: key(first), second: key(second) })
        .collect();
    doubles
}

fn hashes_of(rows: &[Row], shard: u32) -> impl Iterator<Item = Hashed> {
    rows.iter().filter_map(move |row| {
        let hash = doubles::read(row.phash.as_deref()?)?;
        Some(Hashed { hash, row: u32::try_from(row.row).ok()?, shard })
    })
}

async fn read(place: &Place, stats: &Stats) -> Result<Vec<Row>, Error> {
    let rows = match place.read(&stats.row_file).await? {
        Some(bytes) => {
            let recorded = stats.row_file_sha256.clone();
            blocking(move || rows_of(bytes, &recorded)).await?
        }
        None => Err("it is not there".to_owned()),
    };
    Ok(rows.unwrap_or_else(|reason| {
        tracing::warn!(file = stats.row_file, reason, "the hashes of a shard cannot be read");
        Vec::new()
    }))
}

/// The rows of a row file that is what was written: of a damaged one the reader of Parquet may panic, or ask for any amount
/// of memory.
fn rows_of(file: Bytes, sha256: &str) -> Result<Vec<Row>, String> {
    if hex::encode(Sha256::digest(&file)) == sha256 {
        read_row_file(file)
    } else {
        Err("its sha256 is not the recorded one".to_owned())
    }
}
