//! Rows in: manifests, grids, checks, keys, chunks, plans.

/// Rows of a chunk; the last one of a batch may have fewer.
pub const CHUNK_ROWS: usize = 1000;
