//! Decides which failures are retried, and when.

use std::time::Duration;

use anyhow::Error;

use crate::causes::told;

/// The pause after the first failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, even if the server asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Failures in a row after which it gives up.
const MOST_FAILURES: u32 = 8;

/// Why a request failed.
pub(crate) enum Failure {
    /// The same request may succeed after a pause, which the server may have named.
    Passing { error: Error, pause: Option<Duration> },
    /// The same request would fail again.
    Final(Error),
}

impl Failure {
    pub(crate) fn passing(error: Error) -> Self {
        Self::Passing { error, pause: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Final(error.into())
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let is_final = error.is_builder() || error.is_redirect();
        // Links to storage are signed, so the error must not show one.
        let error = Error::new(error.without_url());
        if is_final { Self::Final(error) } else { Self::passing(error) }
    }
}

/// Counts failures in a row.
#[derive(Default)]
pub(crate) struct Patience {
    failures: u32,
}

impl Patience {
    /// Waits until the next try is due, or gives the failure back as an error.
    pub(crate) async fn wait(&mut self, failure: Failure) -> anyhow::Result<()> {
        let (error, pause) = match failure {
            Failure::Passing { error, pause } => (error, pause),
            Failure::Final(error) => return Err(error),
        };
        self.failures += 1;
        if self.failures >= MOST_FAILURES {
            return Err(error.context(format!("gave up after {MOST_FAILURES} failures in a row")));
        }
        let pause = pause.unwrap_or(FIRST_PAUSE * 2u32.pow(self.failures - 1)).min(LONGEST_PAUSE);
        tracing::warn!("{}; trying again in {pause:?}", told(&error));
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Forgets earlier failures after progress was made.
    pub(crate) fn renew(&mut self) {
        self.failures = 0;
    }
}
