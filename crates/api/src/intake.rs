//! What is looked at before jobs are accepted: a refusal now is kinder than a failed job.

use std::collections::BTreeMap;

use uso_queue::JobSpec;
use uso_store::Look;
use uuid::Uuid;

use crate::caller::Caller;
use crate::{Problem, Shared, notify, references};

/// Checks everything that jobs point to, and pins each to what its uploads hold now. `prefix` gives what stands
/// before the pointers of a job's fields.
///
/// # Errors
/// Everything that is wrong, with its place.
pub(crate) async fn check(
    shared: &Shared,
    caller: &Caller,
    specs: &mut [JobSpec],
    prefix: impl Fn(usize) -> String,
) -> Result<(), Problem> {
    check_with(shared, caller, specs, prefix, &BTreeMap::new()).await
}

/// The same, where some uploads are at hand and not stored yet.
pub(crate) async fn check_with(
    shared: &Shared,
    caller: &Caller,
    specs: &mut [JobSpec],
    prefix: impl Fn(usize) -> String,
    at_hand: &BTreeMap<Uuid, Look>,
) -> Result<(), Problem> {
    let mut errors = references::faults(shared, caller, specs, &prefix, at_hand).await?;
    errors.extend(notify::faults(specs, shared.config.private_webhooks, &prefix));
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
}
