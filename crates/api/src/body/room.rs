//! Memory for files that pass through this process.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Problem;

/// Bytes for all such files together.
const ROOM: usize = 192 * 1024 * 1024;
/// Bytes by which a file's share grows.
const PART: usize = 256 * 1024;

/// The memory that there is for all.
pub(crate) struct Room(Arc<Semaphore>);

/// What one request holds of it, until it is dropped.
pub(crate) struct Held {
    room: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM / PART)))
    }

    /// Nothing yet.
    pub(crate) fn held(&self) -> Held {
        Held { room: Arc::clone(&self.0), permit: None }
    }
}

impl Held {
    /// Of a request that needs none.
    pub(crate) fn nothing() -> Self {
        Self { room: Arc::new(Semaphore::new(0)), permit: None }
    }

    /// Holds room for `bytes` in all. Nobody waits for room with room in hand: where there is none, the request is
    /// refused.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let has = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(PART).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more)
            .ok()
            .and_then(|more| Arc::clone(&self.room).try_acquire_many_owned(more).ok());
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
    fn room_is_bounded_for_all_together_and_is_given_back() {
        let room = Room::new();
        let (mut one, mut other) = (room.held(), room.held());
        one.grow_to(ROOM / 2).unwrap();
        one.grow_to(ROOM / 2 - PART).unwrap();
        other.grow_to(ROOM / 2).unwrap();
        assert_eq!(other.grow_to(ROOM / 2 + 1).unwrap_err().code, "no_room");
        drop(one);
        other.grow_to(ROOM).unwrap();
        assert!(other.grow_to(ROOM + 1).is_err());
    }
}
