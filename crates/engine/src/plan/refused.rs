//! A plan that was not taken.

use std::fmt;

use serde::Serialize;

use super::budget::gib;

/// Names of the memories.
pub(super) const DEVICE: &str = "device";
pub(super) const HOST: &str = "host";

/// A better plan that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The plan in words.
    pub plan: String,
    /// The memories that are too small for it: one or both.
    pub shortages: Vec<Shortage>,
}

/// A memory that is too small for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shortage {
    /// The memory: `device` or `host`.
    pub memory: &'static str,
    /// Bytes that the plan needs there.
    pub need_bytes: u64,
    /// Bytes that are available there.
    pub have_bytes: u64,
}

impl Refused {
    /// Bytes that are missing in total.
    pub(super) fn short(&self) -> u64 {
        let short = |shortage: &Shortage| shortage.need_bytes.saturating_sub(shortage.have_bytes);
        self.shortages.iter().map(short).fold(0, u64::saturating_add)
    }

    /// Whether it fits on the device.
    pub(super) fn lacks_host_alone(&self) -> bool {
        self.shortages.iter().all(|shortage| shortage.memory == HOST)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: needs ", self.plan)?;
        for (i, Shortage { memory, need_bytes, have_bytes }) in self.shortages.iter().enumerate() {
            let and = if i == 0 { "" } else { "; and " };
            let [need, have] = [*need_bytes, *have_bytes].map(gib);
            write!(formatter, "{and}{need} of {memory} memory, {have} is available")?;
        }
        Ok(())
    }
}
