//! Patience with a queue that is slow for a moment, for requests that carry much and are safe to repeat.

use std::time::Duration;

use tokio::time::Instant;

use crate::problem::Problem;

/// How long such a request waits for the queue. A disk that is busy with a chunk of rows can hold Redis up for longer than
/// other requests wait.
const PATIENCE: Duration = Duration::from_secs(4);

/// Pause before the queue is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// The patience of one request.
pub(super) struct Patience(Instant);

impl Patience {
    pub(super) fn new() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// Whether to ask again after this refusal, which is so while the queue says nothing; waits a moment before.
    pub(super) async fn allows(&self, refusal: &Problem) -> bool {
        let allows = refusal.silence && Instant::now() < self.0;
        if allows {
            tokio::time::sleep(PAUSE).await;
        }
        allows
    }
}
