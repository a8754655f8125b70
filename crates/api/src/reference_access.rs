//! Whether a tenant may use the objects that its jobs name.

use std::collections::BTreeSet;

use uso_queue::{FieldError, JobId, Source};

use crate::access::mode::Access;
use crate::problem::Problem;
use crate::reference_policy::AllowedPrefix;
use crate::shared::Shared;

/// The result for one reference.
enum Finding {
    Allowed,
    Refused(String),
    /// Allowed if this job is the caller's.
    OutputOf(JobId),
}

/// References that a tenant may not use. Each reference comes with its JSON pointer.
pub(crate) async fn faults<'a>(
    shared: &Shared,
    tenant: &str,
    sources: impl Iterator<Item = (String, &'a Source)>,
) -> Result<Vec<FieldError>, Problem> {
    let (mut faults, mut outputs) = (Vec::new(), Vec::new());
    for (pointer, source) in sources {
        // An upload id only finds the tenant's own.
        let Source::S3 { bucket, key } = source else { continue };
        match check(shared, tenant, bucket, key) {
            Finding::Allowed => {}
            Finding::Refused(message) => faults.push(not_allowed(pointer, message)),
            Finding::OutputOf(job) => outputs.push((pointer, job)),
        }
    }
    if !outputs.is_empty() {
        // Many jobs of one request name the same few.
        let jobs: BTreeSet<JobId> = outputs.iter().map(|(_, job)| *job).collect();
        let jobs: Vec<JobId> = jobs.into_iter().collect();
        let owned = shared.queue.owned(tenant, &jobs).await?;
        let others = outputs.into_iter().filter(|(_, job)| !owned.contains(job));
        faults.extend(others.map(|(pointer, job)| not_allowed(pointer, not_yours(&job))));
    }
    Ok(faults)
}

fn check(shared: &Shared, tenant: &str, bucket: &str, key: &str) -> Finding {
    let own = bucket == shared.store.config().bucket;
    if own && shared.config.access != Access::Keys {
        // There is one tenant, and the bucket is its own.
        return Finding::Allowed;
    }
    let mut folders = key.split('/');
    match (folders.next(), folders.next()) {
        (Some("uploads"), Some(owner)) if own && owner == tenant => Finding::Allowed,
        (Some("jobs"), Some(job)) if own => {
            job.parse().map_or_else(|_| Finding::Refused(elsewhere(bucket, key)), Finding::OutputOf)
        }
        (Some("uploads" | "jobs" | "checkpoints" | "batches" | "datasets"), _) if own => {
            Finding::Refused(elsewhere(bucket, key))
        }
        _ => by_policy(&shared.config.references, tenant, bucket, key),
    }
}

/// What the operator's reference policy says.
fn by_policy(allowed: &[AllowedPrefix], tenant: &str, bucket: &str, key: &str) -> Finding {
    if allowed.iter().any(|prefix| prefix.holds(tenant, bucket, key)) {
        Finding::Allowed
    } else if allowed.iter().any(|prefix| prefix.bucket() == bucket) {
        Finding::Refused(elsewhere(bucket, key))
    } else {
        Finding::Refused(format!("references may not come from bucket {bucket}"))
    }
}

fn elsewhere(bucket: &str, key: &str) -> String {
    format!("your references may not come from s3://{bucket}/{key}")
}

fn not_yours(job: &JobId) -> String {
    format!("job {job} is not yours, or its record has expired")
}

fn not_allowed(pointer: String, message: String) -> FieldError {
    FieldError { pointer, code: "not_allowed", message }
}
