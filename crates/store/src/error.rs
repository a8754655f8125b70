//! What can go wrong between us and the object store, and whether a second try may help.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

type Source = Box<dyn StdError + Send + Sync>;

/// A failed call to the object store. Messages name buckets, keys and limits, never keys to the
/// service and never a presigned query.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such object.
    #[error("there is no object s3://{bucket}/{key}")]
    Missing {
        /// Bucket that was asked.
        bucket: String,
        /// Key that it does not hold.
        key: String,
    },
    /// No such bucket.
    #[error("there is no bucket s3://{bucket}")]
    MissingBucket {
        /// The bucket's name.
        bucket: String,
    },
    /// The service refused our keys, or what they may do there.
    #[error("the object store denies access to {object}: {code}")]
    Denied {
        /// `s3://bucket/key` or `s3://bucket`.
        object: String,
        /// The service's own code.
        code: String,
    },
    /// A reference in a bucket that this fleet does not read from.
    #[error("references may not come from bucket s3://{bucket}")]
    NotAllowed {
        /// The bucket's name.
        bucket: String,
    },
    /// The object is larger than references may be.
    #[error("s3://{bucket}/{key} is larger than the limit of {limit} bytes{}", announced(*size))]
    TooLarge {
        /// Bucket of the object.
        bucket: String,
        /// Key of the object.
        key: String,
        /// Most bytes that are taken.
        limit: u64,
        /// Bytes that the service announced; none where they were counted as they came.
        size: Option<u64>,
    },
    /// The object's first bytes are not those of a PNG, JPEG or WebP file.
    #[error("s3://{bucket}/{key} is not a png, jpeg or webp image{}", looks_like(*found))]
    NotAnImage {
        /// Bucket of the object.
        bucket: String,
        /// Key of the object.
        key: String,
        /// Media type of the other image format that it seems to be.
        found: Option<&'static str>,
    },
    /// The object has another content than the one that was meant.
    #[error("s3://{bucket}/{key} is no longer the file that it was when the job was accepted")]
    Changed {
        /// Bucket of the object.
        bucket: String,
        /// Key of the object.
        key: String,
    },
    /// An object with this key is there, and it was to be written only if there was none.
    #[error("there is an object s3://{bucket}/{key} already")]
    Exists {
        /// Bucket of the object.
        bucket: String,
        /// Key of the object.
        key: String,
    },
    /// The service could not be reached, or the connection was lost before it answered.
    #[error("the object store at {service} cannot be reached")]
    Unreachable {
        /// Address of the service.
        service: String,
        /// What the connection said.
        source: Source,
    },
    /// The service stopped in the middle of an object.
    #[error("the object store broke off while sending s3://{bucket}/{key}")]
    BrokeOff {
        /// Bucket of the object.
        bucket: String,
        /// Key of the object.
        key: String,
        /// What the connection said.
        source: Source,
    },
    /// The bytes that came are not the bytes that were put.
    #[error("s3://{bucket}/{key} came damaged: its sha256 is not the recorded one")]
    Corrupt {
        /// Bucket of the object.
        bucket: String,
        /// Key of the object.
        key: String,
    },
    /// The call with all its retries took longer than it may.
    #[error("the object store did not finish with {object} within {limit:?}")]
    TimedOut {
        /// `s3://bucket/key` or `s3://bucket`.
        object: String,
        /// The bound.
        limit: Duration,
    },
    /// The service asks to come back later or has a fault of its own.
    #[error("the object store cannot serve {object} now: {code} (status {status})")]
    Busy {
        /// `s3://bucket/key` or `s3://bucket`.
        object: String,
        /// The service's own code.
        code: String,
        /// HTTP status.
        status: u16,
    },
    /// The service answered with an error that a second try will not change.
    #[error("the object store refused {object}: {code} (status {status})")]
    Refused {
        /// `s3://bucket/key` or `s3://bucket`.
        object: String,
        /// The service's own code.
        code: String,
        /// HTTP status.
        status: u16,
    },
    /// The request could not even be made, for example with an empty key.
    #[error("no request can be made for {object}")]
    Request {
        /// `s3://bucket/key` or `s3://bucket`.
        object: String,
        /// What the client said.
        source: Source,
    },
    /// An endpoint of the configuration cannot be used. The endpoint itself is not repeated: it
    /// may hold a password.
    #[error("the s3 endpoint cannot be used: {reason}")]
    BadEndpoint {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No bucket can have such a name.
    #[error("{bucket:?} is no name of a bucket: it has letters, digits, '.', '-' and '_'")]
    BadBucket {
        /// What was said.
        bucket: String,
    },
    /// Keys that were found hold what no key has.
    #[error("the s3 {which} cannot be used: it has blanks, line ends or other characters that no key has")]
    BadKey {
        /// Which of them.
        which: &'static str,
    },
    /// No keys were given and the AWS chain found none either.
    #[error("no s3 credentials were given and none were found in environment, profile or instance role")]
    NoCredentials {
        /// What the chain said.
        source: Source,
    },
    /// Presigned URLs live from one second to seven days.
    #[error("a presigned url cannot live for {asked:?}: from 1 s to {limit:?} is possible")]
    BadLifetime {
        /// What was asked for.
        asked: Duration,
        /// The longest life there is.
        limit: Duration,
    },
    /// A reference from the web.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The client for references from the web cannot be made.
    #[error("tls cannot be set up")]
    Tls(#[source] reqwest::Error),
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::BrokeOff { .. }
                | Self::Corrupt { .. }
                | Self::TimedOut { .. }
                | Self::Busy { .. }
        ) || matches!(self, Self::Web(error) if error.retryable())
    }
}

