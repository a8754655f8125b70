//! Rows in: manifests, grids, checks, keys, chunks, plans.
//!
//! A [`Manifest`] or a [`Grid`] gives [`RawRow`]s: what somebody asked for, unchecked. A [`Checker`] makes each a [`Row`]
//! with a key, a digest and a [`JobSpec`](uso_queue::JobSpec), or says all that is wrong with it. A [`Chunk`] holds checked rows as they lie in
//! the store, [`Changes`] compares a newer manifest with older chunks, and a [`Planner`] adds up what rows will cost.

mod asked;
mod changes;
mod checker;
mod chunk;
mod fields;
mod grid;
mod manifest;
mod pipeline;
mod plan;
mod row;
mod rules;
mod seen;

pub use changes::{Change, Changes};
pub use checker::Checker;
pub use chunk::{CHUNK_ROWS, Chunk};
pub use fields::MAX_ROW_KEY;
pub use grid::{Grid, GridRows, MAX_COMBINATIONS, MAX_GRID};
pub use manifest::{Block, Kind, MAX_EVALUATION, MAX_LINE, Manifest};
pub use plan::{
    BYTES_PER_PIXEL, FinishBy, Fleet, Plan, Planner, REQUESTS_PER_PICTURE, Size, Wall, WorkersNeeded,
};
pub use row::{BadRow, Digest, MAX_ROWS, RawRow, Row};
pub use rules::{Options, Reference, Rules};
