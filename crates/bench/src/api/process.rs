//! An API process that is measured.

use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Child;

use crate::fleet::Fleet;

/// Ends with this value.
pub(super) struct Process {
    child: Child,
    /// `host:port`.
    pub(super) address: String,
}

impl Process {
    pub(super) async fn start(fleet: &Fleet) -> anyhow::Result<Self> {
        let (child, ready) = fleet.run(&["serve", "--listen", "127.0.0.1:0"]).await?;
        let address = ready.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        Ok(Self { address: address.context("the API does not say where it is")?.to_owned(), child })
    }

    /// Its processor time so far.
    pub(super) fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = self.read("stat")?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        Ok(Duration::from_millis(10 * ticks))
    }

    /// Bytes of memory that it has now.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().next().context("no number")?.parse()?;
        Ok(kib * 1024)
    }

    fn read(&self, name: &str) -> anyhow::Result<String> {
        let pid = self.child.id().context("the API has ended")?;
        Ok(std::fs::read_to_string(format!("/proc/{pid}/{name}"))?)
    }
}