impl Error {
    /// Whether the error is about this object or this request alone: another one may succeed. All others may be the
    /// service's; you can check its health by a call that must succeed: [`Store::probe`](crate::Store::probe) or
    /// [`Store::probe_reading`](crate::Store::probe_reading).
    pub fn is_the_objects_own(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::NotAllowed { .. }
            | Self::TooLarge { .. }
            | Self::NotAnImage { .. }
            | Self::Changed { .. }
            | Self::Exists { .. }
            | Self::Request { .. }
            | Self::Web(_) => true,
            Self::MissingBucket { .. }
            | Self::Denied { .. }
            | Self::Unreachable { .. }
            | Self::BrokeOff { .. }
            | Self::Corrupt { .. }
            | Self::TimedOut { .. }
            | Self::Busy { .. }
            | Self::Refused { .. }
            | Self::BadEndpoint { .. }
            | Self::BadBucket { .. }
            | Self::BadKey { .. }
            | Self::NoCredentials { .. }
            | Self::BadLifetime { .. }
            | Self::Tls(_) => false,
        }
    }

    /// Whether the service asks for fewer calls.
    pub fn is_throttling(&self) -> bool {
        matches!(self, Self::Busy { status: 429 | 503, .. })
    }
}

/// Why a reference from the web could not be fetched. Addresses are shown without their query: it may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Its address, or one it redirects to, is not allowed.
    #[error("{url} is not fetched: {reason}")]
    NotAllowed {
        /// The address.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{url} answered with status {status}")]
    Status {
        /// The address.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// It redirects too often.
    #[error("{url} is redirected more than {limit} times")]
    TooManyRedirects {
        /// The address.
        url: String,
        /// How often it may be.
        limit: usize,
    },
    /// The file is larger than references may be.
    #[error("{url} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// Most bytes that are taken.
        limit: u64,
    },
    /// The file's first bytes are not those of a PNG, JPEG or WebP file.
    #[error("{url} is not a png, jpeg or webp image")]
    NotAnImage {
        /// The address.
        url: String,
    },
    /// No answer, or only a part of one.
    #[error("{url} could not be fetched: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong.
        reason: String,
    },
}

impl WebError {
    fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            _ => false,
        }
    }
}

fn announced(size: Option<u64>) -> String {
    size.map_or_else(String::new, |size| format!(": it has {size}"))
}

fn looks_like(found: Option<&str>) -> String {
    found.map_or_else(String::new, |found| format!(": it looks like {found}"))
}

/// The same answer to a write that was to happen only if there is no such object. A conflict with another such write
/// that is still under way is decided by a second try.
pub(crate) fn conditional(error: Error, object: ObjectRef<'_>) -> Error {
    match error {
        Error::Refused { status: 412, .. } => {
            Error::Exists { bucket: object.bucket.into(), key: object.key.unwrap_or_default().into() }
        }
        Error::Refused { object, code, status: status @ 409 } => Error::Busy { object, code, status },
        other => other,
    }
}

/// The object or the bucket that a call is about; shown as an S3 URI.
#[derive(Clone, Copy)]
pub(crate) struct ObjectRef<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: Option<&'a str>,
}

impl fmt::Display for ObjectRef<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}", self.bucket)?;
        self.key.map_or(Ok(()), |key| write!(formatter, "/{key}"))
    }
}

/// Turns the S3 client's error into ours.
pub(crate) fn classify<E>(
    error: SdkError<E, HttpResponse>,
    object: ObjectRef<'_>,
    service: &str,
    limit: Duration,
) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match error {
        SdkError::TimeoutError(_) => Error::TimedOut { object: object.to_string(), limit },
        SdkError::ServiceError(answer) => {
            refusal(answer.err().code(), answer.raw().status().as_u16(), object)
        }
        SdkError::ResponseError(answer) if !answer.raw().status().is_success() => {
            refusal(None, answer.raw().status().as_u16(), object)
        }
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            Error::Unreachable { service: service.to_owned(), source: "no answer in time".into() }
        }
        failure @ (SdkError::DispatchFailure(_) | SdkError::ResponseError(_)) if !is_user(&failure) => {
            Error::Unreachable { service: service.to_owned(), source: failure.into() }
        }
        failure => Error::Request { object: object.to_string(), source: failure.into() },
    }
}

fn is_user<E, R>(failure: &SdkError<E, R>) -> bool {
    matches!(failure, SdkError::DispatchFailure(failure) if failure.is_user())
}

fn missing(object: ObjectRef<'_>) -> Error {
    let bucket = object.bucket.to_owned();
    match object.key {
        Some(key) => Error::Missing { bucket, key: key.to_owned() },
        None => Error::MissingBucket { bucket },
    }
}

/// Turns the service's error answer into ours. `HEAD` answers carry no code.
fn refusal(code: Option<&str>, status: u16, object: ObjectRef<'_>) -> Error {
    if code == Some("NoSuchBucket") {
        return Error::MissingBucket { bucket: object.bucket.to_owned() };
    }
    let code = code.unwrap_or("no code given").to_owned();
    let uri = object.to_string();
    match status {
        404 => missing(object),
        401 | 403 => Error::Denied { object: uri, code },
        408 | 425 | 429 | 500.. => Error::Busy { object: uri, code, status },
        _ => Error::Refused { object: uri, code, status },
    }
}
