//! What the device's thread and those who watch it share.

use uso_engine::{CacheCounts, Engine, Error as EngineError};
use uso_queue::WorkerState;

use super::clock::Clock;
use super::watchdog::{Patience, Watchdog};
use crate::Condition;

/// How the device is shared.
#[derive(Debug, Clone, Copy)]
pub struct Sharing {
    /// Samples of one shape that may be stepped together.
    pub slots: usize,
    /// Samples that may be begun at once: those that are stepped, and those that are set aside for them.
    pub most_begun: usize,
    /// While bulk work waits, it gets one step in this many.
    pub bulk_every: u32,
    /// How long it may take before it counts as stuck.
    pub patience: Patience,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { slots: 1, most_begun: 5, bulk_every: 20, patience: Patience::default() }
    }
}

/// What the device has at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceStatus {
    /// What its cache of features has done so far.
    pub cache: CacheCounts,
    /// Bytes that no sample under way takes; none if the engine cannot tell.
    pub free: Option<u64>,
}

/// How others see what the thread is at.
#[derive(Clone, Copy)]
pub(super) struct Watched<'a> {
    pub(super) clock: &'a Clock,
    pub(super) watchdog: &'a Watchdog,
    pub(super) condition: &'a Condition,
}

/// An engine that has passed its self-test.
pub(super) fn prove<E: Engine>(
    load: &dyn Fn() -> Result<E, EngineError>,
    condition: &Condition,
) -> Result<E, EngineError> {
    condition.set(WorkerState::Starting);
    let mut engine = load()?;
    condition.set(WorkerState::SelfTest);
    engine.self_test()?;
    condition.set(WorkerState::Ready);
    Ok(engine)
}
