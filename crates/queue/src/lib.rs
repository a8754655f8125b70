#![doc = include_str!("../README.md")]

mod access;
mod answers;
mod backoff;
mod codec;
mod config;
mod datasets;
mod error;
mod id;
mod jobs;
mod limits;
mod queue;
mod random;
mod redis;
mod rejection;
mod reply;
mod scan;
mod schema;
mod tenant;
mod webhooks;

pub use self::redis::{Durability, LAYOUT, Wakeups};
pub use access::{
    Allowance, ApiKey, KeyScope, KeyView, Limits, LinkSecret, MAX_NOTE, NewFile, NewKey, NotAKey,
    SessionToken, TenantView,
};
pub use backoff::Backoff;
pub use config::Config;
pub use datasets::{
    Archived, Budget, DatasetCreated, DatasetTask, DatasetView, Fed, Intent, Kept, MAX_FED, MAX_MARKED,
    NewDataset, Replaced, RowSubmission, SegmentView, ShardView, TaskKind, TaskRequest, TaskState, Wait,
};
pub use error::Error;
pub use id::{BatchId, JobId, NotAnId, RowId};
pub use jobs::{
    Audit, BatchCounts, BatchOperation, BatchSubmitted, BatchView, Blocked, Canceled, Checkpoint, Claim,
    Class, DEFAULT_QUALITY, DeadLetter, Defaults, Depth, EarlierJob, EarlyGate, EventId, EventKind,
    EventTail, Failure, Fault, FieldError, Format, GUIDANCE, Gate, History, JobEvent, JobPage, JobSpec,
    JobView, Keeper, LORA_WEIGHT, Lease, LetterId, ListCursor, ListFilter, Lora, MAX_CHECKPOINT, MAX_LORAS,
    MAX_METADATA, MAX_PREVIEW, MAX_PROMPT, MAX_SEED, MAX_STEP_PACES, MAX_STYLES, MAX_URL, Measure, NewBatch,
    Output, PromptTokens, QUALITY, QueuePosition, Reaped, Receipt, Removed, Renewer, Retried, SIDE,
    STEP_CACHE, STEPS, Scope, Scorer, Scores, Source, State, Stats, StepPace, Submission, Submitted, TRIES,
    Thresholds, TokenCount, Try, UsedLora, Window, WindowView, WorkerId, WorkerLora, WorkerReport,
    WorkerState, smallest_margin,
};
pub use limits::{EVENTS_KEPT, IDLE_FOR, KEY_LIFE, MAX_SESSIONS};
pub use queue::Queue;
pub use rejection::{MAX_DATASET_NAME, MAX_JOBS, MAX_KEY, Rejection};
pub use schema::Time;
pub use webhooks::{
    Attempt, ClaimedDelivery, DEFAULT_WEBHOOK, Delivery, Next, Webhook, WebhookSecret, WebhookShape,
};
