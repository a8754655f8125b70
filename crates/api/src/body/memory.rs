//! Memory for files that pass through this process.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Bytes for all such files together.
const MEMORY: usize = 192 * 1024 * 1024;
/// Bytes by which a file's share grows.
const PART: usize = 256 * 1024;

/// The memory for the files of all requests.
pub(crate) struct Memory(Arc<Semaphore>);

/// What one request has reserved, until this is dropped.
pub(crate) struct Reserved {
    all: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY / PART)))
    }

    /// A reservation of no bytes yet.
    pub(crate) fn reserve(&self) -> Reserved {
        Reserved { all: Arc::clone(&self.0), permit: None }
    }
}

impl Reserved {
    /// For a request that needs none.
    pub(crate) fn nothing() -> Self {
        Self { all: Arc::new(Semaphore::new(0)), permit: None }
    }

    /// Reserves memory for `bytes` in all. Where there is none, the request is refused and does not wait: two requests
    /// that hold memory could wait for each other for ever.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let has = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(PART).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more =
            u32::try_from(more).ok().and_then(|more| Arc::clone(&self.all).try_acquire_many_owned(more).ok());
        let Some(more) = more else {
            let detail = "too many files are being sent here at once";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_room", detail);
            return Err(problem.later(std::time::Duration::from_secs(2)));
        };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_for_all_together_and_is_given_back() {
        let memory = Memory::new();
        let (mut one, mut other) = (memory.reserve(), memory.reserve());
        one.grow_to(MEMORY / 2).unwrap();
        one.grow_to(MEMORY / 2 - PART).unwrap();
        other.grow_to(MEMORY / 2).unwrap();
        assert_eq!(other.grow_to(MEMORY / 2 + 1).unwrap_err().code, "no_room");
        drop(one);
        other.grow_to(MEMORY).unwrap();
        assert!(other.grow_to(MEMORY + 1).is_err());
    }
}
