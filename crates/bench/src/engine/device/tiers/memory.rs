//! The most bytes that this process has had on a device.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use uso_engine::plan::CONTEXT_BYTES;

use crate::memory;

/// What the driver takes once a device is open, as plans count it.
pub(super) const DRIVER_BYTES: u64 = CONTEXT_BYTES;

/// How often it is looked at. Freed memory stays with the allocator for a while, so that short peaks are seen too.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks at a device's memory until it is asked for the most.
pub(super) struct Watch {
    done: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    before: u64,
    is_cpu: bool,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(device: &str) -> anyhow::Result<Self> {
        let (kind, number) = device.split_once(':').unwrap_or((device, "0"));
        let (is_cpu, number) = (kind == "cpu", number.to_owned());
        let look = move || if is_cpu { memory::anonymous().ok() } else { used(&number) };
        // Zero where nobody tells: then nothing was seen.
        let before = look().unwrap_or(0);
        let (done, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, highest) = (Arc::clone(&done), Arc::clone(&most));
        let task = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                highest.fetch_max(look().unwrap_or(0), Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
        });
        Ok(Self { done, most, before, is_cpu, task })
    }

    /// On the CPU, forgets what was seen so far. Matrices are converted there while a model is loaded, in buffers that no
    /// plan counts; a card gets the results alone.
    pub(super) fn loaded(&self) {
        if self.is_cpu {
            self.most.store(0, Ordering::Relaxed);
        }
    }

    /// The most bytes more than at the start; none if the system does not tell.
    pub(super) fn most(self) -> anyhow::Result<Option<u64>> {
        self.done.store(true, Ordering::Relaxed);
        self.task.join().ok().context("whoever looks at the memory was lost")?;
        let most = self.most.load(Ordering::Relaxed);
        let mapped = if self.is_cpu { memory::mapped()? } else { 0 };
        Ok((most > 0).then(|| most.saturating_sub(self.before) + mapped))
    }
}

/// Bytes of a card that are in use, by whatever process.
fn used(number: &str) -> Option<u64> {
    let query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id", number];
    let output = Command::new("nvidia-smi").args(query).output().ok()?;
    let mib: u64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    Some(mib << 20)
}
