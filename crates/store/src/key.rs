//! Keys of the objects in the bucket.

use std::fmt::Display;

use uuid::Uuid;

/// Key of a file that a client uploads. The tenant is part of it, so that no tenant can use another's upload by its id.
/// We never delete it, because several jobs may name it, also later ones: a lifecycle rule of the bucket should, for the
/// prefix `uploads/`, after some days. Uploads that jobs name are kept young.
pub fn upload_key(tenant: &str, upload: &Uuid) -> String {
    format!("uploads/{tenant}/{upload}")
}

/// Key of an output. The fence is part of it, so that an attempt that lost its lease can never overwrite the output of
/// a later attempt.
pub fn output_key(job: &impl Display, fence: u64, name: &str) -> String {
    format!("jobs/{job}/{fence}/{name}")
}

/// Key of a checkpoint. Its own prefix lets a lifecycle rule of the bucket delete what a crash left.
pub fn checkpoint_key(job: &impl Display, fence: u64, step: u32) -> String {
    format!("checkpoints/{job}/{fence}/{step}")
}

/// Key of the small object by which [`Store::probe`](crate::Store::probe) checks writes and reads. The bucket's lifecycle
/// rule for checkpoints deletes it, too.
pub const PROBE_KEY: &str = "checkpoints/probe";

/// Whether lifecycle rules delete an object with this key by age, so that it must be kept while a job names it.
pub fn is_swept(key: &str) -> bool {
    key.starts_with("uploads/") || key.starts_with("checkpoints/")
}

/// Prefix of all outputs of a job, also those of attempts that lost their lease.
pub fn output_prefix(job: &impl Display) -> String {
    format!("jobs/{job}/")
}

/// Prefix of all checkpoints of a job.
pub fn checkpoint_prefix(job: &impl Display) -> String {
    format!("checkpoints/{job}/")
}
