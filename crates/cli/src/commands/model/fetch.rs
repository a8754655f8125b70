//! `uso model fetch`: finds out which published files are missing, checks the free space, then downloads one file
//! after another.

mod digest;
mod download;
mod hub;
mod manifest;
mod part;
mod token;

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use indicatif::DecimalBytes;

use self::digest::Hasher;
use self::download::download;
use self::hub::{Hub, Remote};
use self::manifest::File;
use self::token::Token;
use crate::args::{FetchArgs, HUGGING_FACE};
use crate::commands::print::Table;
use crate::commands::say;
use crate::progress;

pub(super) async fn run(args: &FetchArgs) -> anyhow::Result<()> {
    let files = if args.scorers {
        manifest::scorers()?
    } else {
        manifest::read(args.manifest.as_deref(), args.tier)?
    };
    if args.list {
        return list(&args.dir, &files);
    }
    tokio::select! {
        fetched = fetch(args, &files) => fetched,
        _ = tokio::signal::ctrl_c() => bail!("stopped; run the same command to resume"),
    }
}

/// SHA-256 in hexadecimal of the published weight file of a scorer, by its folder's name; none if it is not known.
pub(in crate::commands) fn published_scorer(folder: &str) -> Option<String> {
    manifest::scorer_sha256(folder)
}

/// Prints what would be downloaded, as far as is known without asking the hub.
fn list(dir: &Path, files: &[File]) -> anyhow::Result<()> {
    let missing: Vec<&File> = files.iter().filter(|file| !is_known_here(dir, file)).collect();
    let mut table = Table::new(&["file", "bytes", "from"]);
    for file in &missing {
        let bytes = file.bytes.map_or_else(|| "?".into(), |bytes| bytes.to_string());
        table.row([file.to.clone(), bytes, format!("{}/{}", file.repo, file.path)]);
    }
    let total = missing.iter().filter_map(|file| file.bytes).fold(0, u64::saturating_add);
    let unknown = missing.iter().filter(|file| file.bytes.is_none()).count();
    say(&format!(
        "{table}{} files: {}, and {unknown} whose size only the hub knows",
        missing.len(),
        DecimalBytes(total)
    ))?;
    say_licences(files)
}

/// Prints the licences that the list states.
fn say_licences(files: &[File]) -> anyhow::Result<()> {
    for file in files {
        if let Some(licence) = &file.licence {
            say(&format!("{}: licence {licence}", file.repo))?;
        }
    }
    Ok(())
}

async fn fetch(args: &FetchArgs, files: &[File]) -> anyhow::Result<()> {
    let hub = Hub::new(args.endpoint.clone(), args.revision.clone(), Token::find()?)?;
    let mut missing = Vec::new();
    for file in files {
        match wanted(&hub, args, file).await.with_context(|| file.to.clone())? {
            Some(remote) => missing.push((file, remote)),
            None => say(&format!("{}: already there", file.to))?,
        }
    }
    check_space(&args.dir, &missing)?;
    say_licences(files)?;
    for (file, remote) in &missing {
        let place = args.dir.join(&file.to);
        download(&hub, file, remote, &place).await.with_context(|| file.to.clone())?;
        say(&format!("{}: fetched {}, {}", file.to, DecimalBytes(remote.bytes), remote.digest))?;
    }
    say(&format!("{}: all {} files are there", args.dir.display(), files.len()))
}

/// What the hub has, unless the file is already here.
async fn wanted(hub: &Hub, args: &FetchArgs, file: &File) -> anyhow::Result<Option<Remote>> {
    if !args.verify && is_known_here(&args.dir, file) {
        return Ok(None);
    }
    let remote = hub.describe(file).await?;
    check_size(args, file, &remote)?;
    let place = args.dir.join(&file.to);
    match size(&place) {
        None => Ok(Some(remote)),
        Some(bytes) if bytes != remote.bytes => {
            tracing::warn!("{} has {bytes} bytes, not {}: fetching it again", file.to, remote.bytes);
            Ok(Some(remote))
        }
        Some(_) if args.verify && !is_right(&place, file, &remote).await? => {
            tracing::warn!("{} is not {}: fetching it again", file.to, remote.digest);
            Ok(Some(remote))
        }
        Some(_) => Ok(None),
    }
}

/// Whether a file is here with the size that the list states.
fn is_known_here(dir: &Path, file: &File) -> bool {
    file.bytes.is_some() && size(&dir.join(&file.to)) == file.bytes
}

/// Compares the size in the list with the hub's. Another hub than the one the list was made for may have other files.
fn check_size(args: &FetchArgs, file: &File, remote: &Remote) -> anyhow::Result<()> {
    let Some(listed) = file.bytes.filter(|bytes| *bytes != remote.bytes) else { return Ok(()) };
    let is_published = args.endpoint.as_str().trim_end_matches('/') == HUGGING_FACE;
    let what = format!("{} has {} bytes at {}, not {listed}", file.path, remote.bytes, args.endpoint);
    ensure!(args.manifest.is_none() && !is_published, "{what}");
    tracing::warn!("{what}");
    Ok(())
}

async fn is_right(place: &Path, file: &File, remote: &Remote) -> anyhow::Result<bool> {
    let bar = progress::bytes(remote.bytes, &file.to);
    let mut hasher = Hasher::new(&remote.digest, remote.bytes);
    let read = async { hasher.read(&mut tokio::fs::File::open(place).await?, |bytes| bar.inc(bytes)).await };
    read.await.with_context(|| format!("cannot read {}", place.display()))?;
    bar.finish_and_clear();
    Ok(hasher.finish() == remote.digest)
}

/// Fails now rather than after hours of downloading.
fn check_space(dir: &Path, missing: &[(&File, Remote)]) -> anyhow::Result<()> {
    let left = |(file, remote): &(&File, Remote)| {
        let begun = size(&part::path(&dir.join(&file.to))).unwrap_or_default();
        remote.bytes.saturating_sub(begun)
    };
    let needed = missing.iter().map(left).fold(0, u64::saturating_add);
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let disk = rustix::fs::statvfs(dir)
        .with_context(|| format!("cannot read the free space of {}", dir.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let (dir, needs, has) = (dir.display(), DecimalBytes(needed), DecimalBytes(free));
    ensure!(needed <= free, "{dir} needs {needs} more and the disk has {has} free");
    Ok(())
}

/// Size of a file, if there is one.
fn size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(|found| found.is_file()).map(|found| found.len())
}
