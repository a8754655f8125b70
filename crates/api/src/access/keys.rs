//! Keys and sessions, read from the queue and kept for a short time.

use uso_queue::{ApiKey, KeyView, Queue, SessionToken};

use super::cache::{Cache, KEY_LIFE};
use crate::problem::Problem;

/// What a process has read about keys and sessions lately.
pub(crate) struct Keys {
    queue: Queue,
    read: Cache<KeyView>,
}

impl Keys {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, read: Cache::new(KEY_LIFE) }
    }

    /// What is known of a whole key, if it is valid now.
    pub(crate) async fn key(&self, key: &ApiKey) -> Result<Option<KeyView>, Problem> {
        let name = key.prefix();
        let found = match self.read.get(name) {
            Some(view) => Some(view),
            None => self.queue.find_key(name).await?.inspect(|view| self.read.put(name, view.clone())),
        };
        Ok(found.filter(|view| view.is_of(key)))
    }

    /// The key that opened a session.
    pub(super) async fn session(&self, token: &SessionToken) -> Result<Option<KeyView>, Problem> {
        let name = session_name(token);
        if let Some(view) = self.read.get(&name) {
            return Ok(Some(view));
        }
        Ok(self.queue.find_session(token).await?.inspect(|view| self.read.put(&name, view.clone())))
    }

    pub(crate) fn forget_session(&self, token: &SessionToken) {
        self.read.forget(&session_name(token));
    }
}

/// No key's prefix has a colon.
fn session_name(token: &SessionToken) -> String {
    format!("session:{}", token.expose())
}
