//! Reads a data set back and says what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::finding::Finding;
use super::index::Index;
use super::orphans::shard_of;
use super::place::{Place, blocking};
use super::row::Row;
use super::row_file::read_row_file;
use super::seen::Seen;
use super::stats::Stats;
use super::verify_shard::{Checked, check_shard};
use crate::{Error, layout};

/// Which rows a data set should have.
#[derive(Debug, Clone, Default)]
pub enum Expected {
    /// Not known: no gaps are looked for.
    #[default]
    Unknown,
    /// Exactly these.
    Rows(BTreeSet<u64>),
}

/// How far the verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Shards that were read.
    pub shards: u64,
    /// Shards in all.
    pub of: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Bytes of tars that were read.
    pub bytes: u64,
}

/// Reads all of a data set back and compares it with what is said of it: tars with their checksums, pictures with those of
/// their rows, row files with the tars, all of it with the index and with the rows that should be there; and the index with
/// its own sums and with the statistics beside the shards. Returns what is wrong; nothing if all is as it was written.
///
/// # Errors
/// [`Error::Store`] or [`Error::File`] if it cannot be read now: that says nothing about it.
pub async fn verify(
    place: &Place,
    expected: &Expected,
    mut progress: impl FnMut(Progress),
) -> Result<Vec<Finding>, Error> {
    let files: BTreeMap<String, u64> = place.list().await?.into_iter().collect();
    let mut findings = Vec::new();
    let shards = match read_index(place).await? {
        Ok(index) => {
            if !adds_up(&index) {
                findings.push(Finding::Sums);
            }
            findings.extend(stats_that_differ(place, &index.shards).await?);
            index.shards
        }
        Err(finding) => {
            findings.push(finding);
            read_stats(place, &files, &mut findings).await?
        }
    };
    findings.extend(orphans(&files, &shards));
    let mut seen = Seen::default();
    let mut done = Progress { shards: 0, of: shards.len() as u64, rows: 0, bytes: 0 };
    for stats in shards {
        let tar = stats.file.clone();
        let checked = verify_shard(place, &files, stats).await?;
        done.shards += 1;
        done.rows += checked.rows.len() as u64;
        done.bytes += files.get(&tar).copied().unwrap_or(0);
        findings.extend(checked.findings);
        findings.extend(seen.add(&tar, checked.rows));
        progress(done);
    }
    if let Expected::Rows(rows) = expected {
        findings.extend(seen.compare(rows));
    }
    Ok(findings)
}

async fn read_index(place: &Place) -> Result<Result<Index, Finding>, Error> {
    let read = match place.read(layout::INDEX).await? {
        None => Err("it is not there".to_owned()),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
    };
    Ok(read.map_err(|reason| Finding::NoIndex { reason }))
}

/// The statistics of all tars, where there is no index.
async fn read_stats(
    place: &Place,
    files: &BTreeMap<String, u64>,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Stats>, Error> {
    let mut found = Vec::new();
    for shard in files.keys().filter(|name| name.ends_with(".tar")).filter_map(|name| shard_of(name)) {
        match read_stats_of(place, shard).await? {
            Ok(stats) => found.push(stats),
            Err(finding) => findings.push(finding),
        }
    }
    Ok(found)
}

async fn read_stats_of(place: &Place, shard: u32) -> Result<Result<Stats, Finding>, Error> {
    let file = layout::stats(shard);
    let read = match place.read(&file).await? {
        None => Err("it is not there".to_owned()),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
    };
    Ok(read.map_err(|reason| Finding::Unreadable { file, reason }))
}

/// Whether the sums of an index are those of its shards.
fn adds_up(index: &Index) -> bool {
    let again = Index::of(&index.batch, index.shards.clone());
    (again.rows, again.bytes) == (index.rows, index.bytes) && again.total == index.total
}

/// Statistics beside the shards that are not what the index tells: without an index, they stand for it.
async fn stats_that_differ(place: &Place, shards: &[Stats]) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for listed in shards {
        match read_stats_of(place, listed.shard).await? {
            Ok(stats) if are_of_one_shard(&stats, listed) => {}
            Ok(_) => findings.push(Finding::Stats { file: layout::stats(listed.shard) }),
            Err(finding) => findings.push(finding),
        }
    }
    Ok(findings)
}

/// Whether both tell of the same files. What is counted may be known to one version and not to another.
fn are_of_one_shard(one: &Stats, other: &Stats) -> bool {
    one.shard == other.shard
        && one.rows == other.rows
        && (&one.file, one.bytes, &one.sha256) == (&other.file, other.bytes, &other.sha256)
        && (&one.row_file, one.row_file_bytes, &one.row_file_sha256)
            == (&other.row_file, other.row_file_bytes, &other.row_file_sha256)
}

/// Files of shards that are not listed: the tar, or what there is without one.
fn orphans(files: &BTreeMap<String, u64>, shards: &[Stats]) -> Vec<Finding> {
    let listed: BTreeSet<u32> = shards.iter().map(|stats| stats.shard).collect();
    let mut orphans = BTreeMap::new();
    // The tar comes before what lies under `_meta/`.
    for name in files.keys() {
        if let Some(shard) = shard_of(name).filter(|shard| !listed.contains(shard)) {
            orphans.entry(shard).or_insert_with(|| Finding::Orphan { file: name.clone() });
        }
    }
    orphans.into_values().collect()
}

async fn verify_shard(place: &Place, files: &BTreeMap<String, u64>, stats: Stats) -> Result<Checked, Error> {
    let mut findings = Vec::new();
    let tar = files.contains_key(&stats.file);
    let rows = rows_beside(place, files, &stats, &mut findings).await?;
    let mut checked = if tar {
        let name = stats.file.clone();
        place.stream(&name, move |tar| check_shard(tar, &stats, rows)).await?
    } else {
        findings.push(Finding::NoTar { file: stats.file, rows: stats.rows });
        // They are missing with their tar, which is said already.
        let rows = rows.unwrap_or_default().into_iter().map(|row| (row.row, row.key));
        Checked { findings: Vec::new(), rows: rows.collect() }
    };
    checked.findings.extend(findings);
    Ok(checked)
}

/// The rows of the row file; none if it is not what was written. A damaged file is not even read: it may make the reader
/// of Parquet ask for any amount of memory.
async fn rows_beside(
    place: &Place,
    files: &BTreeMap<String, u64>,
    stats: &Stats,
    findings: &mut Vec<Finding>,
) -> Result<Option<Vec<Row>>, Error> {
    let file = stats.row_file.clone();
    let bytes = match files.contains_key(&file) {
        true => place.read(&file).await?,
        false => None,
    };
    let Some(bytes) = bytes else {
        if files.contains_key(&stats.file) {
            findings.push(Finding::NoRowFile { file: stats.file.clone(), row_file: file });
        }
        return Ok(None);
    };
    let recorded = stats.row_file_sha256.clone();
    let read = move |bytes: Bytes| {
        let intact = hex::encode(Sha256::digest(&bytes)) == recorded;
        intact.then(|| read_row_file(bytes))
    };
    match blocking(move || read(bytes)).await? {
        Some(Ok(rows)) => return Ok(Some(rows)),
        Some(Err(reason)) => findings.push(Finding::Unreadable { file, reason }),
        None => findings.push(Finding::Checksum { file }),
    }
    Ok(None)
}
