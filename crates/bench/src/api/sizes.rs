//! How much is measured.

/// How much makes a figure.
pub(super) struct Sizes {
    /// Rounds of load, and of a browser; seconds each of load takes.
    pub(super) rounds: usize,
    pub(super) seconds: u64,
    /// Open event streams, and events sent to them.
    pub(super) streams: usize,
    pub(super) events: usize,
    /// Jobs whose end is estimated.
    pub(super) estimated: usize,
}

impl Sizes {
    pub(super) const FULL: Self = Self { rounds: 5, seconds: 4, streams: 2000, events: 200, estimated: 200 };
    pub(super) const QUICK: Self = Self { rounds: 1, seconds: 1, streams: 50, events: 5, estimated: 5 };
}
