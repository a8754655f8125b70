//! How often a server that ends by itself is started again.

use std::time::Duration;

/// How often it may end in a row.
const MOST_ENDS: u32 = 8;
/// Pause after its first end.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// One that has run so long has got over what ended it before.
const SOUND: Duration = Duration::from_secs(60);

/// How often a server has ended in a row.
#[derive(Default)]
pub(super) struct Restarts {
    pub(super) ends: u32,
}

impl Restarts {
    /// The pause before a server that has lived so long is started again; none if it has ended too often.
    pub(super) fn pause(&mut self, lived: Duration) -> Option<Duration> {
        if lived >= SOUND {
            self.ends = 0;
        }
        self.ends += 1;
        (self.ends < MOST_ENDS).then(|| (FIRST_PAUSE * 2u32.pow(self.ends - 1)).min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_unless_the_server_got_over_it() {
        let mut restarts = Restarts::default();
        let pauses: Vec<_> = std::iter::from_fn(|| restarts.pause(Duration::ZERO)).collect();
        assert_eq!(pauses.len() as u32, MOST_ENDS - 1);
        assert_eq!((pauses[0], pauses[1]), (FIRST_PAUSE, FIRST_PAUSE * 2));
        assert!(pauses.is_sorted() && pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert_eq!(restarts.pause(SOUND), Some(FIRST_PAUSE));
    }
}
