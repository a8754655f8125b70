//! What a server's log says of why it ended.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// What the server writes into its folder beside its data.
pub(super) const FILE: &str = "redis.log";

/// How much of the end of a log is looked through for a cause, in bytes.
const LONGEST: u64 = 64 * 1024;

/// How many bytes the log has.
pub(super) fn length(folder: &Path) -> u64 {
    std::fs::metadata(folder.join(FILE)).map_or(0, |log| log.len())
}

/// The end of what was logged after the log had so many bytes.
pub(super) fn since(folder: &Path, before: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut log = File::open(folder.join(FILE))?;
        let from = before.max(log.metadata()?.len().saturating_sub(LONGEST));
        log.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// What a log says of why its server ended. What it writes last is mostly that it ends.
pub(super) fn cause(log: &str) -> String {
    const KNOWN: [(&str, &str); 7] = [
        ("No space left on device", "the disk is full"),
        ("Disk quota exceeded", "the disk quota is used up"),
        ("Read-only file system", "the disk can only be read"),
        ("Input/output error", "the disk is broken"),
        ("Bad file format reading the append only file", "its data is damaged; redis-check-aof may mend it"),
        ("Out Of Memory", "there is no memory left"),
        ("Address already in use", "another program has its port"),
    ];
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    for (sign, meaning) in KNOWN {
        if let Some(line) = lines.iter().rev().find(|line| line.contains(sign)) {
            return format!("{meaning}: {}", said(line));
        }
    }
    // What is said at every start and at every end tells nothing.
    const USUAL: [&str; 6] = [
        "WARNING",
        "Redis is starting",
        "Redis version",
        "Configuration loaded",
        "Server initialized",
        "bye bye",
    ];
    let ready = lines.iter().rposition(|line| line.contains("Ready to accept connections"));
    let since = &lines[ready.unwrap_or(0)..];
    let telling = |line: &&&str| line.contains(" # ") && !USUAL.iter().any(|usual| line.contains(usual));
    match (since.iter().rev().find(telling), lines.last()) {
        (Some(line), _) => said(line).to_owned(),
        (None, Some(line)) if ready.is_none() => said(line).to_owned(),
        (None, Some(_)) => "it was killed, and its log says nothing of why".to_owned(),
        (None, None) => "it wrote no log".to_owned(),
    }
}

/// A line of a log without process, time and mark: `1:M 01 Jan 2024 00:00:00.000 # Text`.
fn said(line: &str) -> &str {
    let text =
        [" # ", " * ", " - ", " . "].iter().filter_map(|mark| line.split_once(mark)).map(|(_, text)| text);
    text.max_by_key(|text| text.len()).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::cause;

    #[test]
    fn the_cause_is_named_and_not_the_last_line() {
        let full = "9:M 01 Jan 2026 00:00:00.000 # Error writing to the AOF file: No space left on device\n\
                    9:M 01 Jan 2026 00:00:00.001 # Can't recover from AOF write error. Exiting...\n\
                    9:M 01 Jan 2026 00:00:00.002 # Redis is now ready to exit, bye bye...\n";
        assert_eq!(cause(full), "the disk is full: Error writing to the AOF file: No space left on device");
        let other = "9:M 01 Jan 2026 00:00:00.000 # Something - odd\n\
                     9:M 01 Jan 2026 00:00:00.001 * Saving\n\
                     9:M 01 Jan 2026 00:00:00.002 # Redis is now ready to exit, bye bye...\n";
        assert_eq!(cause(other), "Something - odd");
        let killed = "9:M 01 Jan 2026 00:00:00.000 # WARNING Memory overcommit must be enabled!\n\
                      9:M 01 Jan 2026 00:00:00.001 * Ready to accept connections\n";
        assert_eq!(cause(killed), "it was killed, and its log says nothing of why");
        assert_eq!(cause(""), "it wrote no log");
    }
}
