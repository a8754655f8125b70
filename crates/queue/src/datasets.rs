//! Data sets: batches whose rows come out of a manifest in the object store and end in shards there.

mod all;
mod dataset;
mod feed;
mod notes;
mod replace;
mod task;
mod view;

pub use dataset::{DatasetCreated, NewDataset};
pub use feed::{Fed, MAX_FED, RowSubmission, Wait};
pub use replace::{Kept, Replaced};
pub use task::{Archived, DatasetTask, Intent, MAX_MARKED, TaskKind, TaskRequest, TaskState};
pub use view::{Budget, DatasetView, SegmentView, ShardView};
