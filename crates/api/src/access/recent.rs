//! What was read lately, so that not every request reads it anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most that is remembered: who sends ever new names must not fill the memory.
const MOST: usize = 4096;

/// Values by name, each for a short time.
pub(crate) struct Recent<V> {
    life: Duration,
    values: Mutex<HashMap<String, (Instant, V)>>,
}

impl<V: Clone> Recent<V> {
    pub(crate) fn new(life: Duration) -> Self {
        Self { life, values: Mutex::default() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<V> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(name).filter(|(when, _)| when.elapsed() < self.life).map(|(_, value)| value.clone())
    }

    pub(crate) fn put(&self, name: &str, value: V) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() >= MOST {
            values.retain(|_, (when, _)| when.elapsed() < self.life);
        }
        if values.len() >= MOST {
            values.clear();
        }
        values.insert(name.to_owned(), (Instant::now(), value));
    }

    pub(crate) fn forget(&self, name: &str) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_believed_for_a_while_and_room_is_bounded() {
        let recent = Recent::new(Duration::from_millis(50));
        recent.put("a", 1);
        assert_eq!((recent.get("a"), recent.get("b")), (Some(1), None));
        recent.forget("a");
        assert_eq!(recent.get("a"), None);
        recent.put("a", 2);
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(recent.get("a"), None);

        let recent = Recent::new(Duration::from_secs(3600));
        for name in 0..=MOST {
            recent.put(&name.to_string(), name);
        }
        assert_eq!(recent.get(&MOST.to_string()), Some(MOST));
        assert!(recent.values.lock().unwrap().len() <= MOST);
    }
}
