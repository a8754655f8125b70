use std::collections::BTreeMap;

use uso_engine::Error as EngineError;
use uso_queue::Measure;
use uso_store::Error as StoreError;

/// Everything that can go wrong on the way from a lease to its picture.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A reference could not be fetched.
    #[error("{field}: {source}")]
    Fetch {
        /// Field of the job, as its submitter wrote it.
        field: String,
        /// What the store said.
        source: StoreError,
    },
    /// A reference is no picture that can be used.
    #[error("{field}: {source}")]
    Reference {
        /// Field of the job, as its submitter wrote it.
        field: String,
        /// What the decoder said.
        source: EngineError,
    },
    /// A LoRA of the job is not here; another worker may have it.
    #[error("loras: this worker has no LoRA {0:?}")]
    NoLora(String),
    /// A scorer of the job is not here; another worker may have it.
    #[error("gate: this worker has no scorer {0:?}")]
    NoScorer(&'static str),
    /// No picture reached the thresholds of the job's gate; says what each scored.
    #[error("{scores}")]
    BelowThreshold {
        /// What each picture scored.
        scores: String,
        /// How many pictures did not reach each measure's threshold.
        rejected: BTreeMap<Measure, u64>,
    },
    /// The engine refused the request, or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The picture is one colour from edge to edge: never what was asked for.
    #[error("the model made a picture of a single colour")]
    Flat,
    /// The engine panicked; the model has been loaded again.
    #[error("the engine panicked: {0}")]
    Panicked(String),
    /// The engine panicked twice in a row, or could not be loaded again: this process is of no use.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
    /// The device hangs at this sample: this process is of no use.
    #[error("the device hangs")]
    DeviceStuck,
    /// The device was lost at another sample.
    #[error("the device is gone")]
    DeviceGone,
    /// Another process holds the job now, or it has ended: stop working on it.
    #[error("the job was given up: its lease is lost")]
    Abandoned,
    /// The picture or its sidecar could not be stored.
    #[error("could not store the output: {0}")]
    Upload(#[source] StoreError),
    /// The queue did not take note of a checkpoint or a preview.
    #[error("could not record a checkpoint or a preview: {0}")]
    Record(#[source] uso_queue::Error),
    /// The store refuses everything, or does not answer at all: no job's fault.
    #[error("the object store is away: {0}")]
    StoreAway(#[source] StoreError),
    /// The process ends before the store has taken the picture.
    #[error("the process ends, and the object store has not taken the picture")]
    Leaving,
    /// A helper thread of the runtime was lost.
    #[error("a blocking task ended early: {0}")]
    Task(String),
}
