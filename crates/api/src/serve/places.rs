//! How many connections there may be, and who goes first where there are too many: whoever came first and has asked
//! for nothing yet. So the half-open ones of somebody who means harm are in nobody's way but each other's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

/// Files that a process needs beside connections of clients: to Redis, to S3, to endpoints.
const OTHER_FILES: usize = 256;
/// Most connections where nobody says how many.
const USUAL: usize = 8192;
/// Files that a process may open where nobody tells.
const UNKNOWN: usize = 1024;

/// As many connections as leave room for all else among the files that this process may open.
pub(crate) fn most_by_default() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    within(open_files(&limits).unwrap_or(UNKNOWN))
}

fn within(files: usize) -> usize {
    files.saturating_sub(OTHER_FILES).max(files / 4).clamp(1, USUAL)
}

/// The soft limit, as Linux tells it.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(usize::MAX) } else { soft.parse().ok() }
}

/// Whether a connection has asked for anything yet.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<AtomicBool>);

impl Asked {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connections that have asked for nothing yet, as far as is known; the oldest first.
#[derive(Default)]
pub(super) struct Places(VecDeque<(Asked, AbortHandle)>);

impl Places {
    pub(super) fn newcomer(&self) -> Asked {
        Asked::default()
    }

    pub(super) fn took(&mut self, asked: Asked, task: AbortHandle) {
        // Those that have asked lie among the others until somebody looks: not for ever.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|(asked, task)| !asked.has() && !task.is_finished());
        }
        self.0.push_back((asked, task));
    }

    /// Whether somebody could be ended for somebody else.
    pub(super) fn has_idle(&mut self) -> bool {
        while let Some((asked, task)) = self.0.front() {
            if !asked.has() && !task.is_finished() {
                return true;
            }
            self.0.pop_front();
        }
        false
    }

    /// Ends the connection that has asked for nothing for the longest time; gives whether there was one.
    pub(super) fn make_room(&mut self) -> bool {
        let found = self.has_idle();
        self.0.pop_front().into_iter().for_each(|(_, task)| task.abort());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_left_for_what_is_not_a_clients_connection() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             63432                63432                processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files unlimited unlimited files"), Some(usize::MAX));
        assert_eq!(open_files(""), None);
        assert_eq!([1024, 1_048_576, 300, 2].map(within), [768, USUAL, 75, 1]);
    }

    #[tokio::test]
    async fn the_oldest_that_asked_for_nothing_goes_first() {
        let (mut places, mut tasks) = (Places::default(), Vec::new());
        for _ in 0..3 {
            let (asked, task) = (places.newcomer(), tokio::spawn(std::future::pending::<()>()));
            places.took(asked.clone(), task.abort_handle());
            tasks.push((asked, task));
        }
        tasks[0].0.set();
        assert!(places.make_room());
        assert!((&mut tasks[1].1).await.unwrap_err().is_cancelled());
        assert!(!tasks[0].1.is_finished() && !tasks[2].1.is_finished());
        assert!(places.make_room() && !places.has_idle() && !places.make_room());
    }
}
