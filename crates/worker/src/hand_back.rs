//! Jobs that are to go back to the queue before their end, and why.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Why a worker hands a job back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The nightly window of bulk jobs has closed.
    WindowClosed,
    /// The worker drains: it is to stop.
    Draining,
    /// It has not begun here, and a worker without work would take it.
    WantedElsewhere,
    /// It cannot go on here: the device or the process ends.
    GivenUp,
}

impl Reason {
    /// The word for it in metrics and logs.
    pub(crate) fn outcome(self) -> &'static str {
        match self {
            Self::WantedElsewhere => "given_away",
            Self::WindowClosed | Self::Draining | Self::GivenUp => "handed_back",
        }
    }
}

/// Asks for one job to be handed back. The first reason stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandBack {
    asked: CancellationToken,
    reason: Arc<OnceLock<Reason>>,
}

impl HandBack {
    pub(crate) fn ask(&self, reason: Reason) {
        let _ = self.reason.set(reason);
        self.asked.cancel();
    }

    /// Cancelled once it was asked for.
    pub(crate) fn asked(&self) -> &CancellationToken {
        &self.asked
    }

    /// Why it was asked for; [`Reason::GivenUp`] if nobody has asked.
    pub(crate) fn reason(&self) -> Reason {
        self.reason.get().copied().unwrap_or(Reason::GivenUp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stands() {
        let hand_back = HandBack::default();
        assert!(!hand_back.asked().is_cancelled());
        assert_eq!(hand_back.reason(), Reason::GivenUp);
        hand_back.ask(Reason::WantedElsewhere);
        hand_back.ask(Reason::Draining);
        assert!(hand_back.asked().is_cancelled());
        assert_eq!(hand_back.reason(), Reason::WantedElsewhere);
    }
}
