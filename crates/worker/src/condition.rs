//! Whether a worker takes work, as its parts tell each other and as others see it.

use tokio::sync::watch;
use uso_queue::WorkerState;

/// The state of a worker. Clones share it.
#[derive(Debug, Clone)]
pub struct Condition(watch::Sender<WorkerState>);

impl Condition {
    /// The state now.
    pub fn get(&self) -> WorkerState {
        *self.0.borrow()
    }

    /// Says that work is taken.
    pub fn set_ready(&self) {
        self.set(WorkerState::Ready);
    }

    pub(crate) fn set(&self, state: WorkerState) {
        self.change(|_| Some(state));
    }

    /// Changes it from one state to another; whatever else it is, it stays.
    pub(crate) fn exchange(&self, from: WorkerState, to: WorkerState) {
        self.change(|now| (now == from).then_some(to));
    }

    fn change(&self, to: impl FnOnce(WorkerState) -> Option<WorkerState>) {
        // A device that hangs stays stuck, and a worker that is to end goes on to do so, whatever else is said.
        self.0.send_if_modified(|now| match (*now, to(*now)) {
            (_, None) | (WorkerState::Stuck, _) => false,
            (WorkerState::Draining, Some(state)) if state != WorkerState::Stuck => false,
            (_, Some(state)) => std::mem::replace(now, state) != state,
        });
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self(watch::Sender::new(WorkerState::Starting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_worker_is_not_taken_back() {
        use WorkerState::{Draining, Ready, Starting, Stuck};
        let condition = Condition::default();
        for (state, then) in [
            (Starting, Starting),
            (Ready, Ready),
            (Draining, Draining),
            (Ready, Draining),
            (Stuck, Stuck),
            (Draining, Stuck),
        ] {
            condition.set(state);
            assert_eq!(condition.get(), then);
        }
    }
}
