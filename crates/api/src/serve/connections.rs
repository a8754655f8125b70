//! How many connections there may be, and which one is closed when there are too many: the oldest that has sent no
//! request yet. So an attacker's half-open connections only replace each other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

/// Files that a process needs beside clients' connections: to Redis, to S3, to endpoints.
const OTHER_FILES: usize = 256;
/// Most connections by default.
const USUAL: usize = 8192;
/// Files that a process may open, where the system does not say.
const UNKNOWN: usize = 1024;

/// As many connections as the files that this process may open allow, beside those it needs for other things.
pub(crate) fn most_by_default() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    within(open_files(&limits).unwrap_or(UNKNOWN))
}

fn within(files: usize) -> usize {
    files.saturating_sub(OTHER_FILES).max(files / 4).clamp(1, USUAL)
}

/// The soft limit, from Linux's table.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(usize::MAX) } else { soft.parse().ok() }
}

/// Whether a connection has sent a request yet.
#[derive(Clone, Default)]
pub(super) struct Used(Arc<AtomicBool>);

impl Used {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connections that have sent no request yet; the oldest first. Some may have sent one since they were added.
#[derive(Default)]
pub(super) struct Unused(VecDeque<(Used, AbortHandle)>);

impl Unused {
    pub(super) fn add(&mut self, used: Used, task: AbortHandle) {
        // Used connections stay in the list until it is full.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|(used, task)| !used.has() && !task.is_finished());
        }
        self.0.push_back((used, task));
    }

    /// Whether one could be closed for a new one.
    pub(super) fn any(&mut self) -> bool {
        while let Some((used, task)) = self.0.front() {
            if !used.has() && !task.is_finished() {
                return true;
            }
            self.0.pop_front();
        }
        false
    }

    /// Closes the oldest connection that has sent no request; returns whether there was one.
    pub(super) fn close_oldest(&mut self) -> bool {
        let found = self.any();
        self.0.pop_front().into_iter().for_each(|(_, task)| task.abort());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_for_what_is_not_a_clients_connection() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             63432                63432                processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files unlimited unlimited files"), Some(usize::MAX));
        assert_eq!(open_files(""), None);
        assert_eq!([1024, 1_048_576, 300, 2].map(within), [768, USUAL, 75, 1]);
    }

    #[tokio::test]
    async fn the_oldest_that_sent_no_request_is_closed_first() {
        let (mut unused, mut tasks) = (Unused::default(), Vec::new());
        for _ in 0..3 {
            let (used, task) = (Used::default(), tokio::spawn(std::future::pending::<()>()));
            unused.add(used.clone(), task.abort_handle());
            tasks.push((used, task));
        }
        tasks[0].0.set();
        assert!(unused.close_oldest());
        assert!((&mut tasks[1].1).await.unwrap_err().is_cancelled());
        assert!(!tasks[0].1.is_finished() && !tasks[2].1.is_finished());
        assert!(unused.close_oldest() && !unused.any() && !unused.close_oldest());
    }
}
