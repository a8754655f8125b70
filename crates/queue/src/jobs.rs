//! A job from its submission to its end, and all that is asked about it meanwhile.

mod audit;
mod batch;
mod claim;
mod dead;
mod ending;
mod events;
mod hold;
mod job;
mod keeper;
mod lease;
mod list;
mod position;
mod reap;
mod receipt;
mod repeat;
mod scores;
mod source;
mod spec;
mod stats;
mod submit;
mod tail;
mod window;
mod workers;

pub use audit::{Audit, Fault, History};
pub use batch::{BatchCounts, BatchOperation, BatchSubmitted, BatchView, NewBatch};
pub use claim::Claim;
pub use dead::{DeadLetter, LetterId};
pub use ending::{Canceled, Removed, Retried};
pub use events::{EventId, EventKind, JobEvent};
pub use job::{Blocked, Checkpoint, Failure, JobView, Output, State};
pub use keeper::{Keeper, Renewer};
pub use lease::{Lease, MAX_CHECKPOINT, MAX_PREVIEW};
pub use list::{JobPage, ListCursor, ListFilter};
pub use position::QueuePosition;
pub use reap::Reaped;
pub use receipt::{PromptTokens, Receipt, TokenCount, UsedLora};
pub use repeat::EarlierJob;
pub use scores::{Scores, Try};
pub use source::{MAX_URL, Source};
pub use spec::{
    Class, DEFAULT_QUALITY, Defaults, EarlyGate, FieldError, Format, GUIDANCE, Gate, JobSpec, LORA_WEIGHT,
    Lora, MAX_LORAS, MAX_METADATA, MAX_PROMPT, MAX_SEED, MAX_STYLES, Measure, QUALITY, SIDE, STEP_CACHE,
    STEPS, Scorer, TRIES, Thresholds, smallest_margin,
};
pub(crate) use stats::Counter;
pub use stats::{Depth, Scope, Stats};
pub use submit::{Submission, Submitted};
pub use tail::EventTail;
pub use window::{Window, WindowView};
pub use workers::{MAX_STEP_PACES, StepPace, WorkerId, WorkerLora, WorkerReport, WorkerState};
