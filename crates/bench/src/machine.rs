//! What a figure is worth nothing without: the machine it was taken on.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::process::Command;

use crate::cores::Cores;

/// How long idle time is looked at before a run.
const LOOK: Duration = Duration::from_secs(1);

/// Machine, programs and conditions. What the system does not tell is left out.
#[derive(Serialize)]
pub(crate) struct Machine {
    cpu: Option<String>,
    cores: usize,
    memory_gib: Option<u64>,
    kernel: Option<String>,
    pinning: String,
    /// Share of the machine that nobody used just before, 0 to 1.
    idle_cpu: Option<f64>,
    build_profile: &'static str,
    /// Whatever else a benchmark depends on.
    #[serde(flatten)]
    more: BTreeMap<&'static str, String>,
}

impl Machine {
    pub(crate) async fn look(cores: Cores) -> Self {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        let memory_kib = field(&file("/proc/meminfo"), "MemTotal");
        let memory_kib = memory_kib.and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
        Self {
            cpu: field(&file("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_kib.map(|kib| (kib + (1 << 19)) >> 20),
            kernel: Some(file("/proc/sys/kernel/osrelease").trim().to_owned())
                .filter(|text| !text.is_empty()),
            pinning: cores.describe(),
            idle_cpu: idle_cpu().await,
            build_profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            more: BTreeMap::new(),
        }
    }

    /// The same machine, with the Redis that is measured.
    pub(crate) async fn with_redis(mut self) -> Self {
        self.add("redis", version("redis-server").await.unwrap_or_default());
        self.add("redis_settings", "appendonly yes, appendfsync everysec, no rewrite during a run");
        self
    }

    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.more.insert(name, value.into());
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_owned();
        let number = |value: Option<String>| value.unwrap_or_else(unknown);
        writeln!(f, "cpu: {}, {} cores", self.cpu.clone().unwrap_or_else(unknown), self.cores)?;
        writeln!(f, "memory: {} GiB", number(self.memory_gib.map(|gib| gib.to_string())))?;
        writeln!(f, "kernel: {}", self.kernel.clone().unwrap_or_else(unknown))?;
        writeln!(f, "pinning: {}", self.pinning)?;
        writeln!(f, "idle before the run: {}", number(self.idle_cpu.map(|idle| format!("{idle:.2}"))))?;
        write!(f, "build: {}", self.build_profile)?;
        self.more.iter().try_for_each(|(name, value)| write!(f, "\n{name}: {value}"))
    }
}

/// What a program says of its version in its first line.
pub(crate) async fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().filter(|_| output.status.success()).map(str::to_owned)
}

/// The first `name: value` in one of the system's files.
fn field(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim().to_owned());
    text.lines().find_map(value)
}

async fn idle_cpu() -> Option<f64> {
    let before = ticks()?;
    tokio::time::sleep(LOOK).await;
    let after = ticks()?;
    let spent: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    Some(*spent.get(3)? as f64 / spent.iter().sum::<u64>().max(1) as f64)
}

/// User, nice, system, idle and so on, of all cores since the start.
fn ticks() -> Option<Vec<u64>> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    line.split_whitespace().take(8).map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_of_system_files_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nMemTotal:   16 kB\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(field(text, "MemTotal").as_deref(), Some("16 kB"));
        assert_eq!(field(text, "none"), None);
    }
}
