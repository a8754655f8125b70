//! The commands, one file each.

pub(crate) mod batch;
pub(crate) mod evaluate;
pub(crate) mod generate;
pub(crate) mod keys;
pub(crate) mod migrate;
pub(crate) mod model;
pub(crate) mod queue;
pub(crate) mod serve;
pub(crate) mod submit;
pub(crate) mod up;
pub(crate) mod work;

mod print;

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

/// Prints a line on stdout, where scripts read it.
fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// Writes a file completely or not at all.
fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
