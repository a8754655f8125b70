//! What this process has of memory that is no file's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;

/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// Does some work; gives back the most bytes of anonymous memory that were seen in it.
pub(crate) fn peak<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, u64)> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(anonymous()?);
                std::thread::sleep(PAUSE);
            }
            anyhow::Ok(most)
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        let most = watch.join().ok().context("whoever looks at the memory was lost")??;
        Ok((result?, most))
    })
}

/// Bytes of anonymous memory now.
pub(crate) fn anonymous() -> anyhow::Result<u64> {
    field("RssAnon:")
}

/// Bytes of weight files that lie in memory because this process uses them where they are.
pub(crate) fn mapped() -> anyhow::Result<u64> {
    let all = std::fs::read_to_string("/proc/self/smaps").context("the system does not tell")?;
    let (mut is_weights, mut kib) = (false, 0);
    for line in all.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Rss:"), Some(number)) if is_weights => kib += number.parse::<u64>()?,
            // Every field has a colon at the end of its name, and a mapping begins with its addresses.
            (Some(first), _) if !first.ends_with(':') => is_weights = line.ends_with(".gguf"),
            _ => {}
        }
    }
    Ok(kib * 1024)
}

/// The most bytes of memory so far, pages of files among them.
pub(crate) fn most_resident() -> anyhow::Result<u64> {
    field("VmHWM:")
}

fn field(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("the system does not tell")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()).context("no such field")?.parse()?;
    Ok(kib * 1024)
}
