//! How much is measured.

/// How much makes a figure.
pub(super) struct Sizes {
    /// Bulk jobs for the device's idle time.
    pub(super) bulk: usize,
    /// Interactive jobs for their latency.
    pub(super) interactive: usize,
    /// Seconds for each throughput.
    pub(super) seconds: u64,
    /// Workers killed, and workers told to stop.
    pub(super) kills: usize,
    pub(super) stops: usize,
    /// Lanes in which they are, at once.
    pub(super) lanes: usize,
    /// Steps for the cost of one.
    pub(super) steps: usize,
    /// Workers on one Redis, and for how long.
    pub(super) crowd: usize,
    pub(super) crowd_seconds: u64,
}

impl Sizes {
    pub(super) const FULL: Self = Self {
        bulk: 200,
        interactive: 300,
        seconds: 60,
        kills: 50,
        stops: 20,
        lanes: 10,
        steps: 6000,
        crowd: 500,
        crowd_seconds: 300,
    };
    pub(super) const QUICK: Self = Self {
        bulk: 3,
        interactive: 5,
        seconds: 3,
        kills: 2,
        stops: 2,
        lanes: 2,
        steps: 200,
        crowd: 10,
        crowd_seconds: 3,
    };
}
