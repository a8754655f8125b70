//! Which prompts and references each worker was given.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use uso_engine::{Observer, Request};

/// Prompts and references that one worker was given.
#[derive(Clone, Default)]
pub(super) struct ItemLog(Arc<Mutex<HashSet<u64>>>);

impl ItemLog {
    pub(super) fn items(&self) -> HashSet<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for ItemLog {
    type Sample = ();

    fn begun(&mut self, request: &Request) {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.insert(number(0, request.prompt.as_bytes()));
        items.extend(request.content.iter().map(|content| number(1, content.digest())));
        items.extend(request.styles.iter().map(|style| number(2, style.digest())));
    }

    fn before_step(&mut self, (): &mut ()) {}
}

fn number(kind: u8, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, bytes).hash(&mut hasher);
    hasher.finish()
}
