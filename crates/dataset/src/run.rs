//! The work that a data set needs while its rows are made: rows go from the store into the queue, outcomes from the queue
//! into segments, closed shards into tars. Each is done under a task of the queue; whoever loses it stops, and whatever it
//! began changes nothing.

mod archive;
mod chunks;
mod describe;
mod feed;
mod index;
mod lookup;
mod pack;
mod retries;
mod runner;
mod segments;
mod sweep;
mod term;

pub use chunks::{ChunkEntry, Chunks};
pub use index::find_segment;
pub use lookup::find_outcome;
pub use pack::pack;
pub use runner::run;
pub use segments::{OutcomeFilter, OutcomePage, page_of_outcomes};
pub use term::TERM;
