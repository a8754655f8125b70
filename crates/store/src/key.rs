//! Where things lie in the bucket.

use std::fmt::Display;

use uuid::Uuid;

/// Key of a file that a client uploads. Whose it is is part of it, so that nobody can use another's by its id.
/// Nothing here deletes it, because several jobs may name it, and some that were never submitted: a lifecycle
/// rule of the bucket should, for the prefix `uploads/`, after some days. What jobs name is kept young.
pub fn upload_key(tenant: &str, upload: &Uuid) -> String {
    format!("uploads/{tenant}/{upload}")
}

/// Key of an output. The fence is part of it, so that an attempt that lost its lease can never
/// overwrite what the attempt after it made.
pub fn output_key(job: &impl Display, fence: u64, name: &str) -> String {
    format!("jobs/{job}/{fence}/{name}")
}

/// Key of a half-drawn picture. A prefix of its own lets the bucket forget what a crash left.
pub fn checkpoint_key(job: &impl Display, fence: u64, step: u32) -> String {
    format!("checkpoints/{job}/{fence}/{step}")
}

/// Key of the small object that tells whether the bucket can be written to and read from. It lies where the
/// bucket's lifecycle rule sweeps.
pub const PROBE_KEY: &str = "checkpoints/probe";

/// Whether what lies under this key is swept by its age, so that it must be kept while a job names it.
pub fn is_swept(key: &str) -> bool {
    key.starts_with("uploads/") || key.starts_with("checkpoints/")
}

/// Under this, with a slash at its end, lie all outputs of a job, those that never counted too.
pub fn output_prefix(job: &impl Display) -> String {
    format!("jobs/{job}/")
}

/// Under this lie all half-drawn pictures of a job.
pub fn checkpoint_prefix(job: &impl Display) -> String {
    format!("checkpoints/{job}/")
}
