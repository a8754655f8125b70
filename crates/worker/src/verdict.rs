//! What each failure means for the job and for this process: decided here and nowhere else.

use uso_engine::Error as EngineError;
use uso_queue::Failure;
use uso_store::{Error as StoreError, WebError};

use crate::Error;

/// What follows from a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Report the failure and take the next job.
    Fail(Failure),
    /// Report the failure and end the process.
    FailAndStop(Failure),
    /// Hand the job over as one that may be why the device hangs, and end the process.
    GiveUpStuck,
    /// Hand the job back as if it had not been claimed.
    HandBack,
    /// So too, and claim nothing until the store takes a small write.
    AwaitStore,
    /// Say nothing: the job is somebody else's.
    Abandon,
}

impl Verdict {
    /// The same, with what the device did for pictures that were scored, in milliseconds, if it did anything.
    pub(crate) fn with_device_time(mut self, milliseconds: u64) -> Self {
        if let Self::Fail(failure) | Self::FailAndStop(failure) = &mut self {
            failure.device_ms = (milliseconds > 0).then_some(milliseconds);
        }
        self
    }
}

pub(crate) fn verdict(error: &Error) -> Verdict {
    let fail = |code: &str, retryable| {
        Verdict::Fail(Failure {
            code: code.into(),
            message: error.to_string(),
            retryable,
            ..Failure::default()
        })
    };
    match error {
        Error::Fetch { source, .. } => fail(reference_code(source), source.retryable()),
        Error::Reference { source, .. } | Error::Engine(source) => engine(source, &fail),
        Error::NoLora(_) => fail("lora_missing", true),
        Error::NoScorer(_) => fail("scorer_missing", true),
        // The same seeds would give the same pictures.
        Error::BelowThreshold { rejected, .. } => match fail("below_threshold", false) {
            Verdict::Fail(failure) => Verdict::Fail(Failure { rejected: rejected.clone(), ..failure }),
            other => other,
        },
        Error::Flat => fail("flat_picture", true),
        Error::Panicked(_) => fail("engine_panicked", true),
        Error::DeviceLost(_) => match fail("device_lost", true) {
            Verdict::Fail(failure) => Verdict::FailAndStop(failure),
            other => other,
        },
        Error::DeviceStuck => Verdict::GiveUpStuck,
        // Only said of checkpoints and previews, which nothing depends on.
        Error::Record(_) => fail("checkpoint_failed", true),
        Error::Abandoned => Verdict::Abandon,
        Error::StoreAway(_) => Verdict::AwaitStore,
        Error::DeviceGone | Error::Leaving => Verdict::HandBack,
        // Whatever the store refuses here, another worker or a later try may be allowed.
        Error::Upload(_) => fail("upload_failed", true),
        Error::Task(_) => fail("task_lost", true),
    }
}

fn engine(error: &EngineError, fail: &dyn Fn(&str, bool) -> Verdict) -> Verdict {
    match error {
        // How many there may be and how they weigh was checked before: the model was loaded again from a folder that is
        // another now.
        EngineError::Request { parameter: "loras", .. } => fail("lora_missing", true),
        EngineError::Request { .. } => fail("invalid_parameter", false),
        EngineError::Image(_) => fail("reference_not_usable", false),
        EngineError::Tokenizer(_) => fail("prompt_not_usable", false),
        EngineError::NotFinite { .. } => fail("not_finite", true),
        EngineError::OutOfMemory { .. } => fail("out_of_memory", true),
        EngineError::Device(_) => fail("device_failed", true),
        EngineError::Scripted => fail("scripted_failure", true),
        // Sampling starts from step 0 instead; if it is reported all the same, it may be tried again.
        EngineError::Checkpoint(_) => fail("checkpoint_not_usable", true),
        EngineError::ModelFile { .. } | EngineError::Weights { .. } => fail("model_broken", true),
        _ => fail("engine_failed", true),
    }
}

fn reference_code(error: &StoreError) -> &'static str {
    match error {
        StoreError::Missing { .. } | StoreError::MissingBucket { .. } => "reference_missing",
        StoreError::Denied { .. } => "reference_denied",
        StoreError::NotAllowed { .. } => "reference_not_allowed",
        StoreError::TooLarge { .. } => "reference_too_large",
        StoreError::NotAnImage { .. } => "reference_not_an_image",
        StoreError::Changed { .. } => "reference_changed",
        StoreError::Web(WebError::NotAllowed { .. }) => "reference_not_allowed",
        StoreError::Web(WebError::TooLarge { .. }) => "reference_too_large",
        StoreError::Web(WebError::NotAnImage { .. }) => "reference_not_an_image",
        StoreError::Web(WebError::Status { status: 404 | 410, .. }) => "reference_missing",
        StoreError::Web(WebError::Status { status: 401 | 403, .. }) => "reference_denied",
        _ => "reference_not_fetched",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(error: &Error) -> (String, bool) {
        match verdict(error) {
            Verdict::Fail(failure) => (failure.code, failure.retryable),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_submitter_got_wrong_is_not_tried_again() {
        let missing = StoreError::Missing { bucket: "uso".into(), key: "a".into() };
        let missing = Error::Fetch { field: "styles/0".into(), source: missing };
        assert_eq!(code(&missing), ("reference_missing".into(), false));
        let size = EngineError::Request { parameter: "keep_size", reason: "too wide".into() };
        assert_eq!(code(&Error::Engine(size)), ("invalid_parameter".into(), false));
        let image = EngineError::Image("truncated".into());
        assert_eq!(
            code(&Error::Reference { field: "content".into(), source: image }),
            ("reference_not_usable".into(), false)
        );
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let away = || StoreError::Busy { object: "s3://uso/a".into(), code: "SlowDown".into(), status: 503 };
        let fetch = Error::Fetch { field: "content".into(), source: away() };
        assert_eq!(code(&fetch), ("reference_not_fetched".into(), true));
        let changed = EngineError::Request { parameter: "loras", reason: "has other numbers here".into() };
        for error in [Error::NoLora("ink".into()), Error::Engine(changed)] {
            assert_eq!(code(&error), ("lora_missing".into(), true), "another worker may have it");
        }
        for error in [Error::Flat, Error::Panicked("x".into()), Error::Upload(away())] {
            assert!(code(&error).1, "{error}");
        }
    }

    #[test]
    fn a_lost_device_ends_the_process_and_a_lost_lease_says_nothing() {
        assert!(matches!(verdict(&Error::DeviceLost("x".into())), Verdict::FailAndStop(_)));
        assert_eq!(verdict(&Error::Abandoned), Verdict::Abandon);
        assert_eq!(verdict(&Error::DeviceStuck), Verdict::GiveUpStuck);
        assert_eq!(verdict(&Error::DeviceGone), Verdict::HandBack, "another picture's fault");
    }

    #[test]
    fn a_store_that_is_away_is_no_jobs_fault() {
        let source = StoreError::Busy { object: "s3://uso".into(), code: "SlowDown".into(), status: 503 };
        assert_eq!(verdict(&Error::StoreAway(source)), Verdict::AwaitStore);
        assert_eq!(verdict(&Error::Leaving), Verdict::HandBack);
    }

    #[test]
    fn messages_name_the_field() {
        let missing = StoreError::Missing { bucket: "uso".into(), key: "a".into() };
        let error = Error::Fetch { field: "styles/1".into(), source: missing };
        assert_eq!(error.to_string(), "styles/1: there is no object s3://uso/a");
    }
}
