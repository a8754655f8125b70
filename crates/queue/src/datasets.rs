//! Data sets: batches whose rows come out of a manifest in the object store and end in shards there.

mod all;
mod dataset;
mod feed;
mod task;

pub use dataset::{Budget, DatasetCreated, DatasetView, NewDataset, SegmentView, ShardView};
pub use feed::{Fed, MAX_FED, RowSubmission, Wait};
pub use task::{Archived, DatasetTask, Intent, TaskKind, TaskState, TaskWish};
