//! Calls of an engine that may panic.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use uso_engine::Error as EngineError;

/// Why a turn led nowhere.
pub(super) enum Fault {
    Engine(EngineError),
    Panic(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Panic(message) => write!(f, "a panic: {message}"),
        }
    }
}

/// What `act` gives, or how it failed.
pub(super) fn guarded<T>(act: impl FnOnce() -> Result<T, EngineError>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(result) => result.map_err(Fault::Engine),
        Err(panic) => Err(Fault::Panic(words(panic.as_ref()))),
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
