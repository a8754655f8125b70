//! Which core does what: figures of processes that wander between cores cannot be compared.

use std::ffi::OsStr;

use anyhow::Context as _;
use tokio::process::Command;

/// A core for servers and one for their clients, where there are two and `taskset` can keep them.
#[derive(Clone, Copy)]
pub(crate) struct Cores(Option<(usize, usize)>);

impl Cores {
    pub(crate) async fn find() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed = numbers(list.unwrap_or_default());
        let taskset = Command::new("taskset").arg("--version").output().await;
        match (taskset, allowed.as_slice()) {
            (Ok(_), [server, client, ..]) => Self(Some((*server, *client))),
            _ => Self(None),
        }
    }

    /// Everything where the system puts it.
    pub(crate) fn unpinned() -> Self {
        Self(None)
    }

    /// A program that will run on the clients' core.
    pub(crate) fn client(self, program: impl AsRef<OsStr>) -> Command {
        let Some((_, core)) = self.0 else { return Command::new(program) };
        let mut command = Command::new("taskset");
        command.arg("-c").arg(core.to_string()).arg(program);
        command
    }

    /// Moves a process with all its threads to the servers' core.
    pub(crate) async fn keep_server(self, pid: u32) -> anyhow::Result<()> {
        let Some((core, _)) = self.0 else { return Ok(()) };
        let mut command = Command::new("taskset");
        command.args(["-a", "-c", "-p", &core.to_string(), &pid.to_string()]);
        let moved = command.output().await.context("cannot run taskset")?;
        anyhow::ensure!(moved.status.success(), "taskset cannot move process {pid} to core {core}");
        Ok(())
    }

    /// What to say of it.
    pub(crate) fn describe(self) -> String {
        match self.0 {
            Some((server, client)) => format!("redis on core {server}, clients on core {client}"),
            None => "none".to_owned(),
        }
    }
}

/// Reads a list like `0-2,5`.
fn numbers(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(numbers("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(numbers("7"), [7]);
        assert!(numbers("").is_empty());
    }
}
