//! Data sets: batches whose rows come out of a manifest and end in shards.

mod add;
pub(super) mod archived;
pub(crate) mod budget;
pub(crate) mod chunks;
pub(super) mod create;
pub(crate) mod discard;
mod ended;
mod fields;
pub(crate) mod files;
pub(crate) mod known;
pub(crate) mod list;
mod manifest;
pub(crate) mod outcomes;
mod packed;
mod patience;
mod place;
pub(crate) mod reasons;
pub(crate) mod replace;
pub(super) mod request;
pub(crate) mod rows;
pub(crate) mod start;
pub(super) mod view;
