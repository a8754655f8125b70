//! The job that all sides are given, and what comes of it.

use anyhow::anyhow;
use serde::Serialize;
use serde_json::json;
use uso_queue::{Class, Defaults, JobSpec, Output, Receipt};

/// Bytes of a job as JSON.
pub(super) const BYTES: usize = 733;

/// The smallest seed of nine digits: all jobs have as many, so all have the same size.
pub(super) const FIRST_SEED: u64 = 100_000_000;

/// What other queues' programs are handed.
#[derive(Serialize)]
pub(super) struct Payload {
    job: JobSpec,
    output: Output,
}

impl Payload {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { job: spec(Class::Bulk)?, output: output() })
    }
}

/// A job of exactly [`BYTES`] bytes.
pub(super) fn spec(class: Class) -> anyhow::Result<JobSpec> {
    let bare = filled(class, 0)?;
    let missing = BYTES.checked_sub(size(&bare)?).ok_or_else(|| anyhow!("the job is too long"))?;
    filled(class, missing)
}

/// What a worker says of a finished job.
pub(super) fn output() -> Output {
    Output {
        uri: "s3://uso/jobs/0-0198a0b0-0000-7000-8000-00000000000a/1/0.png".into(),
        sidecar: "s3://uso/jobs/0-0198a0b0-0000-7000-8000-00000000000a/1/0.json".into(),
        thumbnail: Some("s3://uso/jobs/0-0198a0b0-0000-7000-8000-00000000000a/1/0.thumb.webp".into()),
        width: 1024,
        height: 1024,
        bytes: 1_234_567,
        sha256: "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9".into(),
        content_type: "image/png".into(),
        receipt: Receipt::default(),
        scores: None,
    }
}

pub(super) fn size(spec: &JobSpec) -> anyhow::Result<usize> {
    Ok(serde_json::to_vec(spec)?.len())
}

fn filled(class: Class, letters: usize) -> anyhow::Result<JobSpec> {
    let body = json!({
        "prompt": "a paper boat on a canal between brick warehouses, early fog, one lamp still lit, \
                   reflections broken by slow ripples, muted colours, a cat asleep on the quay",
        "content": "s3://references/customers/0042/2026/11/boat-with-a-long-name.png",
        "styles": ["s3://references/styles/etching-01.png"],
        "class": class.as_str(),
        "seed": FIRST_SEED,
        "metadata": { "order": "c".repeat(letters) },
    });
    JobSpec::parse(&body, &Defaults::default()).map_err(|errors| anyhow!("the job is wrong: {errors:?}"))
}

#[cfg(test)]
mod tests {
    use uso_queue::Class;

    use super::{BYTES, FIRST_SEED, size, spec};

    #[test]
    fn jobs_of_every_class_and_seed_have_the_same_size() {
        for class in Class::ALL {
            let mut job = spec(class).unwrap();
            assert_eq!(size(&job).unwrap(), BYTES);
            job.seed = FIRST_SEED + 899_999_999;
            assert_eq!(size(&job).unwrap(), BYTES);
        }
    }
}
