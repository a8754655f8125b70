use std::path::PathBuf;

/// Everything that can go wrong between a request and its picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the model folder is missing, unreadable or not what its name says.
    #[error("model file {}: {reason}", file.display())]
    ModelFile {
        /// The file, relative to the model folder.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is missing, has another shape than the configuration asks for, or is left over.
    #[error("weights in {}: {reason}", file.display())]
    Weights {
        /// The file that should hold the tensor, relative to the model folder.
        file: PathBuf,
        /// Names the tensor and the fault.
        reason: String,
    },
    /// The request cannot be drawn by this model; names the parameter and its limit.
    #[error("{parameter}: {reason}")]
    Request {
        /// The parameter as users write it, for example `steps`.
        parameter: &'static str,
        /// The limit it breaks.
        reason: String,
    },
    /// Bytes that are no picture, a picture beyond the limits, or one that cannot be encoded.
    #[error("image: {0}")]
    Image(String),
    /// Text that could not be turned into token ids.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// Sampling left the finite numbers: a fault of the weights or of the device.
    #[error("the latent is not finite after step {step} of {steps}")]
    NotFinite {
        /// Steps done.
        step: usize,
        /// Steps of the job.
        steps: usize,
    },
    /// A half-drawn picture that cannot be gone on with; the request itself may be fine.
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    /// A scripted engine fails because its script says so.
    #[error("the script says so")]
    Scripted,
    /// A computation failed on the device.
    #[error("device: {0}")]
    Device(#[from] candle_core::Error),
}
