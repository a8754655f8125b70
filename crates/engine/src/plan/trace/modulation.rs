//! The modulation tables of a job, as `uso::modulation` makes them.

use super::record::{F32, Recorder};
use super::tape::Values;
use crate::config::FluxConfig;

/// Rows of a table: shift, scale and gate of each part of each block, and shift and scale of the final layer.
pub(crate) fn rows(config: &FluxConfig) -> u64 {
    (2 * 6 * config.depth + 3 * config.depth_single_blocks + 2) as u64
}

/// Makes the tables of `steps` steps. `slots` are the bytes of the layers that are streamed for it and on the device at
/// a time, 0 if none is.
pub(crate) fn tables<'t>(recorder: &Recorder<'t>, config: &FluxConfig, steps: u64, slots: u64) -> Values<'t> {
    /// Rows of the largest layer.
    const MOST: u64 = 6;
    let hidden = config.hidden_size as u64;
    let vectors = recorder.made("vectors", steps * hidden);
    let tables = recorder.tape.moved("tables", 0, steps * rows(config) * hidden, F32);
    let fetched = recorder.tape.moved("fetch", slots, slots, 1);
    let made = recorder.product(&vectors, steps, hidden, MOST * hidden, "modulations").map("bias").cast(F32);
    drop(made.map("add"));
    drop(fetched);
    tables
}
