//! Where a tenant's references may come from.

use std::fmt;
use std::str::FromStr;

use uso_queue::{FieldError, JobId, Source};

use crate::access::Access;
use crate::{Problem, Shared};

/// In a place's folder, this stands for the tenant's name.
const TENANT: &str = "{tenant}";

/// A bucket, or a folder in one, that references may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferencePlace {
    bucket: String,
    /// Without a slash at either end; empty for the whole bucket.
    folder: String,
}

impl ReferencePlace {
    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether an object is in it. The folder's name counts whole: `team` is not where `team2/a.png` lies.
    fn holds(&self, tenant: &str, bucket: &str, key: &str) -> bool {
        let folder = self.folder.replace(TENANT, tenant);
        let inside = || key.strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/') && rest.len() > 1);
        bucket == self.bucket && (folder.is_empty() || inside())
    }
}

impl FromStr for ReferencePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bucket, folder) = text.split_once('/').unwrap_or((text, ""));
        let folder = folder.trim_end_matches('/');
        if bucket.is_empty() || bucket.contains(['{', '}']) {
            return Err("must be BUCKET or BUCKET/PREFIX".into());
        }
        // A slip in the one word that is replaced would open everybody's folder to nobody or to all.
        if folder.replace(TENANT, "").contains(['{', '}']) {
            return Err(format!("only {TENANT} is replaced in a prefix"));
        }
        Ok(Self { bucket: bucket.to_owned(), folder: folder.to_owned() })
    }
}

impl fmt::Display for ReferencePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.folder.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}", self.bucket, self.folder)
    }
}

/// What is to be said of one reference.
enum Finding {
    Allowed,
    Refused(String),
    /// Allowed if this job is the caller's.
    OutputOf(JobId),
}

/// What is wrong with where a tenant's references lie; each comes with its place as a JSON pointer.
pub(crate) async fn faults<'a>(
    shared: &Shared,
    tenant: &str,
    sources: impl Iterator<Item = (String, &'a Source)>,
) -> Result<Vec<FieldError>, Problem> {
    let (mut faults, mut outputs) = (Vec::new(), Vec::new());
    for (pointer, source) in sources {
        // An upload is looked for among the tenant's own.
        let Source::S3 { bucket, key } = source else { continue };
        match look(shared, tenant, bucket, key) {
            Finding::Allowed => {}
            Finding::Refused(message) => faults.push(not_allowed(pointer, message)),
            Finding::OutputOf(job) => outputs.push((pointer, job)),
        }
    }
    if !outputs.is_empty() {
        let jobs: Vec<JobId> = outputs.iter().map(|(_, job)| *job).collect();
        let owned = shared.queue.owned(tenant, &jobs).await?;
        let others = outputs.into_iter().filter(|(_, job)| !owned.contains(job));
        faults.extend(others.map(|(pointer, job)| not_allowed(pointer, not_yours(&job))));
    }
    Ok(faults)
}

fn look(shared: &Shared, tenant: &str, bucket: &str, key: &str) -> Finding {
    let own = bucket == shared.store.config().bucket;
    if own && shared.config.access != Access::Keys {
        // There is one tenant, whose bucket it is.
        return Finding::Allowed;
    }
    let mut folders = key.split('/');
    match (folders.next(), folders.next()) {
        (Some("uploads"), Some(whose)) if own && whose == tenant => Finding::Allowed,
        (Some("jobs"), Some(job)) if own => {
            job.parse().map_or_else(|_| Finding::Refused(elsewhere(bucket, key)), Finding::OutputOf)
        }
        (Some("uploads" | "jobs" | "checkpoints"), _) if own => Finding::Refused(elsewhere(bucket, key)),
        _ => named(&shared.config.references, tenant, bucket, key),
    }
}

/// What the operator's list of places says.
fn named(places: &[ReferencePlace], tenant: &str, bucket: &str, key: &str) -> Finding {
    if places.iter().any(|place| place.holds(tenant, bucket, key)) {
        Finding::Allowed
    } else if places.iter().any(|place| place.bucket == bucket) {
        Finding::Refused(elsewhere(bucket, key))
    } else {
        Finding::Refused(format!("bucket {bucket} is not one that references may come from"))
    }
}

fn elsewhere(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{key} is not where references of yours may come from")
}

fn not_yours(job: &JobId) -> String {
    format!("job {job} is not yours, or its record's time is over")
}

fn not_allowed(pointer: String, message: String) -> FieldError {
    FieldError { pointer, code: "not_allowed", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> ReferencePlace {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_holds_what_is_in_its_folder_and_nothing_beside_it() {
        let cases = [
            ("b", "b", "a.png", true),
            ("b", "c", "a.png", false),
            ("b/refs", "b", "refs/a.png", true),
            ("b/refs/", "b", "refs/deep/a.png", true),
            ("b/refs", "b", "refs2/a.png", false),
            ("b/refs", "b", "refs", false),
            ("b/refs", "b", "refs/", false),
            ("b/refs", "b", "other/refs/a.png", false),
            ("b/of/{tenant}", "b", "of/ours/a.png", true),
            ("b/of/{tenant}", "b", "of/ours2/a.png", false),
            ("b/of/{tenant}", "b", "of/theirs/a.png", false),
            ("b/of/{tenant}", "b", "of/{tenant}/a.png", false),
        ];
        for (text, bucket, key, holds) in cases {
            assert_eq!(place(text).holds("ours", bucket, key), holds, "{text} and {bucket}/{key}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_is_refused() {
        for text in ["", "/refs", "b/{tennant}", "b/{tenant", "{tenant}/refs"] {
            assert!(text.parse::<ReferencePlace>().is_err(), "{text}");
        }
        assert_eq!(place("b/of/{tenant}/").to_string(), "b/of/{tenant}");
        assert_eq!(place("b").to_string(), "b");
    }
}
