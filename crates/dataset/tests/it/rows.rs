//! Rows in.

mod changes;
mod checks;
mod fixture;
mod formats;
mod grids;
mod limits;
mod plans;
mod roundtrips;
