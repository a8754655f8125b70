//! Checks before jobs are accepted: a refusal now is better than a failed job later.

use std::collections::BTreeMap;

use uso_queue::{FieldError, JobSpec};
use uso_store::FileInfo;
use uuid::Uuid;

use crate::caller::Caller;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::{notify, references};

/// Checks everything that jobs point to, and pins each to the present content of its uploads. `prefix` gives the JSON
/// pointer of a job.
///
/// # Errors
/// Everything that is wrong, each with its JSON pointer.
pub(crate) async fn check(
    shared: &Shared,
    caller: &Caller,
    specs: &mut [JobSpec],
    prefix: impl Fn(usize) -> String,
) -> Result<(), Problem> {
    check_with(shared, caller, specs, prefix, &BTreeMap::new()).await
}

/// The same, where some uploads came with the request and are not stored yet.
pub(crate) async fn check_with(
    shared: &Shared,
    caller: &Caller,
    specs: &mut [JobSpec],
    prefix: impl Fn(usize) -> String,
    at_hand: &BTreeMap<Uuid, FileInfo>,
) -> Result<(), Problem> {
    let errors = faults(shared, caller, specs, prefix, at_hand).await?;
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
}

/// Everything that is wrong with what jobs point to; jobs without a fault are pinned.
///
/// # Errors
/// That it cannot be found out now.
pub(crate) async fn faults(
    shared: &Shared,
    caller: &Caller,
    specs: &mut [JobSpec],
    prefix: impl Fn(usize) -> String,
    at_hand: &BTreeMap<Uuid, FileInfo>,
) -> Result<Vec<FieldError>, Problem> {
    let mut errors = references::faults(shared, caller, specs, &prefix, at_hand).await?;
    errors.extend(notify::faults(specs, shared.config.private_webhooks, &prefix));
    Ok(errors)
}
