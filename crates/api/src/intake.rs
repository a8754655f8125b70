//! What is looked at before jobs are accepted: a refusal now is kinder than a failed job.

use uso_queue::JobSpec;

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
    let mut errors = references::faults(shared, caller, specs, &prefix).await?;
    errors.extend(notify::faults(specs, shared.config.private_webhooks, &prefix));
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
}
