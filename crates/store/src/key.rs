//! Where things lie in the bucket.

use std::fmt::Display;

use uuid::Uuid;

/// Key of a file that a client uploads. Whose it is is part of it, so that nobody can use another's by its id.
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
