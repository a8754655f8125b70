//! How much is measured.

/// How much makes a figure.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Rows of the manifest that is planned.
    pub(super) planned: u64,
    /// Rows from end to end, with small pictures and with large ones.
    pub(super) small: u64,
    pub(super) large: u64,
    /// Rows of a shard.
    pub(super) shard: u32,
    /// Rows for the requests of one.
    pub(super) counted: u64,
    /// Pictures that are packed and copied, and how often.
    pub(super) packed: u64,
    pub(super) rounds: usize,
    /// Rows of a batch whose memory is compared with that of a larger one.
    pub(super) few: u64,
    pub(super) many: u64,
    /// Rows of a batch whose processes are killed, and how often.
    pub(super) killed: u64,
    pub(super) kills: usize,
    /// Subjects, styles and prompts of a grid.
    pub(super) grid: (u32, u32, u32),
}

impl Sizes {
    /// The whole, or a part of the rows of each figure.
    pub(super) fn full(scale: f64) -> Self {
        let part = |rows: u64| ((rows as f64 * scale).ceil() as u64).max(100);
        Self {
            planned: part(1_000_000),
            small: part(100_000),
            large: part(10_000),
            shard: part(10_000) as u32,
            counted: part(10_000),
            packed: part(10_000),
            rounds: 3,
            few: part(10_000),
            many: part(1_000_000),
            killed: part(5000),
            kills: 20,
            grid: (((50.0 * scale).ceil() as u32).max(4), 20, 10),
        }
    }

    pub(super) const QUICK: Self = Self {
        planned: 5000,
        small: 300,
        large: 30,
        shard: 100,
        counted: 200,
        packed: 100,
        rounds: 1,
        few: 200,
        many: 400,
        killed: 200,
        kills: 1,
        grid: (2, 3, 2),
    };
}
