use std::path::PathBuf;

/// Everything that can go wrong between a request and its picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the model folder is missing, unreadable or of the wrong kind.
    #[error("model file {}: {reason}", file.display())]
    ModelFile {
        /// The file, relative to the model folder.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is missing, has the wrong shape, or is unknown.
    #[error("weights in {}: {reason}", file.display())]
    Weights {
        /// The file that should hold the tensor, relative to the model folder.
        file: PathBuf,
        /// Names the tensor and the fault.
        reason: String,
    },
    /// A file of a packed model cannot be written.
    #[error("{}: {reason}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// This model cannot generate the request; names the parameter and its limit.
    #[error("{parameter}: {reason}")]
    Request {
        /// The parameter as users write it, for example `steps`.
        parameter: &'static str,
        /// The limit it breaks.
        reason: String,
    },
    /// Bytes that are not a picture, a picture beyond the limits, or one that cannot be encoded.
    #[error("image: {0}")]
    Image(String),
    /// A text cannot be turned into token ids.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// Sampling gave numbers that are not finite: the weights or the device are faulty.
    #[error("the latent is not finite after step {step} of {steps}")]
    NotFinite {
        /// Steps done.
        step: usize,
        /// Total steps.
        steps: usize,
    },
    /// A checkpoint that cannot be resumed from; the request itself may be fine.
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    /// A scripted engine fails because its script tells it to.
    #[error("the script asks for it")]
    Scripted,
    /// The engine failed its self-test, so it must not get jobs.
    #[error("self-test: {0}")]
    SelfTest(String),
    /// The device has too little memory for the computation; with fewer samples at a time it may be enough.
    #[error("out of memory{}", room(*need, *free))]
    OutOfMemory {
        /// Bytes that the sample takes at its peak, where known.
        need: Option<u64>,
        /// Bytes that were free for samples, where known.
        free: Option<u64>,
    },
    /// No plan makes the model fit into the memory that is there.
    #[error("no plan fits: {0}")]
    Plan(String),
    /// A computation failed on the device.
    #[error("device: {0}")]
    Device(candle_core::Error),
}

impl From<uso_picture::Error> for Error {
    fn from(error: uso_picture::Error) -> Self {
        Self::Image(error.to_string())
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        // Candle has no error variant for this; only the driver's text tells.
        const WORDS: [&str; 3] = ["out_of_memory", "out of memory", "cublas_status_alloc_failed"];
        let text = message(&error).to_lowercase();
        if WORDS.iter().any(|words| text.contains(words)) {
            return Self::OutOfMemory { need: None, free: None };
        }
        Self::Device(bare(error))
    }
}

/// The error without backtraces, which candle writes into its messages.
fn bare(error: candle_core::Error) -> candle_core::Error {
    use candle_core::Error as Candle;
    match error {
        Candle::WithBacktrace { inner, .. } => bare(*inner),
        Candle::WithPath { inner, path } => Candle::WithPath { inner: Box::new(bare(*inner)), path },
        Candle::Context { inner, context } => Candle::Context { inner: Box::new(bare(*inner)), context },
        other => other,
    }
}

/// The message without backtraces and paths, which may contain any word.
pub(crate) fn message(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } | candle_core::Error::WithPath { inner, .. } => {
            message(inner)
        }
        candle_core::Error::Context { inner, context } => format!("{context}\n{}", message(inner)),
        other => other.to_string(),
    }
}

fn room(need: Option<u64>, free: Option<u64>) -> String {
    match (need, free) {
        (Some(need), Some(free)) => format!(": {need} bytes needed, {free} free"),
        (Some(need), None) => format!(": {need} bytes needed"),
        (None, Some(free)) => format!(": {free} bytes free"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_is_told_from_other_failures() {
        let from = |text: &str| Error::from(candle_core::Error::msg(text));
        for full in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "CublasError(CUBLAS_STATUS_ALLOC_FAILED)",
            "metal: Out of memory",
        ] {
            assert!(matches!(from(full), Error::OutOfMemory { .. }), "{full}");
        }
        let lost = from("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access\")");
        assert!(matches!(lost, Error::Device(_)));
    }

    #[test]
    fn a_backtrace_is_no_part_of_a_message() {
        let traced = |error| candle_core::Error::WithBacktrace {
            inner: Box::new(error),
            backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
        };
        let inner = candle_core::Error::Msg("shapes differ".into());
        let error = traced(traced(inner).context("in a product"));
        assert_eq!(message(&error), "in a product\nshapes differ");
        let error = Error::from(error);
        assert_eq!(error.to_string(), "device: in a product\nshapes differ");
        assert!(std::error::Error::source(&error).is_none(), "it would be said twice");
    }

    #[test]
    fn the_message_has_the_numbers_that_are_known() {
        let text = |need, free| Error::OutOfMemory { need, free }.to_string();
        assert_eq!(text(Some(7), Some(5)), "out of memory: 7 bytes needed, 5 free");
        assert_eq!(text(None, None), "out of memory");
    }
}
