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
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Prints a line on stdout, where scripts read it.
fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// Refuses a place that [`save`] cannot write to, before anything is computed for it.
fn check_place(path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    anyhow::ensure!(!path.is_dir(), "{}: it is a folder", cannot());
    let beside = beside(path);
    std::fs::File::create(&beside).and_then(|_| std::fs::remove_file(&beside)).with_context(cannot)
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    beside.into()
}

/// Writes a file completely or not at all.
fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside = beside(path);
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_checked_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        check_place(&folder.path().join("a.png")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing of the check stays");
        for (place, said) in [("none/a.png", "none/a.png"), (".", "it is a folder")] {
            let refused = check_place(&folder.path().join(place)).unwrap_err().to_string();
            assert!(refused.starts_with("cannot write") && refused.contains(said), "{refused}");
        }
    }
}
