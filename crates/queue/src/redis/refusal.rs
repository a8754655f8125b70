//! What Redis' refusals mean: decided here and nowhere else.

use redis::{ErrorKind, RedisError};

use crate::Error;

/// What follows from a reply that is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The server, or the part of a cluster that was asked for, is not at work now.
    Away,
    /// It is there, but takes nothing until somebody has seen to it.
    Blocked,
    /// It has no memory left for new work.
    Full,
    /// The user is not known, or may not do this.
    Denied,
    /// Nothing that passes by itself.
    Fault,
}

/// By the first word of the reply; all others are faults.
const REFUSALS: [(&str, Refusal); 16] = [
    ("ASK", Refusal::Away),
    ("BUSY", Refusal::Blocked),
    ("CLUSTERDOWN", Refusal::Away),
    ("LOADING", Refusal::Away),
    ("MASTERDOWN", Refusal::Away),
    ("MISCONF", Refusal::Blocked),
    ("MOVED", Refusal::Away),
    ("NOAUTH", Refusal::Denied),
    ("NOPERM", Refusal::Denied),
    ("NOREPLICAS", Refusal::Away),
    ("OOM", Refusal::Full),
    ("READONLY", Refusal::Away),
    ("TRYAGAIN", Refusal::Away),
    ("UNBLOCKED", Refusal::Away),
    ("UNKILLABLE", Refusal::Blocked),
    ("WRONGPASS", Refusal::Denied),
];

impl Refusal {
    fn of(error: &RedisError) -> Self {
        // The answer to our own user and password has lost its first word by now.
        if error.kind() == ErrorKind::AuthenticationFailed {
            return Self::Denied;
        }
        let code = error.code().unwrap_or_default();
        REFUSALS.iter().find(|(known, _)| *known == code).map_or(Self::Fault, |(_, refusal)| *refusal)
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        let is_gone = error.is_io_error()
            || error.is_timeout()
            || error.is_connection_refusal()
            || error.is_connection_dropped();
        match Refusal::of(&error) {
            Refusal::Denied => Self::Denied(error.to_string()),
            Refusal::Full => Self::Full,
            Refusal::Blocked => Self::Blocked(error.to_string()),
            Refusal::Away => Self::Unreachable(error.to_string()),
            Refusal::Fault if is_gone => Self::Unreachable(error.to_string()),
            Refusal::Fault => Self::Refused(error),
        }
    }
}

/// Whether the server lacks the function that was called.
pub(super) fn is_function_missing(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}

/// Whether another server would have carried the command out; this one has not.
pub(super) fn is_elsewhere(error: &RedisError) -> bool {
    error.code() == Some("MOVED") || is_demoted(error)
}

/// Whether the server is no primary any more.
pub(super) fn is_demoted(error: &RedisError) -> bool {
    error.code() == Some("READONLY")
}
